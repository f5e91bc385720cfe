"""Exports: a small variant of every family, any batch, the same scores."""

import sys

import pytest
import torch
from test_rewrite import families

import convatlas
from convatlas.deploy.exports import export
from laws import build, images
from parity import randomized

QUICK = {"lenet5", "resnet20_cifar", "mobilenet_v2"}


def check(model, scores):
    """`scores(batch)` are the network's, for a batch size that the file was not written with."""
    x = images(model, 5)
    with torch.inference_mode():
        expected = model(x)
    torch.testing.assert_close(scores(x), expected, rtol=0, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
                                  for name in sorted({*families(), *QUICK})])
def test_onnx_takes_any_batch(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = randomized(build(name))
    session = onnxruntime.InferenceSession(str(export(model, tmp_path / "net.onnx").path))
    assert [i.name for i in session.get_inputs()] == ["image"] and [o.name for o in session.get_outputs()] == ["scores"]
    check(model, lambda x: torch.from_numpy(session.run(None, {"image": x.numpy()})[0]))


@pytest.mark.parametrize("name", ["resnet20_cifar", pytest.param("convnext_tiny", marks=pytest.mark.slow),
                                  pytest.param("unet_same", marks=pytest.mark.slow)])
def test_torch_and_openvino_take_any_batch(name, tmp_path):
    model = randomized(build(name))
    program = torch.export.load(export(model, tmp_path / "net.pt2").path).module()
    with torch.inference_mode():
        check(model, program)
    openvino = pytest.importorskip("openvino")
    done = export(model, tmp_path / "net.xml")
    assert done.size == sum((tmp_path / name).stat().st_size for name in ("net.xml", "net.bin"))
    compiled = openvino.Core().compile_model(done.path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    check(model, lambda x: torch.from_numpy(compiled(x.numpy())[0]))


SLOW = pytest.mark.slow
PIXELS = {      # how they are built, and sizes
    "unet_same": ({"widths": (4, 8), "image_size": 16}, ((24, 40), (17, 31))),
    "unet": ({"widths": (2, 4), "image_size": 24}, ((26, 40), (60, 28))),
    "unet_mobilenet_v2": ({"image_size": 64}, ((48, 80), (33, 47), (128, 64))),
    "unet_convnext_tiny": ({"image_size": 64}, ((48, 80), (33, 47), (128, 64))),
    "fcn32s_alexnet": ({"image_size": 64}, ((48, 80), (33, 47), (128, 64))),
}


def opened(path):
    """The file, in its own engine: images to scores."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    if path.suffix == ".onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
        assert session.get_inputs()[0].shape[::2] == ["batch", "height"]
        return lambda x: torch.from_numpy(session.run(None, {"image": x.numpy()})[0])
    compiled = pytest.importorskip("openvino").Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda x: torch.from_numpy(compiled(x.numpy())[0].copy())


@pytest.mark.parametrize(("name", "suffix"), [
    ("unet_same", ".onnx"), *(pytest.param(name, suffix, marks=SLOW) for name in PIXELS
                              for suffix in (".onnx", ".pt2", ".xml") if (name, suffix) != ("unet_same", ".onnx"))])
def test_networks_that_score_pixels_take_any_size(name, suffix, tmp_path):
    pytest.importorskip({".onnx": "onnxruntime", ".xml": "openvino"}.get(suffix, "torch"))
    fields, sizes = PIXELS[name]
    torch.manual_seed(0)
    model = randomized(convatlas.create_model(name, **fields).eval())
    scores = opened(export(model, tmp_path / f"net{suffix}").path)
    for size in (model.image_size, *sizes):
        x = torch.randn(2, model.in_chans, *size)
        with torch.inference_mode():
            expected, found = model(x), scores(x)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


def test_sizes_that_a_network_refuses_are_refused_by_a_program_and_told_of_a_file(tmp_path):
    model = randomized(convatlas.create_model("unet", widths=(2, 4), image_size=24).eval())
    done = export(model, tmp_path / "net.pt2")
    assert done.takes == "any batch of images with sides of 18, 20, 22, … pixels; others are refused"
    with pytest.raises(AssertionError, match="Guard failed"):
        torch.export.load(done.path).module()(torch.randn(1, 1, 25, 24))
    assert export(randomized(build("lenet5")), tmp_path / "lenet.pt2").takes == "any batch of images of 32×32 pixels"


@pytest.mark.parametrize("name", ["resnet20_cifar", pytest.param("mobilenet_v2", marks=pytest.mark.slow)])
def test_executorch_runs_it_for_one_image(name, tmp_path):
    pytest.importorskip("executorch", reason="ExecuTorch is not installed: uv pip install -e '.[executorch]'")
    from executorch.runtime import Runtime

    model = randomized(build(name))
    done = export(model, tmp_path / "net.pte")
    weights = 4 * sum(parameter.numel() for parameter in convatlas.fold(model).parameters())
    assert done.size == done.path.stat().st_size and 0.9 * weights < done.size < 1.1 * weights
    x = images(model, 1)
    (scores,) = Runtime.get().load_program(done.path).load_method("forward").execute([x])
    with torch.inference_mode():
        expected = model(x)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


def test_what_cannot_be_is_said(tmp_path, monkeypatch):
    model = randomized(build("lenet5"))
    with pytest.raises(convatlas.ConvatlasError, match=r"ends in \.onnx"):
        export(model, tmp_path / "net.pt2", "onnx")
    with pytest.raises(convatlas.ConvatlasError, match=r"its suffix says which format, \.onnx \(onnx\)"):
        export(model, tmp_path / "net.tflite")
    with pytest.raises(convatlas.ConvatlasError, match="there is no folder"):
        export(model, tmp_path / "absent" / "net.onnx")
    with pytest.raises(convatlas.ConvatlasError, match=r"'onx' is unknown.*did you mean 'onnx'"):
        export(model, tmp_path / "net.onnx", "onx")
    monkeypatch.setattr("convatlas.deploy.exports.find_spec", lambda name: None)
    with pytest.raises(convatlas.ConvatlasError, match=r"needs executorch: uv pip install -e '.\[executorch\]'"):
        export(model, tmp_path / "net.pte", "executorch")
    assert not list(tmp_path.iterdir()) and "executorch" not in sys.modules
