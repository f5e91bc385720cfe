"""Kernels on bytes: each step to the bit against whole numbers in NumPy and torch, networks in folders."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import convatlas
from convatlas.deploy import deploy, deployed
from convatlas.deploy.backends import BACKENDS
from convatlas.deploy.native import build, compiler, engine, kernels, stored
from convatlas.deploy.native.engine import Network
from convatlas.deploy.native.plan import plan
from convatlas.deploy.native.quantized import quantized, ranges
from convatlas.deploy.native.work import Work, read, written
from laws import images

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here: install g++")

Array = np.ndarray[Any, Any]


def rounded(x: Array) -> Array:
    return np.rint(x.astype(np.float32)).astype(np.int64)


def windows(work: Work, x: Array, fill: int) -> tuple[Array, Array]:
    """The pixels that each result sees, (n, oh, ow, kh · kw, c), and which of them are on the map."""
    high, wide = ((size - 1) * step + (kernel - 1) * apart + 1 for size, step, kernel, apart in zip(
        (work.result.h, work.result.w), work.stride, work.kernel, work.dilation, strict=True))
    n, h, w, c = x.shape
    around = np.full((n, max(high, h + work.padding[0]), max(wide, w + work.padding[1]), c), fill, x.dtype)
    there = np.zeros(around.shape, bool)
    where = np.s_[:, work.padding[0] : work.padding[0] + h, work.padding[1] : work.padding[1] + w]
    around[where], there[where] = x, True

    def taken(of: Array) -> Array:
        return np.stack([of[:, y * work.dilation[0] : high : 1, x * work.dilation[1] : wide : 1]
                         [:, :: work.stride[0], :: work.stride[1]][:, : work.result.h, : work.result.w]
                         for y in range(work.kernel[0]) for x in range(work.kernel[1])], 3)

    return taken(around), taken(there)


def expected(work: Work, x: Array, other: Array | None) -> Array:
    """The step's result, of its maps (n, h, w, c) as the kernels have them."""
    zero, out_zero, other_zero = work.zeros
    epsilon, plain = np.float32(work.epsilon), x.astype(np.int64) - zero
    if work.kind == "dequantize":
        return (plain.astype(np.float32) * epsilon).astype(np.float32)
    if work.kind in ("qconv", "qdepthwise"):
        assert work.weight is not None and work.bias is not None and work.scale is not None
        if work.flat:
            c, h, w = work.flat
            plain = plain.reshape(len(x), h, w, -1)[..., :c].transpose(0, 3, 1, 2).reshape(len(x), 1, 1, -1)
        pads = work.padding[1], work.kernel[1] * work.dilation[1], work.padding[0], work.kernel[0] * work.dilation[0]
        given = F.pad(torch.from_numpy(plain.transpose(0, 3, 1, 2).astype(np.float64)), pads)
        sums = F.conv2d(given, torch.from_numpy(work.weight.astype(np.float64)), None, work.stride, 0, work.dilation,
                        work.groups).numpy()[:, :, : work.result.h, : work.result.w].transpose(0, 2, 3, 1)
        # the kernels' sums begin with a bias that has the zero's share in it
        sums = sums + work.bias + zero * work.weight.reshape(len(work.weight), -1).astype(np.int64).sum(1)
        assert np.abs(sums).max() < 2 ** 31
        scaled = sums.astype(np.float32) * work.scale
        if work.bounds == (0, 0):
            return scaled
        if other is not None:
            more = rounded((other.astype(np.int64) - other_zero).astype(np.float32) * epsilon)
            found = (rounded(scaled) + more + 128 >> 8) + out_zero
        else:
            found = rounded(scaled) + out_zero
    elif work.kind == "quantize":
        found = rounded(np.clip(x.astype(np.float32) * epsilon, -512, 512)) + out_zero
    elif work.kind == "qmaxpool":
        seen, there = windows(work, x, 0)
        return np.where(there, seen, 0).max(3).astype(np.uint8)
    elif work.kind == "qavgpool":
        seen, there = windows(work, x, 0)
        count = there.sum(3)
        if work.counts_padding:
            high, wide = (pad + np.minimum(size + pad, np.arange(results) * step - pad + kernel)
                          - np.arange(results) * step for size, pad, results, step, kernel in zip(
                              (work.source.h, work.source.w), work.padding, (work.result.h, work.result.w), work.stride,
                              work.kernel, strict=True))
            count = (high[:, None] * wide)[None, :, :, None]
        sums = np.where(there, seen.astype(np.int64) - zero, 0).sum(3)
        found = rounded(sums.astype(np.float32) * (epsilon / count.astype(np.float32))) + out_zero
    elif work.kind == "qmean":
        found = rounded(plain.sum((1, 2), keepdims=True).astype(np.float32) * epsilon) + out_zero
    elif work.kind == "qadd":
        assert work.scale is not None and other is not None
        sums = (rounded(plain.astype(np.float32) * work.scale[0])
                + rounded((other.astype(np.int64) - other_zero).astype(np.float32) * work.scale[1]))
        found = (sums + 128 >> 8) + out_zero
    elif work.kind == "qmultiply":
        assert other is not None
        found = rounded((plain * (other.astype(np.int64) - other_zero)).astype(np.float32) * epsilon) + out_zero
    elif work.kind == "qaffine":
        assert work.scale is not None and work.bias is not None
        found = (rounded(plain.astype(np.float32) * work.scale) + work.bias + 128 >> 8) + out_zero
    else:
        assert work.kind == "qcopy"
        return x
    found = np.clip(found, *work.bounds).astype(np.uint8)
    return found if work.table is None else work.table[found]


def whole(net: nn.Module, size: tuple[int, ...], keep: tuple[str, ...] = ()) -> tuple[list[Work], Array]:
    """The network's steps on bytes, through a file, and images."""
    works, x = plan(net.eval(), size), torch.randn(3, *size).numpy()
    tree, arrays = written(quantized(works, ranges(works, x, 2), keep))
    return read(json.loads(json.dumps(tree)), arrays), x


def check_steps(net: nn.Module, size: tuple[int, ...]) -> set[str]:
    """Every step on bytes to the bit, and the same answer for any number of threads; the kinds that there were."""
    works, x = whole(net, size)
    network = Network(works, 2, keeps=True)
    answer, seen = network(x), set()
    for work in network.program(len(x), False).works:
        if work.kind not in (*engine.KINDS[engine.KINDS.index("quantize") :],):
            continue
        source = (x.transpose(0, 2, 3, 1) if work.source.buffer is None
                  else network.values(work.source).reshape(len(x), work.source.h, work.source.w, -1))
        other = (None if work.other is None
                 else network.values(work.other).reshape(len(x), work.other.h, work.other.w, -1))
        found = network.values(work.result).reshape(len(x), work.result.h, work.result.w, -1)
        if work.activation == "none" or work.bounds != (0, 0):
            assert np.array_equal(found, expected(work, source, other)), work
        seen.add(work.kind)
    for threads, parts in ((1, {}), (3, {}), (2, {3: 1}), (3, {3: 1})):
        assert np.array_equal(Network(works, threads, parts)(x), answer)
    assert np.array_equal(Network(works, 2)(x[:1]), answer[:1])
    return seen


class Sum(nn.Module):
    """Paths over one input, added, joined or multiplied."""

    def __init__(self, *paths: nn.Module, how: str = "add") -> None:
        super().__init__()
        self.paths, self.how = nn.ModuleList(paths), how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = (path(x) for path in self.paths)
        return {"add": lambda: first + second, "join": lambda: torch.cat([first, second], 1),
                "multiply": lambda: first * second}[self.how]()


def gate(channels: int) -> nn.Module:
    return Sum(nn.Identity(), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 6, 1), nn.SiLU(),
                                            nn.Conv2d(6, channels, 1), nn.Sigmoid()), how="multiply")


NETWORKS = {
    "curves": [nn.Conv2d(16, 24, 3, padding=1), nn.SiLU(), nn.Conv2d(24, 40, 1), nn.Hardswish(),
               nn.Conv2d(40, 9, 1), nn.GELU()],
    "gates": [nn.Conv2d(16, 16, 5, 2, 2, groups=16), nn.Hardswish(), gate(16)],
    "residual": [Sum(nn.Sequential(nn.Conv2d(16, 40, 1), nn.ReLU6(), nn.Conv2d(40, 16, 3, padding=1)), nn.Identity()),
                 nn.ReLU(), Sum(nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1))],
    "pools": [nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(3, 1, 1),
              nn.AvgPool2d(3, 2, 1, count_include_pad=False)],
    "joined": [Sum(nn.Conv2d(16, 32, 1), nn.Sequential(nn.Conv2d(16, 7, 3, padding=1), nn.Tanh()), how="join"),
               nn.BatchNorm2d(39), nn.ReLU(), nn.Conv2d(39, 8, 1)],
    "moved": [nn.ReLU(), Sum(nn.MaxPool2d(3, 1, 1), nn.Identity(), how="join"), nn.Conv2d(32, 9, 1)],
    "groups": [nn.Conv2d(16, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1, groups=4), nn.ReLU(),
               nn.Conv2d(64, 64, 3, padding=1, groups=16), nn.ReLU()],
    "BatchNorm": [nn.BatchNorm2d(16), nn.SiLU(), nn.Conv2d(16, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 6, 1)],
    "floats between": [nn.Conv2d(16, 32, 1), nn.LocalResponseNorm(5), nn.Conv2d(32, 32, 3, dilation=2, groups=32)],
}


def network(name: str) -> nn.Module:
    """Of images (3, 13, 11), with five classes."""
    torch.manual_seed(0)
    layers = [layer if not isinstance(layer, nn.LocalResponseNorm) else convatlas.parts.LocalResponseNorm()
              for layer in NETWORKS[name]]
    net = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(5))
    net(torch.randn(2, 3, 13, 11))
    return net


@pytest.mark.parametrize("name", NETWORKS)
def test_every_step_on_bytes_is_whole_numbers_to_the_bit(name):
    check_steps(network(name), (3, 13, 11))


def test_a_linear_layer_over_a_whole_map_is_taken_as_it_lies():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 20, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20 * 5 * 4, 30), nn.ReLU(),
                        nn.Linear(30, 4))
    assert check_steps(net, (3, 7, 6)) == {"quantize", "qconv"}


@settings(max_examples=12, deadline=None, derandomize=True)
@given(c=st.integers(1, 40), k=st.integers(1, 70), kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
       stride=st.tuples(st.integers(1, 3), st.integers(1, 3)), deep=st.booleans(),
       size=st.tuples(st.integers(9, 15), st.integers(9, 15)))
def test_convolutions_of_any_shape_are_whole_numbers_to_the_bit(c, k, kernel, stride, deep, size):
    padding = kernel[0] // 2, kernel[1] // 2
    made = nn.Conv2d(c, c, kernel, stride, padding, groups=c) if deep else nn.Conv2d(c, k, kernel, stride, padding)
    check_steps(nn.Sequential(nn.Conv2d(c, c, 1), nn.SiLU(), made, nn.ReLU(), nn.AdaptiveAvgPool2d(1)), (c, *size))


@pytest.mark.parametrize("size", [9, 13, 31])
def test_large_depthwise_kernels_too(size):
    net = nn.Sequential(nn.Conv2d(3, 24, 1), nn.Conv2d(24, 24, (size, 5), padding=(size // 2, 2), groups=24),
                        nn.AdaptiveAvgPool2d(1))
    assert "qdepthwise" in check_steps(net, (3, 12, 10))


@pytest.mark.slow
@pytest.mark.parametrize("march", ["x86-64", "x86-64-v3", "x86-64-v4"])
def test_processors_without_products_of_bytes_give_the_same_bits(march, monkeypatch):
    if march.endswith("v4") and "avx512bw" not in build._instructions():
        pytest.skip("this processor has no AVX-512")
    torch.manual_seed(0)
    works, x = whole(nn.Sequential(nn.Conv2d(3, 40, 3, 2, 1), nn.SiLU(), nn.Conv2d(40, 40, 5, 1, 2, groups=40),
                                   nn.ReLU6(), gate(40), Sum(nn.Conv2d(40, 40, 3, padding=1), nn.Identity()),
                                   nn.AdaptiveAvgPool2d(1),
                                   nn.Flatten(), nn.Linear(40, 7)), (3, 17, 15))
    answer = Network(works, 2)(x)
    other = kernels(("-O1", f"-march={march}", *build.FLAGS[2:]))
    assert other.convatlas_lanes() == (16 if march.endswith("v4") else 8)
    monkeypatch.setattr(engine, "kernels", lambda: other)
    assert np.array_equal(Network(works, 2)(x), answer)


def test_what_is_seen_on_the_pictures_is_all_of_every_map():
    """A chain of layers is computed a few rows at a time, and would leave but the last of them."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.SiLU(), nn.Conv2d(16, 64, 1), nn.ReLU(),
                        nn.Conv2d(64, 64, 3, 1, 1, groups=64), nn.ReLU(), nn.Conv2d(64, 8, 1)).eval()
    x = torch.randn(5, 3, 160, 96)
    found = ranges(plan(net, (3, 160, 96)), x.numpy(), 1)
    with torch.inference_mode():
        for i, name in ((0, "_0 before"), (1, "_0"), (3, "_2"), (5, "_4"), (6, "_6")):
            exact = net[: i + 1](x).flatten(2)
            seen = torch.tensor([found[name].low, found[name].high, *found[name].means])
            wanted = torch.cat([exact.amin((1, 2)).mean()[None], exact.amax((1, 2)).mean()[None], exact.mean((0, 2))])
            assert torch.allclose(seen.float(), wanted, atol=1e-5), name


def test_a_layer_that_is_to_stay_in_fp32_does_and_the_rest_is_bytes():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3))
    works, x = whole(net, (3, 12, 12), keep=("_2",))
    assert [work.kind for work in works] == ["quantize", "qconv", "conv", "quantize", "qconv", "output"]
    with torch.inference_mode():
        exact = net(torch.from_numpy(x)).numpy()
    assert np.abs(Network(works, 1)(x) - exact).max() < 0.15 * np.abs(exact).max()


def test_steps_on_bytes_that_would_lead_out_of_their_memory_are_refused():
    torch.manual_seed(0)
    works, _ = whole(nn.Sequential(nn.Conv2d(3, 16, 3), nn.SiLU(), nn.Conv2d(16, 4, 3)), (3, 12, 12))

    def refused(i: int, **changed: Any) -> None:
        other = [replace(work, **changed) if j == i else work for j, work in enumerate(works)]
        tree, arrays = written(other)
        with pytest.raises(ValueError):
            read(tree, arrays)

    conv = works[1]
    assert conv.scale is not None and conv.weight is not None and conv.bias is not None
    refused(1, scale=conv.scale[:-1])
    refused(1, weight=conv.weight[:, :, :2])
    refused(1, bias=conv.bias.astype(np.float32))
    refused(1, table=np.zeros(255, np.uint8))
    refused(1, bounds=(0, 256))
    refused(1, scale=None)
    refused(2, source=replace(works[2].source, buffer=replace(works[2].source.buffer, wide=4)))
    refused(2, kind="maxpool", weight=None, bias=None, scale=None, bounds=(0, 0))       # of floats, on bytes


def test_a_folder_in_int8_is_a_quarter_of_fp32_s_and_answers_as_the_network(tmp_path):
    torch.manual_seed(0)
    model = convatlas.create_model("mobilenet_v2", num_classes=5, image_size=32).eval()
    x = images(model, 6)
    report = deploy(model, tmp_path / "small", "native", "int8", calibrate=x, evaluate=(x, model(x).argmax(1)))
    assert report.int8 is not None and report.int8.size < 0.32 * report.int8.fp32_size
    tree = json.loads((tmp_path / "small" / stored.STEPS).read_text(encoding="utf-8"))
    assert tree["format"] == stored.FORMATS["int8"] and {row["kind"] for row in tree["steps"]} == {
        "quantize", "qconv", "qdepthwise", "qmean", "output"}
    net = deployed(tmp_path / "small")
    assert torch.equal(net(x), BACKENDS["native"].open(tmp_path / "small", x, "int8")(x))
    assert math.isfinite(float(net(x).abs().max()))
