"""`convatlas deploy` and `convatlas export`, and what the other commands do with a deployed folder."""

import json
from dataclasses import replace

import pytest
from PIL import Image

import convatlas
from convatlas.deploy import deployed
from convatlas.deploy.native import compiler


@pytest.fixture
def weights(tmp_path, own_cache):
    model = convatlas.create_model("lenet5").eval()
    model.card = replace(model.card, classes=tuple("0123456789"))
    return convatlas.save(model, tmp_path / "lenet5.safetensors")


def test_a_folder_is_written_and_its_table_printed(inside, weights, tmp_path):
    done = inside("deploy", weights, "--out", tmp_path / "net", "--backend", "eager", "--batch", "2")
    assert done.returncode == 0, done.stderr
    assert "images/s" in done.stdout and "taken" in done.stdout and "written" in done.stdout
    assert deployed(tmp_path / "net").about["example"][0] == 2


def test_json_and_refusals(inside, weights, tmp_path):
    done = inside("deploy", weights, "--out", tmp_path / "net", "--backend", "eager", "--json")
    assert json.loads(done.stdout)["chosen"] == "eager"
    again = inside("deploy", weights, "--out", tmp_path / "net", "--backend", "eager")
    assert again.returncode == 2 and "--force" in again.stderr
    half = inside("deploy", weights, "--out", tmp_path / "half", "--precision", "fp16", "--backend", "eager")
    assert half.returncode == 2 and "fp16 is for GPUs" in half.stderr and not (tmp_path / "half").exists()
    twice = inside("deploy", tmp_path / "net", "--out", tmp_path / "other")
    assert twice.returncode == 2 and "deployed folder, which answers and cannot be changed" in twice.stderr


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler here: install g++")
def test_native_in_bf16_tells_its_layers_and_predicts(inside, weights, tmp_path):
    done = inside("deploy", weights, "--out", tmp_path / "net", "--backend", "native", "--precision", "bf16")
    assert done.returncode == 0, done.stderr
    assert "layers multiply in bf16 (" in done.stdout
    assert "maps between them are bf16, sums and all other steps fp32" in done.stdout
    told = json.loads(inside("deploy", weights, "--out", tmp_path / "net", "--backend", "native", "--precision", "bf16",
                             "--force", "--json").stdout)
    assert told["bf16"]["layers"] == sum(told["bf16"]["bf16"].values()) + sum(map(len, told["bf16"]["fp32"].values()))
    assert deployed(tmp_path / "net").about["precision"] == "bf16"
    Image.linear_gradient("L").resize((28, 28)).save(tmp_path / "picture.png")
    said = [json.loads(inside("predict", each, tmp_path / "picture.png", "--json").stdout)["images"][0]["predictions"]
            for each in (weights, tmp_path / "net")]
    ours, theirs = ({row["class"]: row["probability"] for row in rows} for rows in said)
    assert ours != theirs and all(share == pytest.approx(ours[name], abs=0.01) for name, share in theirs.items())


@pytest.mark.parametrize("backend", ["eager", "onnxruntime"])
def test_a_deployed_folder_is_judged_and_asked_like_a_run(backend, inside, weights, tmp_path):
    if backend != "eager":
        pytest.importorskip(backend)
    assert inside("deploy", weights, "--out", tmp_path / "net", "--backend", backend).returncode == 0
    judged = [json.loads(inside("eval", each, "digits", "--json").stdout) for each in (weights, tmp_path / "net")]
    same = ("top1", "count", "preprocess", "classes", "protocol")
    assert judged[0]["count"] > 100 and {key: judged[0][key] for key in same} == {key: judged[1][key] for key in same}
    assert judged[1]["loss"] == pytest.approx(judged[0]["loss"], rel=1e-4) and judged[1]["run"] == str(tmp_path / "net")
    assert convatlas.evaluate([weights, tmp_path / "net"], "digits").evaluation.top1 == judged[0]["top1"]
    Image.linear_gradient("L").resize((28, 28)).save(tmp_path / "picture.png")
    said = [json.loads(inside("predict", each, tmp_path / "picture.png", "--json").stdout)
            for each in (weights, tmp_path / "net")]
    ours, theirs = (document["images"][0]["predictions"] for document in said)
    assert [row["class"] for row in ours] == [row["class"] for row in theirs] and len(ours) == 5
    assert [row["probability"] for row in ours] == pytest.approx([row["probability"] for row in theirs], abs=1e-3)
    whole = inside("eval", tmp_path / "net", "digits", "--dense")
    assert whole.returncode == 2 and "lenet5 is deployed and cannot be made convolutional" in whole.stderr
    other = inside("eval", tmp_path / "net", "digits", "--image-size", "48")
    assert other.returncode == 2 and "deployed for images of 32×32" in other.stderr


def test_a_file_is_exported_and_measured(inside, weights, tmp_path):
    pytest.importorskip("onnxruntime")
    done = inside("export", weights, tmp_path / "net.onnx", "--json")
    told = json.loads(done.stdout)
    assert (told["bytes"] == (tmp_path / "net.onnx").stat().st_size > 200_000 and told["format"] == "onnx"
            and 0 <= told["difference"] < 1e-5)
    shown = inside("export", weights, tmp_path / "net.pt2")
    assert shown.returncode == 0 and "(torch," in shown.stdout
    wrong = inside("export", weights, tmp_path / "net.tflite")
    assert wrong.returncode == 2 and ".onnx (onnx), .pt2 (torch), .xml (openvino), .pte (executorch)" in wrong.stderr
