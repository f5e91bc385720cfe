"""`convatlas bench`."""

import json

import pytest

from convatlas.deploy.bench.comparison import Comparison, Side, plain

DONE = Comparison("lenet5", "lenet5", 1, (32, 32), 1000, {}, "eager", (), 1e9, 2,
                  (Side("ours", 0.1, 0.1, (0.1, 0.1), 10.0, 1.0, (1.0, 1.0), 0.5, 1.0, 2_000_000, 0.0, 0.0),
                   Side("convatlas", 0.3, 0.3, (0.3, 0.3), 3.3, 3.0, (3.0, 3.0), 0.2, 1.0, 3_000_000, 0.0, 0.0),
                   Side("openvino", refused="openvino needs openvino")))


@pytest.mark.parametrize(("words", "said"), [
    (("--batch", "1,x"), "--batch 'x' is refused"), (("--against", "tensorrt"), "tensorrt is unknown"),
    (("--out", "speed.txt"), "--out 'speed.txt' is refused")])
def test_wrong_words(inside, words, said):
    done = inside("bench", "lenet5", *words)
    assert done.returncode == 2 and said in done.stderr.replace("\n", " ")


def test_what_is_kept_is_shown_and_not_measured_again(inside, tmp_path):
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps({"machine": {}, "comparisons": [plain(DONE)]}), encoding="utf-8")
    done = inside("bench", "lenet5", "--batch", "1", "--against", "openvino", "--keep", kept,
                  "--out", tmp_path / "speed.svg")
    assert done.returncode == 0, done.stderr
    assert "3.00×" in done.stdout and "50.00 %" in done.stdout and "openvino needs openvino" in done.stdout
    assert "already" in done.stderr and (tmp_path / "speed.svg").read_text().startswith("<?xml")
    shown = json.loads(inside("bench", "lenet5", "--batch", "1", "--against", "openvino", "--keep", kept,
                              "--json").stdout)
    assert shown["comparisons"][0]["sides"][1]["ratio"] == 3.0 and shown["machine"]["threads"] >= 1
    kept.write_text("[]", encoding="utf-8")
    refused = inside("bench", "lenet5", "--keep", kept)
    assert refused.returncode == 2 and "holds other things" in refused.stderr.replace("\n", " ")
