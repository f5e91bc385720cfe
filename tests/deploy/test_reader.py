"""Answers without torch: pictures prepared and scores read as torch does it."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas
from convatlas.data import make_transform, to_tensor
from convatlas.deploy import deploy, reader
from convatlas.deploy.bundle import deployed
from convatlas.deploy.native import missing
from convatlas.engine import losses
from convatlas.pixels import to_array
from convatlas.run import Loss, Preprocess
from laws import build
from parity import randomized

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


def picture(mode: str, size: tuple[int, int]) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (6, 5, 3),
                                        dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC).convert(mode)


@pytest.mark.parametrize(("mode", "size", "channels", "crop_pct", "interpolation", "given"), [
    ("RGB", (90, 61), 3, 0.875, "bilinear", (32, 32)),
    ("RGB", (33, 200), 3, 0.95, "bicubic", (24, 40)),
    ("RGB", (20, 13), 3, 1.4, "bilinear", (32, 32)),       # black around it
    ("RGBA", (50, 50), 1, 1.0, "bicubic", (28, 28)),
    ("L", (64, 47), 3, 0.875, "bicubic", (32, 32)),
    ("L", (28, 28), 1, 32 / 28, "bilinear", (32, 32)),
])
def test_pictures_are_prepared_as_by_torch(mode, size, channels, crop_pct, interpolation, given):
    mean, std = MEAN[:channels], STD[:channels]
    transform = make_transform(Preprocess(mean=mean, std=std, crop_pct=crop_pct, interpolation=interpolation),
                               given, channels)
    image = picture(mode, size)
    about = {"channels": channels, "size": given, "mean": mean, "std": std, "interpolation": interpolation,
             "resize": [max(1, round(side / crop_pct)) for side in given]}
    found, expected = reader.prepared(to_array(image), about), transform(to_tensor(image)).numpy()
    assert found.dtype == np.float32 and found.shape == expected.shape == (channels, *given)
    levels = np.abs(found - expected) * np.array(std, np.float32)[:, None, None] * 255
    assert levels.max() < 1.01 and (levels > 0.01).mean() < 0.05       # a resized pixel is one of 255 apart at times


def test_a_picture_of_the_right_size_is_prepared_bit_for_bit():
    transform = make_transform(Preprocess(mean=MEAN, std=STD, crop_pct=1.0), 32, 3)
    about = {"channels": 3, "size": [32, 32], "resize": [32, 32], "mean": MEAN, "std": STD, "interpolation": "bilinear"}
    image = picture("RGB", (32, 40))
    assert np.array_equal(reader.prepared(to_array(image), about), transform(to_tensor(image)).numpy())


@pytest.mark.parametrize("loss", ["cross_entropy", "map", "mse", "bce"])
def test_scores_become_the_same_shares(loss):
    scores = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)) * 9
    assert np.allclose(reader.probabilities(scores.numpy(), loss),
                       losses.probabilities(scores, Loss(name=loss)), atol=1e-6)


PROBE = """
import sys
from convatlas.cli import main
code = main(sys.argv[1:])
there = {name for name, module in sys.modules.items() if module}
print("HEAVY", *sorted({"torch", "torchvision", "openvino_telemetry"} & there), file=sys.stderr)
raise SystemExit(code)
"""


@pytest.mark.parametrize("engine", ["native", "onnxruntime", "openvino"])
def test_predict_of_a_deployed_folder_imports_no_torch_and_says_the_same(engine, tmp_path, own_cache):
    if engine != "native":
        pytest.importorskip(engine)
    elif missing():
        pytest.skip("no C++ compiler here: install g++")
    model = randomized(build("resnet20_cifar"))
    model.card = replace(model.card, classes=tuple(f"class {i}" for i in range(model.num_classes)),
                         preprocess=Preprocess(mean=MEAN, std=STD, crop_pct=0.8))
    deploy(model, tmp_path / "net", engine)
    files = [tmp_path / "a.png", tmp_path / "broken.png", tmp_path / "grey.png"]
    picture("RGB", (90, 61)).save(files[0])
    files[1].write_bytes(b"no picture")
    picture("L", (40, 40)).save(files[2])
    done = subprocess.run([sys.executable, "-c", PROBE, "predict", str(tmp_path / "net"), *map(str, files),
                           "--json", "--top-k", "3"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and done.stderr.splitlines()[-1].strip() == "HEAVY", done.stderr
    found = json.loads(done.stdout)["images"]
    assert "in no format that Pillow knows" in found[1]["error"] and "broken.png" in done.stderr
    assert convatlas.predict(tmp_path / "net", files, top_k=3)[0].classes == tuple(row["class"]
                                                                                   for row in found[0]["predictions"])
    for each, expected in zip(found, convatlas.predict(model, files, top_k=3), strict=True):
        assert [row["class"] for row in each["predictions"]] == list(expected.classes)
        assert np.allclose([row["probability"] for row in each["predictions"]], expected.probabilities, atol=5e-3)
    with pytest.raises(convatlas.ConvatlasError, match=r"broken\.png"):
        convatlas.predict(tmp_path / "net", files, strict=True)
    assert reader.answers(tmp_path / "net") and not reader.answers(tmp_path / "net", "cuda")
    about = json.loads((tmp_path / "net" / "deploy.json").read_text())
    inputs = ({"fit": "zca"}, {"interpolation": "nearest"}, {"channels": 4})
    for change in ({"format": 99}, {"backend": "eager"}, {"input": None},
                   *({"input": about["input"] | each} for each in inputs)):
        (tmp_path / "net" / "deploy.json").write_text(json.dumps(about | change))
        assert not reader.answers(tmp_path / "net"), change


@pytest.mark.skipif(missing() is not None, reason="no C++ compiler here: install g++")
def test_many_pictures_by_our_own_kernels_are_answered_as_few_are(tmp_path, monkeypatch, briefly):
    model = randomized(build("resnet20_cifar"))
    deploy(model, tmp_path / "net", "native", batch=2)
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for i, file in enumerate(files):
        picture("RGB", (32 + i, 40)).save(file)
    few = reader.predict(tmp_path / "net", files)
    monkeypatch.setattr(reader, "MANY", 1)
    many = reader.predict(tmp_path / "net", files)
    assert [each.classes for each in few] == [each.classes for each in many]
    assert np.allclose([each.probabilities for each in few], [each.probabilities for each in many], atol=1e-4)
    about = json.loads((tmp_path / "net" / "deploy.json").read_text())
    (tmp_path / "net" / "deploy.json").write_text(json.dumps(about | {"input": about["input"] | {"size": [16, 16]}}))
    with pytest.raises(convatlas.ConvatlasError, match=r"laid out for images \(N, 3, 32, 32\), not \(2, 3, 16, 16\)"):
        reader.predict(tmp_path / "net", files)
    (tmp_path / "net" / "deploy.json").write_text(json.dumps(about | {"example": [1, 3, 64, 64]}))
    with pytest.raises(convatlas.ConvatlasError, match=r"says images of \[3, 64, 64\], the network takes "
                       r"\[3, 32, 32\]"):
        reader.predict(tmp_path / "net", files)


def test_the_range_of_values_goes_with_the_folder(tmp_path, briefly):
    """12 bits in files of 16: with torch and without the pixels are those of the same picture in 8 bits."""
    values = np.random.RandomState(0).randint(0, 4096, (28, 28)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "12.png")
    Image.fromarray(np.rint(values / 4095 * 255).astype(np.uint8)).save(tmp_path / "8.png")
    net = convatlas.create_model("lenet1")
    net.card = replace(net.card, preprocess=Preprocess(range=(0, 4095)))
    deploy(net, tmp_path / "out", "onnxruntime")
    about = json.loads((tmp_path / "out" / "deploy.json").read_text(encoding="utf-8"))
    assert about["input"]["range"] == [0, 4095] and about["format"] == 2, "earlier versions would not read the range"
    assert reader.answers(tmp_path / "out")
    pictures = [tmp_path / "12.png", tmp_path / "8.png"]
    for found in (reader.predict(tmp_path / "out", pictures),
                  convatlas.predict(deployed(tmp_path / "out"), pictures)):
        assert found[0].probabilities == found[1].probabilities and not found[0].notes


@pytest.mark.parametrize(("field", "value", "said"), [
    ("example", [10**7, 3, 100, 100], "example is not"), ("example", [10**4, 3, 1000, 1000], "example is not"),
    ("example", [1, 3, 32], "example is not"), ("size", [10**5, 10**5], "input.size is not"),
    ("resize", [32, -1], "input.resize is not"), ("size", "ab", "input.size is not"),
    ("input", None, "holds no deployed network"),
])
def test_sizes_that_a_folder_claims_are_refused(tmp_path, field, value, said):
    about = {"format": 1, "backend": "onnxruntime", "precision": "fp32", "example": [1, 3, 32, 32], "macs": 1,
             "input": {"size": [32, 32], "resize": [36, 36], "fit": "none", "channels": 3, "interpolation": "bilinear",
                       "mean": [0.5], "std": [0.5]},
             "model": "lenet5", "file": "model.onnx", "fields": {}, "preprocess": {}, "classes": [],
             "loss": {"name": "cross_entropy"}}
    (tmp_path / "deploy.json").write_text(json.dumps(about))
    assert reader.described(tmp_path) == about
    (about if field in about else about["input"])[field] = value
    (tmp_path / "deploy.json").write_text(json.dumps(about))
    assert not reader.answers(tmp_path)
    with pytest.raises(convatlas.ConvatlasError, match=said):
        deployed(tmp_path)
