"""Our own kernels for networks that segment, dilate or are old: each operator against torch on random shapes, and one
small network of each family.
"""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convatlas
from convatlas.deploy.graph.rewrite import rewrite
from convatlas.deploy.native import Network, compiler
from convatlas.deploy.native.plan import plan
from convatlas.deploy.native.work import read, written
from convatlas.net import registry
from convatlas.net.meta import blank
from convatlas.parts import RBF, LocalConv2d, SameConv2d, SameMaxPool2d, ScaledTanh, Subsample2d, TableConv2d, Twice
from convatlas.parts.pool import GlobalPool
from parity import randomized

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here: install g++")

Size = tuple[int, int, int]


class Does(nn.Module):
    """A function of a map as a layer."""

    def __init__(self, act: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: Tensor) -> Any:
        return self.act(x)


class Cross(nn.Module):
    """A U: a path that halves and doubles, and the map from across beside it, cropped."""

    def __init__(self, c: int, valid: bool) -> None:
        super().__init__()
        self.valid, self.down = valid, nn.Conv2d(c, 2 * c, 3, padding=0 if valid else 1)
        self.pool, self.up = nn.MaxPool2d(2), nn.ConvTranspose2d(2 * c, c, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.pool(torch.relu(self.down(x))))
        if not self.valid:
            return torch.cat([F.pad(y, [0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]]), x], 1)
        top, left = (x.shape[2] - y.shape[2]) // 2, (x.shape[3] - y.shape[3]) // 2
        return torch.cat([y, x[:, :, top : top + y.shape[2], left : left + y.shape[3]]], 1)


def transposed(dice: random.Random, c: int) -> nn.Module:
    step = dice.choice([1, 2, 3, 5])
    kernel = (dice.randint(1, 7), dice.randint(step, 2 * step + 1))
    pad = dice.randint(0, min(kernel) // 2)
    return nn.Sequential(nn.ConvTranspose2d(c, dice.randint(1, 40), kernel, step, pad, dice.randint(0, step - 1),
                                            bias=dice.random() < 0.5), nn.ReLU())


def dilated(dice: random.Random, c: int) -> nn.Module:
    kernel, apart = (dice.choice([2, 3, 5]), dice.choice([1, 3])), (dice.randint(1, 3), dice.randint(1, 3))
    around = tuple((size - 1) * each // 2 + 1 for size, each in zip(kernel, apart, strict=True))
    groups = dice.choice([1, c])
    return nn.Sequential(nn.Conv2d(c, dice.randint(1, 3) * groups, kernel, dice.randint(1, 2), around, apart, groups),
                         nn.SiLU())


def same(dice: random.Random, c: int) -> nn.Module:
    return nn.Sequential(SameConv2d(c, 11, dice.choice([3, 5]), 2), SameMaxPool2d(3, 2),
                         SameConv2d(11, 7, 2, dilation=dice.randint(1, 2)))


def table(dice: random.Random, c: int) -> nn.Module:
    links = [dice.sample(range(c), dice.randint(1, c)) for _ in range(dice.randint(1, 20))]
    return nn.Sequential(TableConv2d(c, links, 5, dice.randint(1, 2), 2, border=dice.choice([0.0, -1.0])), ScaledTanh())


def units(dice: random.Random, c: int, h: int, w: int) -> nn.Module:
    local = LocalConv2d(c, dice.randint(1, 5), 3, 2, 1, ((h + 1) // 2, (w + 1) // 2), border=-1.0)
    shared = TableConv2d(local.cout, [range(local.cout)] * 3, 5, 1, 2, border=-1.0, units=local.units)
    return nn.Sequential(local, ScaledTanh(), shared, ScaledTanh())


def borders(by: list[int], repeats: bool) -> nn.Module:
    return Does(lambda x: F.pad(x, [abs(each) for each in by], "replicate") if repeats else F.pad(x, by))


def parts(at: int, c: int) -> nn.Module:
    def cut(x: Tensor) -> Tensor:
        two, halves = x.split([at, c - at], 1), torch.chunk(x, 2, dim=1)
        return torch.cat([two[1], x[:, at:], halves[1], halves[0], two[0], x[:, :at]], 1)

    return Does(cut)


OPERATORS: dict[str, Callable[[random.Random, int, int, int], nn.Module]] = {
    "transposed": lambda dice, c, h, w: transposed(dice, c),
    "dilated": lambda dice, c, h, w: dilated(dice, c),
    "same": lambda dice, c, h, w: same(dice, c),
    "table": lambda dice, c, h, w: table(dice, c),
    "units": units,
    "across": lambda dice, c, h, w: Cross(c, dice.random() < 0.5),
    "borders": lambda dice, c, h, w: borders([dice.randint(-2, 3) for _ in range(4)], dice.random() < 0.5),
    "border of a value": lambda dice, c, h, w: Does(lambda x: torch.relu(F.pad(x, [1, 2, 3, 0], value=-1.5))),
    "nearest": lambda dice, c, h, w: nn.Sequential(nn.Upsample(scale_factor=dice.randint(1, 3))),
    "bilinear": lambda dice, c, h, w: nn.Sequential(nn.Upsample(
        scale_factor=dice.randint(2, 4), mode="bilinear"), nn.ReLU()),
    "bilinear to a size": lambda dice, c, h, w: Does(lambda x: F.interpolate(x, size=(2 * h, 5 * w), mode="bilinear")),
    "adaptive": lambda dice, c, h, w: nn.Sequential(nn.AdaptiveAvgPool2d((dice.randint(1, 9), dice.randint(1, 9)))),
    "parts": lambda dice, c, h, w: parts(dice.randint(1, c - 1), c),
    "squashed": lambda dice, c, h, w: nn.Sequential(Subsample2d(c), ScaledTanh(), Twice(), nn.ELU(), nn.Conv2d(
        2 * c, 5, 1), nn.Mish(), nn.LeakyReLU(), nn.Tanh()),
    "scaled": lambda dice, c, h, w: Does(lambda x: 0.3 * (x * -1.7).sigmoid().relu().tanh()),
    "pooled": lambda dice, c, h, w: GlobalPool(dice.choice(["avg", "max", "avgmax", "catavgmax"])),
    "distances": lambda dice, c, h, w: nn.Sequential(GlobalPool(), RBF(torch.randn(dice.randint(1, 40), c))),
    "flat image": lambda dice, c, h, w: nn.Sequential(nn.Flatten(), nn.Linear(c * h * w, 9), ScaledTanh()),
}


@pytest.mark.parametrize("on_image", [True, False])
@pytest.mark.parametrize("name", OPERATORS)
def test_each_operator_gives_torch_s_result_on_random_shapes(name, on_image):
    for seed in range(2):
        dice = random.Random(f"{name}{seed}")
        c, h, w = dice.randint(2, 21), dice.randint(5, 14), dice.randint(5, 14)
        torch.manual_seed(seed)
        layer = OPERATORS[name](dice, c, h, w)
        net = randomized(layer if on_image else nn.Sequential(nn.Conv2d(c, c, 3, padding=1), layer)).eval()
        same_as_torch(net, torch.randn(4, c, h, w), tolerance=2e-5)


def same_as_torch(net: nn.Module, x: Tensor, tolerance: float) -> None:
    """In every way that tuning may choose, shared by threads and apart."""
    with torch.inference_mode():
        expected = net(x)
    tree, arrays = written(plan(net, tuple(x.shape[1:])))
    steps = read(json.loads(json.dumps(tree)), arrays)
    for threads, part in ((1, 4), (3, 4), (2, 1)):
        native = Network(steps, threads, {4: part})
        program = native.program(part, 4 // part >= threads)
        options = [program.options(i) for i in range(len(program.works))]
        for turn in range(max(map(len, options))):
            program._choose([each[turn % len(each)] for each in options])
            found = torch.from_numpy(native(x.numpy()))
            torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


SMALL: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "lenet1": ({}, (28, 28)), "lenet4": ({}, (32, 32)), "lenet5": ({}, (32, 32)), "lecun1989_net2": ({}, (16, 16)),
    "lecun1989_net4": ({}, (16, 16)), "lecun1989_zipcode": ({}, (16, 16)),
    "unet": ({"widths": (4, 8, 19)}, (44, 52)), "unet_same": ({"widths": (4, 8, 19)}, (27, 38)),
    "unet_resnet34": ({"encoder": "resnet20_cifar"}, (30, 25)), "fcn8s_vgg16": ({"width": 0.02}, (33, 40)),
    "mobilenet_v2_035": ({"output_stride": 8}, (64, 64)),
}


@pytest.mark.parametrize("name", SMALL)
def test_each_family_gives_its_scores(name):
    fields, size = SMALL[name]
    torch.manual_seed(0)
    model = randomized(convatlas.create_model(name, **fields)).eval()
    x = torch.randn(2, model.in_chans, *size)
    with torch.inference_mode():
        expected = model(x)
    found = torch.from_numpy(Network(plan(rewrite(model), tuple(x.shape[1:])), 2)(x.numpy()))
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * expected.abs().max().item())


def test_maps_and_vectors_are_results_like_scores():
    model, x = randomized(convatlas.create_model("resnet20_cifar")).eval(), torch.randn(3, 3, 32, 32)
    wanted = {"features": lambda net: Does(net.features), "hidden": lambda net: Does(
        lambda y: net.forward_head(net.forward_features(y), pre_logits=True))}
    for given in wanted.values():
        outer = given(model)
        outer.net = model
        with torch.inference_mode():
            expected = outer(x)
        for threads in (1, 2):
            native = Network(plan(outer, (3, 32, 32)), threads, {3: 1})
            found = [torch.from_numpy(each) for each in native.results(x.numpy())]
            torch.testing.assert_close(found, expected if isinstance(expected, list) else [expected],
                                       rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet20_cifar", "lenet5"])
def test_a_plan_without_weights_is_that_with_them(name):
    """Which networks run is found on the meta device."""
    model = convatlas.create_model(name).eval()
    size = model.in_chans, *model.image_size
    found = [plan(rewrite(each), size) for each in (model, blank(lambda: registry.build(name)).eval())]
    whole, empty = ([(work.kind, work.name, work.result.c, work.result.h) for work in works] for works in found)
    assert whole == empty
