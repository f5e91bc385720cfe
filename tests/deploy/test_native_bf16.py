"""Kernels in bf16: each step against torch with weights and maps rounded, every way to multiply, and folders."""

import ctypes
import json
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
from convatlas.deploy import deploy, deployed, reader
from convatlas.deploy.backends import BACKENDS
from convatlas.deploy.native import build, compiler, engine, kernels, stored
from convatlas.deploy.native.bfloat16 import account, in_bf16, rounded
from convatlas.deploy.native.engine import Network
from convatlas.deploy.native.plan import plan
from convatlas.deploy.native.work import UnsupportedError, Work, read, written
from convatlas.parts import LocalResponseNorm
from laws import images

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here: install g++")

Array = np.ndarray[Any, Any]
WAYS = {"floats": ("bconv", 0, 0), "pairs": ("bconv", 1, 1), "tiles": ("tconv", 0, 2)}      # and the bit of each
ACTIVATIONS = {"none": lambda x: x, "relu": F.relu, "relu6": F.relu6, "silu": F.silu, "hardswish": F.hardswish,
               "sigmoid": torch.sigmoid, "gelu": F.gelu, "tanh": torch.tanh}


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Each way to multiply that this machine has, for all steps that can be computed so."""
    kind, how, bit = WAYS[request.param]
    if bit & ~kernels().convatlas_bf16():
        pytest.skip(f"this machine does not multiply bf16 by {request.param}")
    monkeypatch.setattr(engine.Program, "_bf16_forms", lambda self, work: [
        ("bconv", 0) if kind == "tconv" and work.groups > 1 else (kind, how)])
    return request.param


def near(values: torch.Tensor) -> torch.Tensor:
    """Rounded to bf16."""
    return values.float().bfloat16().double()


def expected(work: Work, x: Array, other: Array | None) -> tuple[torch.Tensor, torch.Tensor]:
    """The step's result (n, h, w, c) of its maps, and the sizes of what it adds up."""
    assert work.weight is not None
    weight = torch.from_numpy((work.weight.astype(np.uint32) << 16).view(np.float32)).double()
    given = torch.from_numpy(x)
    if work.before is not None:
        given = F.relu(given * torch.from_numpy(work.before[0]) + torch.from_numpy(work.before[1]))
    given = near(given)
    if work.flat:
        c, h, w = work.flat
        given = given.reshape(len(x), h, w, -1)[..., :c].permute(0, 3, 1, 2).reshape(len(x), 1, 1, -1)
    pads = work.padding[1], work.kernel[1] * work.dilation[1], work.padding[0], work.kernel[0] * work.dilation[0]
    given = F.pad(given.permute(0, 3, 1, 2), pads)

    def summed(x: torch.Tensor, w: torch.Tensor, b: Array | None) -> torch.Tensor:
        bias = None if b is None else torch.from_numpy(b).double()
        found = F.conv2d(x, w, bias, work.stride, 0, work.dilation, work.groups)
        return found[:, :, : work.result.h, : work.result.w].permute(0, 2, 3, 1)

    more = 0 if other is None else torch.from_numpy(other).double()
    sizes = summed(given.abs(), weight.abs(), None if work.bias is None else np.abs(work.bias))
    return ACTIVATIONS[work.activation](summed(given, weight, work.bias) + more), sizes + abs(more)


def whole(net: nn.Module, size: tuple[int, ...]) -> tuple[list[Work], Array]:
    """The network's steps in bf16, through a file, and images."""
    tree, arrays = written(in_bf16(plan(net.eval(), size)))
    return read(json.loads(json.dumps(tree)), arrays), torch.randn(3, *size).numpy()


def check_steps(net: nn.Module, size: tuple[int, ...]) -> None:
    """Every step in bf16, and the same answer for any number of threads, and a few rows at a time."""
    works, x = whole(net, size)
    network, seen = Network(works, 2, keeps=True), 0
    answer = network(x)
    for work in network.program(len(x), False).works:
        if work.kind == "maxpool" and work.result.wide == 2:
            pooled = F.max_pool2d(torch.from_numpy(network.values(work.source)).mT.reshape(
                len(x), work.source.c, work.source.h, work.source.w), work.kernel, work.stride, work.padding)
            assert np.array_equal(network.values(work.result), pooled.flatten(2).mT)
        if work.kind != "bconv":
            continue
        source, other = (None if each is None else x.transpose(0, 2, 3, 1) if each.buffer is None
                         else network.values(each).reshape(len(x), each.h, each.w, -1)
                         for each in (work.source, work.other))
        assert source is not None
        exact, sizes = expected(work, source, other)
        found = torch.from_numpy(network.values(work.result).reshape(exact.shape)).double()
        rounding = 2 ** -8 * exact.abs() if work.result.wide == 2 else 0
        assert ((found - exact).abs() <= rounding + 1e-6 * sizes + 1e-6).all(), work
        seen += 1
    assert seen
    for threads, parts in ((1, {}), (3, {}), (2, {3: 1}), (3, {3: 1})):
        assert np.array_equal(Network(works, threads, parts)(x), answer)
    assert np.array_equal(Network(works, 2)(x[:1]), answer[:1])


class Sum(nn.Module):
    """Two paths over one input, added or joined."""

    def __init__(self, first: nn.Module, second: nn.Module, join: bool = False) -> None:
        super().__init__()
        self.first, self.second, self.join = first, second, join

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.first(x), self.second(x)
        return torch.cat([first, second], 1) if self.join else first + second


NETWORKS = {
    "curves": [nn.Conv2d(16, 24, 3, padding=1), nn.SiLU(), nn.Conv2d(24, 40, 1), nn.Hardswish(), nn.Conv2d(40, 9, 1)],
    "residual": [Sum(nn.Sequential(nn.Conv2d(16, 40, 1), nn.ReLU6(), nn.Conv2d(40, 16, 3, padding=1)), nn.Identity()),
                 nn.ReLU(), nn.Conv2d(16, 70, 3, 2, 1), nn.ReLU(), nn.Conv2d(70, 33, 1, 2), nn.GELU()],
    "pooled": [nn.MaxPool2d(3, 2, 1), nn.Conv2d(16, 600, 1), nn.SiLU(),
               Sum(nn.Conv2d(600, 600, 1), nn.Conv2d(600, 600, 1)), nn.Hardswish(), nn.Conv2d(600, 17, 3, 2, 1)],
    "joined": [Sum(nn.Conv2d(16, 32, 1), nn.Sequential(nn.Conv2d(16, 7, 3, padding=1), nn.Tanh()), join=True),
               nn.BatchNorm2d(39), nn.ReLU(), nn.Conv2d(39, 8, 1), nn.Conv2d(8, 80, 5, padding=4, dilation=2)],
    "groups": [nn.Conv2d(16, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1, groups=4), nn.ReLU(),
               nn.Conv2d(64, 64, 3, padding=1, groups=16), nn.ReLU()],
    "depthwise": [nn.Conv2d(16, 96, 1), nn.ReLU6(), nn.Conv2d(96, 96, 3, 2, 1, groups=96), nn.ReLU6(),
                  nn.Conv2d(96, 24, 1), LocalResponseNorm()],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_step_in_bf16_is_torch_s_of_rounded_numbers(name, way):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), *NETWORKS[name], nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                        nn.LazyLinear(5))
    net(torch.randn(2, 3, 29, 45))
    check_steps(net, (3, 29, 45))


def test_maps_in_bf16_are_those_that_no_other_step_touches():
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 16, 1), nn.MaxPool2d(2),
                        nn.AvgPool2d(2), nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 8, 1))
    works = in_bf16(plan(net.eval(), (3, 34, 34)))
    kinds = [(work.kind, work.source.wide, work.result.wide) for work in works if work.kind != "output"]
    assert kinds == [("bconv", 4, 2), ("maxpool", 2, 2), ("bconv", 2, 4), ("maxpool", 4, 4), ("avgpool", 4, 4),
                     ("bconv", 4, 4), ("bconv", 4, 4)]
    assert works[-2].before is not None
    assert account(Network(works, 1), 1).maps == 2


def test_a_linear_layer_over_a_whole_map_is_taken_as_it_lies(way):
    torch.manual_seed(0)
    check_steps(nn.Sequential(nn.Conv2d(3, 20, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20 * 5 * 4, 30), nn.ReLU(),
                              nn.Linear(30, 4)), (3, 7, 6))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(c=st.integers(1, 70), k=st.integers(1, 70), kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
       stride=st.tuples(st.integers(1, 3), st.integers(1, 3)), dilation=st.integers(1, 2),
       size=st.tuples(st.integers(9, 40), st.integers(9, 40)))
def test_convolutions_of_any_shape_are_too(c, k, kernel, stride, dilation, size):
    padding = kernel[0] // 2, kernel[1] // 2
    check_steps(nn.Sequential(nn.Conv2d(c, c, 1), nn.Conv2d(c, k, kernel, stride, padding, dilation), nn.ReLU()),
                (c, *size))


def test_by_pairs_and_by_floats_the_bits_are_the_same(monkeypatch):
    if not kernels().convatlas_bf16() & 1:
        pytest.skip("this machine does not multiply bf16 by pairs")
    torch.manual_seed(0)
    works, x = whole(nn.Sequential(nn.Conv2d(3, 40, 3, 2, 1), nn.SiLU(), nn.Conv2d(40, 33, 5)), (3, 30, 30))
    answers = []
    for how in (0, 1):
        monkeypatch.setattr(engine.Program, "_bf16_forms", lambda self, work, how=how: [("bconv", how)])
        answers.append(Network(works, 1)(x))
    assert np.array_equal(*answers)


def test_winograd_s_algorithm_takes_the_rounded_weights_and_is_told():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 32, 1), nn.Conv2d(32, 32, 3, 1, 1)).eval()
    works, x = whole(net, (3, 24, 24))
    network = Network(works, 1)
    key = network.program(3, True)._key(1)
    network = Network(works, 1, choices={key: ("winograd4", 56, 1, 0)}, keeps=True)
    found = network(x)
    between = torch.from_numpy(network.values(network.program(3, True).works[0].result)).mT.reshape(3, 32, 24, 24)
    told = account(network, 3)
    assert told.layers == 2 and sum(told.bf16.values()) == 1 and told.fp32 == {"by Winograd's algorithm": ("_1",)}
    with torch.no_grad():
        for layer in net:
            layer.weight.copy_(layer.weight.bfloat16())
        assert (between - net[0](torch.from_numpy(x).bfloat16().float())).abs().max() < 2 ** -8 * between.abs().max()
        exact = net[1](between).numpy()
    assert np.abs(found - exact).max() < 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize("form", ["winograd4", "winograd2"])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.SiLU()])
def test_winograd_s_algorithm_reads_adds_and_writes_maps_in_bf16(form, activation):
    torch.manual_seed(0)
    works, x = whole(nn.Sequential(nn.Conv2d(3, 24, 1), Sum(nn.Conv2d(24, 24, 3, 1, 1), nn.Identity()), activation,
                                   nn.Conv2d(24, 9, 1)), (3, 23, 30))
    assert [(work.source.wide, work.result.wide) for work in works[1:2]] == [(2, 2)]
    usual = Network(works, 2, keeps=True)
    key = usual.program(3, False)._key(1)
    network = Network(works, 2, choices={key: (form, 56, 1, 0)}, keeps=True)
    assert [choice[0] for _, choice in network.kernels(3)][1] == form
    usual(x), network(x)
    found, exact = (each.values(each.program(3, False).works[1].result) for each in (network, usual))
    assert np.abs(found - exact).max() <= 2 ** -7 * np.abs(exact).max() and (found == exact).mean() > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("march", ["x86-64", "x86-64-v3", "x86-64-v4"])
def test_processors_without_bf16_give_the_bits_of_those_that_multiply_by_pairs(march, monkeypatch):
    if march.endswith("v4") and "avx512bw" not in build._instructions():
        pytest.skip("this processor has no AVX-512")
    torch.manual_seed(0)
    works, x = whole(nn.Sequential(nn.Conv2d(3, 40, 3, 2, 1), nn.ReLU(), nn.Conv2d(40, 33, 3, padding=1), nn.ReLU6(),
                                   nn.Conv2d(33, 64, 1), nn.Conv2d(64, 64, 3, groups=2)), (3, 33, 31))
    pairs = kernels().convatlas_bf16() & 1
    monkeypatch.setattr(engine.Program, "_bf16_forms", lambda self, work: [("bconv", pairs)])
    answer = Network(works, 2)(x)
    other = kernels(("-O1", f"-march={march}", *build.FLAGS[2:]))
    assert other.convatlas_bf16() == 0
    monkeypatch.setattr(engine, "kernels", lambda: other)
    monkeypatch.setattr(engine.Program, "_bf16_forms", lambda self, work: [("bconv", 0)])
    assert np.array_equal(Network(works, 2)(x), answer)


def test_weights_are_rounded_as_torch_rounds_them():
    torch.manual_seed(0)
    values = torch.cat([torch.randn(1000), torch.tensor([0.0, -0.0, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 3.4e38, -3.4e38,
                                                         float("inf"), float("-inf"), 2 ** -126, 1.5e-38])])
    assert np.array_equal(rounded(values.numpy()), values.bfloat16().view(torch.uint16).numpy())
    odd = rounded(np.array([1e-39, -1e-39, np.nan], np.float32))
    assert odd[:2].tolist() == [0, 0x8000] and odd[2] & 0x7fff > 0x7f80       # below the least normal number; NaN


def test_what_is_no_number_stays_where_it_belongs(way):
    torch.manual_seed(0)
    works, x = whole(nn.Sequential(nn.Conv2d(5, 7, 1), nn.ReLU(), nn.Conv2d(7, 9, 3, padding=1)), (5, 20, 23))
    clean, x = Network(works, 1)(x), x.copy()
    x[1, 2, 10, 11] = np.nan
    found = Network(works, 1)(x)
    touched = np.zeros((3, 9, 20, 23), bool)
    touched[1, :, 9:12, 10:13] = True
    assert np.isnan(found[touched]).all() and np.array_equal(found[~touched], clean[~touched])


def test_steps_in_bf16_that_would_lead_out_of_their_memory_are_refused():
    works, _ = whole(nn.Sequential(nn.Conv2d(4, 16, 3), nn.SiLU(), nn.Conv2d(16, 8, 3, groups=2)), (4, 12, 12))
    conv = works[0]
    assert conv.weight is not None
    for changed in ({"weight": conv.weight[:, :, :2]}, {"weight": conv.weight.astype(np.float32)}, {"weight": None},
                    {"bias": np.zeros(3, np.float32)}, {"groups": 4}):
        tree, arrays = written([replace(conv, **changed), *works[1:]])
        with pytest.raises(ValueError, match=r"a step|no number"):
            read(tree, arrays)


def test_steps_that_do_not_know_maps_in_bf16_are_refused_on_them():
    works, _ = whole(nn.Sequential(nn.Conv2d(4, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3)), (4, 12, 12))
    tree, arrays = written(works)
    assert [row[3:] for row in tree["buffers"]] == [(2,), ()]
    for changed in ({"kind": "mean"}, {"kind": "avgpool"}, {"kind": "output"}, {"source": [0, 10, 10, 15, 1]}):
        steps = [dict(step) for step in tree["steps"]]
        steps[1] |= changed
        with pytest.raises(ValueError, match="on a map of bf16"):
            read({**tree, "steps": steps}, arrays)
    with pytest.raises(ValueError, match="on a map of bf16"):       # what BatchNorm and ReLU go before
        read(tree, arrays | {"1.before": np.ones((2, 16), np.float32)})


def test_a_network_without_a_layer_for_bf16_is_refused():
    net = nn.Sequential(nn.Conv2d(16, 16, 3, groups=16), nn.ReLU()).eval()
    with pytest.raises(UnsupportedError, match="this network has none that it could: take fp32"):
        in_bf16(plan(net, (16, 9, 9)))


def test_a_folder_in_bf16_is_half_of_fp32_s_and_says_what_is_in_it(tmp_path):
    torch.manual_seed(0)
    model = convatlas.create_model("mobilenet_v2", num_classes=5, image_size=32).eval()
    x = images(model, 4)
    small, large = (deploy(model, tmp_path / precision, "native", precision) for precision in ("bf16", "fp32"))
    sizes = [next(c.size for c in report.candidates) or 0 for report in (small, large)]
    assert sizes[0] < 0.55 * sizes[1] and large.bf16 is None
    assert small.bf16 is not None and small.bf16.layers == 53
    assert sum(small.bf16.bf16.values()) == 36 and len(small.bf16.fp32["depthwise"]) == 17
    assert "bf16 by native: 36 of 53 layers multiply in bf16 (" in str(small) and small.bf16.maps == 17
    about = json.loads((tmp_path / "bf16" / "deploy.json").read_text(encoding="utf-8"))
    tree = json.loads((tmp_path / "bf16" / stored.STEPS).read_text(encoding="utf-8"))
    assert about["precision"] == "bf16" and about["bf16"]["layers"] == 53 and tree["format"] == stored.FORMATS["bf16"]
    net = deployed(tmp_path / "bf16")
    with torch.inference_mode():
        assert 0 < (net(x) - model(x)).abs().max() < 0.05 * model(x).abs().max()
    assert torch.equal(net(x), BACKENDS["native"].open(tmp_path / "bf16", x[:1], "bf16")(x))
    run = reader._native(tmp_path / "bf16", about, 100)         # without torch
    assert np.abs(run(x.numpy()) - net(x).numpy()).max() < 0.02 * np.abs(net(x).numpy()).max()


@pytest.mark.parametrize(("here", "said"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_a_folder_that_names_another_precision_than_its_steps_have_is_refused(here, said, tmp_path):
    model = convatlas.create_model("lenet5_modern", num_classes=3).eval()
    deploy(model, tmp_path / "net", "native", here)
    page = tmp_path / "net" / "deploy.json"
    page.write_text(page.read_text(encoding="utf-8").replace(f'"precision": "{here}"', f'"precision": "{said}"'),
                    encoding="utf-8")
    for opened in (lambda: deployed(tmp_path / "net"),
                   lambda: reader._native(tmp_path / "net", reader.described(tmp_path / "net"), 1)):
        with pytest.raises(convatlas.ConvatlasError, match=f"compute in {here}, and deploy.json says {said}"):
            opened()


def test_a_network_that_scores_pixels_answers_any_size_in_bf16(tmp_path):
    torch.manual_seed(0)
    model = convatlas.create_model("unet_same", widths=(8, 16), image_size=32).eval()
    report = deploy(model, tmp_path / "net", "native", "bf16")
    assert report.bf16 is not None and sum(report.bf16.bf16.values()) > 0
    net = deployed(tmp_path / "net")
    for size in (32, 48):
        x = torch.randn(1, model.in_chans, size, size)
        with torch.inference_mode():
            assert 0 < (net(x) - model(x)).abs().max() < 0.05 * model(x).abs().max()


def test_a_c_program_is_told_that_the_folder_is_in_bf16(tmp_path):
    deploy(convatlas.create_model("lenet5_modern", num_classes=3).eval(), tmp_path / "net", "native", "bf16")
    library = kernels()
    library.convatlas_open.restype, library.convatlas_error.restype = ctypes.c_void_p, ctypes.c_char_p
    assert library.convatlas_open(str(tmp_path / "net").encode(), 1) is None
    assert b"it is in bf16, which is answered from Python only: deploy it in fp32" in library.convatlas_error()
