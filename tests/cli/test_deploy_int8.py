"""`convatlas deploy --precision int8`."""

import json

import pytest

pytest.importorskip("onnxruntime")


def test_a_run_in_int8_by_its_own_images(inside, trained, tmp_path, briefly):
    out = tmp_path / "net"
    done = inside("deploy", trained, "--out", out, "--backend", "onnxruntime", "--precision", "int8",
                  "--calibration-images", 40, "--max-drop", "2%", "--sensitivity", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["int8"]
    assert (told["calibrated_on"] == 40 and told["before"]["images"] == 360
            and told["before"]["top1"] - told["after"]["top1"] <= 0.02)
    assert json.loads((out / "deploy.json").read_text())["int8"] == told
    assert [row["layer"] for row in told["sensitivity"]] and "layers in int8: top-1" in done.stderr
    judged = inside("eval", out, "digits", "--json")
    assert judged.returncode == 0, judged.stderr
    assert json.loads(judged.stdout)["top1"] == pytest.approx(told["after"]["top1"], abs=0.006)


@pytest.mark.parametrize(("words", "sentence"), [
    (["--precision", "int8"], "int8 needs pictures to calibrate with: give --calibrate DATA"),
    (["--precision", "int8", "--calibrate", "digits", "--max-drop", "50"], "'50' is refused"),
    (["--precision", "int8", "--calibrate", "digits", "--max-drop", "1%"], "needs labelled pictures: give --eval DATA"),
    (["--precision", "int8", "--calibrate", "nowhere"], "'nowhere' is no folder"),
    (["--precision", "int8", "--calibrate", "digits", "--backend", "eager"],
     "eager has no int8: native, onnxruntime and openvino have"),
    (["--calibrate", "digits"], "for precision int8"),
])
def test_what_cannot_be_is_said(inside, tmp_path, words, sentence):
    done = inside("deploy", "lenet1", "--out", tmp_path / "net", *words)
    assert done.returncode == 2 and sentence in " ".join(done.stderr.replace("│", " ").split()), done.stderr
    assert not (tmp_path / "net").exists()
