"""What every network must do, as functions of its name: the tests run them on one of each family,
`benchmarks/support.py` on all.
"""

import pickle
import tempfile
from collections.abc import Callable
from copy import deepcopy
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import convatlas
from convatlas.net import registry
from convatlas.net.fold import fold_structure
from convatlas.net.meta import blank
from convatlas.net.model import Convnet, Features, pair
from convatlas.net.segmenter import Segmenter

SIZES = (32, 64, 96, 128, 188, 224, 299)        # the first at which the last map is larger than one unit


@cache
def fields_of(name: str) -> dict[str, Any]:
    """Ten classes, and an image as small as the network takes with something left to look at."""
    spec = registry.variant(name).spec
    classes = {"num_classes": min(10, spec.num_classes)}
    net = blank(registry.change(spec, classes).build)
    if not _takes(net, (pair(spec.image_size)[0] + 16,) * 2):
        return classes                          # made for one size
    size = next((s for s in SIZES if s <= pair(spec.image_size)[0] and _takes(net, (s, s))), None)
    return classes if size is None else classes | {"image_size": size}


def _takes(net: Convnet, size: tuple[int, int]) -> bool:
    try:
        return net.accepts(size) and min(net.shapes(size)[-1][1:]) > 1
    except convatlas.ConvatlasError:
        return False


# deep networks with fewer blocks, two of each kind that repeats; a test that takes these puts them into FEWER
SHALLOW: dict[str, dict[str, Any]] = {
    "convnext_isotropic_small": {"blocks": 2}, "convnext_tiny": {"blocks": (2, 2, 2, 2)},
    "densenet121": {"layers": (2, 2, 2, 2)}, "densenet_40_12_cifar": {"layers": 2}, "plain20_cifar": {"n": 2},
    "preact_resnet164_cifar": {"n": 2}, "repvgg_a0": {"layers": (2, 2, 2, 1)},
    "resnext50_2x40d": {"depths": (2, 2, 2, 2)}, "wide_resnet40_1_cifar": {"depth": 16}}
FEWER: dict[str, dict[str, Any]] = {}


def build(name: str, **fields: Any) -> Convnet:
    """A network of its own for each law, with weights from the same seed."""
    net = deepcopy(_built(name, tuple((FEWER.get(name, {}) | fields).items())))
    torch.manual_seed(0)
    return net


@lru_cache(maxsize=1)       # the laws of one network follow each other
def _built(name: str, fields: tuple[tuple[str, Any], ...]) -> Convnet:
    torch.manual_seed(0)
    return convatlas.create_model(name, **(fields_of(name) | dict(fields)))


def images(model: Convnet, count: int, *, more: int = 0) -> Tensor:
    dice = torch.Generator().manual_seed(1)
    return torch.randn(count, model.in_chans, *(side + more for side in model.image_size), generator=dice)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * max(expected.abs().max().item(), 1e-6))


def wake(model: Convnet) -> Convnet:
    """Layers that start at zero (score layers, layer scale) would hide everything behind them."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.abs().max() < 1e-3:
                parameter.normal_(std=0.1)
    return model


def gradients(name: str) -> None:
    """No NaN, and a gradient for every parameter, auxiliary classifiers included."""
    model = wake(build(name)).train()
    x = images(model, 2)
    scores, sides = model.forward_aux(x) if model.aux else (model(x), {})
    sum((side.square().sum() for side in sides.values()), scores.square().sum()).backward()
    assert scores.isfinite().all()
    for label, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), label
            assert parameter.grad.abs().sum() > 0, label


def one_image(name: str) -> None:
    """A batch of one gives what it gives in a larger one."""
    model = wake(build(name)).eval()
    x = images(model, 3)
    with torch.inference_mode():
        close(model(x[:1]), model(x)[:1])


def odd_sizes(name: str) -> None:
    """Height and width need not be even, nor the same."""
    model = wake(build(name)).eval()
    size = (model.image_size[0] + 21, model.image_size[1] + 38)
    if not model.accepts(size):
        pytest.skip("made for some sizes only")
    with torch.inference_mode():
        scores = model(torch.randn(1, model.in_chans, *size))
    assert scores.shape[:2] == (1, model.num_classes) and scores.isfinite().all()


def channels_last(name: str) -> None:
    """The memory layout changes nothing."""
    model = wake(build(name)).eval()
    x = images(model, 2)
    with torch.inference_mode():
        expected = model(x)
        last = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    close(last, expected)


def bfloat16(name: str) -> None:
    """It runs in bfloat16."""
    model = wake(build(name)).eval()
    x = images(model, 1)
    with torch.inference_mode():
        assert model.bfloat16()(x.bfloat16()).isfinite().all()


def traced(name: str) -> None:
    """torch.fx sees a plain graph that computes the same."""
    model = wake(build(name)).eval()
    x = images(model, 2)
    with torch.no_grad():
        close(torch.fx.symbolic_trace(model)(x), model(x), 1e-6)


def compiled(name: str) -> None:
    """torch.compile takes it as one graph."""
    model = wake(build(name)).eval()
    x = images(model, 2)
    with torch.no_grad():
        close(torch.compile(model, fullgraph=True, backend="aot_eager")(x), model(x))
    torch.compiler.reset()


def exported(name: str) -> None:
    """torch.export takes it, with any batch size."""
    model = wake(build(name)).eval()
    x = images(model, 3)
    program = torch.export.export(model, (x[:2],), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))
    with torch.no_grad():
        close(program.module()(x), model(x))


def onnx(name: str) -> None:
    """ONNX Runtime gives the same scores."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    model = wake(build(name)).eval()
    x = images(model, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        torch.onnx.export(model, (x,), path, dynamo=True, verbose=False, optimize=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        scores = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    with torch.no_grad():
        close(torch.from_numpy(scores), model(x))


def saved(name: str) -> None:
    """Written to a file and read again, it gives the same scores bit for bit."""
    model = wake(build(name)).eval()
    x = images(model, 1)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        again = convatlas.load(convatlas.save(model, Path(folder) / "model.safetensors"))
        assert again.spec == model.spec
        assert torch.equal(again(x), model(x))


def folded(name: str) -> None:
    """fold(m)(x) = m(x); the original is untouched; the folded one can be written and read."""
    model = wake(build(name))
    model.train()
    with torch.no_grad():
        model(images(model, 4))                 # statistics other than the initial ones
    model.double().eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    small = convatlas.fold(model)
    x = images(model, 2).double()
    with torch.inference_mode():
        close(small(x), model(x), 1e-9)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    before, after = small.card.folded.layers
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in small.modules()) or after <= before
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        again = convatlas.load(convatlas.save(small, Path(folder) / "folded.safetensors"))
        close(again.double()(x), small(x), 1e-6)


def pickled(name: str) -> None:
    """Pickled, whole and folded and as features only, it gives the same scores bit for bit in any process."""
    model = wake(build(name)).eval()
    small = fold_structure(deepcopy(model))
    nets = [model, small] if isinstance(model, Segmenter) else [model, small, Features(model)]
    x = images(model, 1)
    with torch.inference_mode():
        for net, again in zip(nets, pickle.loads(pickle.dumps(nets)), strict=True):
            torch.testing.assert_close(again(x), net(x), rtol=0, atol=0)
            assert isinstance(net, Features) or (again.name, again.spec) == (net.name, net.spec)


def memorised(name: str) -> None:
    """Eight images and their labels are learned by heart."""
    variant = registry.variant(name)
    if variant.segments:
        pytest.skip("learns images of labels, not labels")
    kept = {field: 0.0 for field in ("drop_rate", "drop_path_rate") if field in registry.plain(variant.spec)}
    small = variant.params < 200_000
    if not any(_learns(build(name, **kept), rate) for rate in ((0.01, 1e-3) if small else (1e-3, 3e-4))):
        raise AssertionError("eight images were not learned in 150 steps")


def _learns(model: Convnet, rate: float) -> bool:
    x = torch.rand(8, model.in_chans, *model.image_size, generator=torch.Generator().manual_seed(1)).round() * 2 - 1
    labels = torch.arange(8) % model.num_classes
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for step in range(150):
        optimizer.zero_grad()
        scores = model(x)
        torch.nn.functional.cross_entropy(scores, labels).backward()
        optimizer.step()
        if step % 5 == 4 and (scores.argmax(1) == labels).all():
            return True
    return False


LAWS: dict[str, Callable[[str], None]] = {
    law.__name__: law for law in (gradients, one_image, odd_sizes, channels_last, bfloat16, traced, compiled, exported,
                                  onnx, saved, folded, pickled, memorised)}
