"""Networks whose forward joins by function: drawn as they compute, or refused; what a block makes is not its last
layer's.
"""

from dataclasses import dataclass

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas import ConvatlasError, zoo
from convatlas.facts import verdicts
from convatlas.facts.published import Fact
from convatlas.inspect.anatomy import anatomy
from convatlas.inspect.chains import Chain, Fork, steps
from convatlas.inspect.diagram import draw
from convatlas.inspect.receptive_field import receptive_field
from convatlas.inspect.summary import summary
from convatlas.net import registry
from convatlas.net.layers import layer_table
from convatlas.net.model import Convnet, pooled


class Inception(nn.Module):
    """Three branches of one shared activation, concatenated."""

    def __init__(self, cin: int) -> None:
        super().__init__()
        self.one, self.reduce = nn.Conv2d(cin, 4, 1), nn.Conv2d(cin, 2, 1)
        self.three, self.proj = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(cin, 3, 1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.act(self.one(x)), self.act(self.three(self.act(self.reduce(x)))),
                          self.proj(F.max_pool2d(x, 3, 1, 1))], 1)


class Block(nn.Module):
    """A residual block that adds in place, with a projection."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(cin, cout, 3, 2, 1), nn.Conv2d(cout, cout, 3, 1, 1)
        self.bn, self.down = nn.BatchNorm2d(cout), nn.Conv2d(cin, cout, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv2(F.relu(self.conv1(x))))
        y += self.down(x)
        return F.relu(y)


class Dense(nn.Module):
    """Two layers that add their maps to those before."""

    def __init__(self, cin: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(cin + 4 * i, 4, 3, padding=1) for i in range(2))

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.layers:
            maps.append(F.relu(layer(torch.cat(maps, 1))))
        return torch.cat(maps, 1)


@dataclass(frozen=True)
class Own:
    """As a user would write it."""

    num_classes: int = 10
    in_chans: int = 3
    image_size: int = 32

    def build(self) -> Convnet:
        return Convnet(self, nn.Conv2d(3, 6, 3, padding=1), [Inception(6), Block(15, 8), Dense(8)],
                       pooled(16, self.num_classes))


def told(chain: Chain) -> list:
    """Layers with what follows them, and forks as (join, own, paths)."""
    return [(part.join, part.own, *(told(path) for path in part.paths)) if isinstance(part, Fork)
            else " ".join(filter(None, (*part.before, part.text, *part.after))) for part in chain]


def test_an_architecture_that_joins_by_function_is_drawn_as_it_computes():
    found = anatomy(Own().build())
    assert [(unit.is_block, unit.repeat, unit.channels) for unit in found.units] == [
        (False, 1, 6), (True, 1, 15), (True, 1, 8), (True, 2, 16), (False, 1, 16), (False, 1, 10)]
    inception, block, dense = (told(unit.last) for unit in found.units[1:4])
    assert inception == [("concat", 3, ["conv 1×1 ReLU"], ["conv 1×1 ReLU", "conv 3×3 ReLU"],
                          ["max-pool 3×3", "conv 1×1"])]
    assert block == [("add", 1, ["conv 3×3 ReLU", "conv 3×3 BN"], ["conv 1×1"]), "ReLU"]
    assert dense == [("concat", 1, ["conv 3×3 ReLU"], [])]
    assert draw(found) is not None


@pytest.mark.parametrize(("model", "size", "blocks"), [
    (torchvision.models.resnet18, 64, {64: 2, 128: 2, 256: 2, 512: 2}),
    (torchvision.models.squeezenet1_1, 64, {128: 2, 256: 2, 384: 2, 512: 1}),
    pytest.param(torchvision.models.densenet121, 64, {256: 6, 512: 12, 1024: 16}, marks=pytest.mark.slow),
    pytest.param(torchvision.models.shufflenet_v2_x1_0, 64, {116: 3, 232: 7, 464: 3}, marks=pytest.mark.slow)])
def test_other_libraries_networks_fork_where_their_forward_does(model, size, blocks):
    with torch.device("meta"):
        found = anatomy(model(weights=None), size)
    forked = [unit for unit in found.units if any(isinstance(part, Fork) for part in unit.last)]
    assert {unit.channels: unit.repeat for unit in forked} == blocks
    assert found.units[-1].channels == 1000 and next(steps(found.units[-1].last)).text in ("fully connected",
                                                                                           "global avg-pool")


@pytest.mark.slow
def test_torchvisions_googlenet_has_the_nine_modules_of_ours():
    with torch.device("meta"):
        theirs = anatomy(torchvision.models.googlenet(weights=None, init_weights=False))
        ours = anatomy(zoo.create_model("googlenet_bn"))
    forks = [[(unit.channels, [len(path) for path in unit.last[0].paths]) for unit in found.units if unit.is_block]
             for found in (theirs, ours)]
    assert len(forks[0]) == 9 and forks[0] == forks[1]


class Module(nn.Module):
    """A network of three layers for three channels, joined by `how`."""

    def __init__(self, how) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self, x)


def crossed(net: Module, x: Tensor) -> Tensor:
    a, b = net.a(x), net.b(x)
    return net.c(a + b) * torch.sigmoid(b)


def test_gates_are_products_and_shares_of_channels_are_named():
    found = anatomy(Module(lambda net, x: net.c(x) * torch.sigmoid(net.b(x.mean((2, 3), keepdim=True)))), 16)
    assert told(found.units[0].last) == [("multiply", 2, ["conv 3×3"], ["global avg-pool", "conv 3×3 sigmoid"])]
    halves = anatomy(Module(lambda net, x: torch.cat([x[:, :1], net.a(x)[:, 1:]], 1)), 16)
    assert told(halves.units[0].last) == [("concat", 1, ["conv 3×3 part of the channels"], ["part of the channels"])]


@pytest.mark.parametrize(("how", "why"), [
    (crossed, "paths cross"),
    (lambda net, x: torch.einsum("nchw,nchw->nchw", net.a(x), net.b(x)), "2 maps together by 'einsum'"),
    (lambda net, x: torch.cat([net.a(x), net.b(x)], 0), "2 maps together by 'cat'"),
    (lambda net, x: torch.fft.rfft2(net.a(x)).abs(), "calls 'abs'"),
    (lambda net, x: (net.a(x), net.b(x)), "2 results"),
    (lambda net, x: net.a(x) if x.mean() > 0 else net.b(x), "does not run on the shape of a batch of 3×16×16 images")])
def test_what_a_drawing_cannot_show_is_refused_in_a_sentence(how, why):
    with pytest.raises(ConvatlasError, match=why):
        anatomy(Module(how), 16)


def test_a_module_that_runs_twice_has_a_row_for_each_time():
    net = Inception(6)
    rows = [row for row in layer_table(net, 8, 6) if row.name == "act"]
    assert [row.output for row in rows] == [(4, 8, 8), (2, 8, 8), (8, 8, 8)]
    shared = Module(lambda net, x: net.a(net.a(x)))
    found = layer_table(shared, 8)
    assert [(row.name, row.params, row.macs) for row in found] == [("a", 84, 81 * 64), ("a", 0, 81 * 64)]
    table = summary(Own().build())
    assert table.macs == sum(row.macs for row in layer_table(Own().build()))
    assert [row.name for row in table.rows].count("stages.0.act") == 1


def test_a_figure_of_a_block_is_compared_with_what_the_block_makes(monkeypatch):
    model = Own().build()
    total = sum(p.numel() for p in model.parameters())
    monkeypatch.setitem(registry.VARIANTS, "own", registry.Variant(
        "own", Own(), total, sum(row.macs for row in layer_table(model)), "field", "modern", ()))
    monkeypatch.setattr(verdicts, "published", lambda: tuple(
        Fact(variant="own", fact=fact, value=value, layer=layer, source="by hand") for fact, layer, value in (
            ("output", "stages.0", [15, 32, 32]), ("output", "stages.1", [8, 16, 16]), ("output", "", [10]),
            ("receptive_field", "stages.0", 5), ("output", "stages.0.proj", [3, 32, 32]))))
    assert {(v.fact, v.verdict) for v in verdicts.check(["own"])} == {(name, "match") for name in (
        "params", "macs", "output of stages.0", "output of stages.1", "output", "receptive_field of stages.0",
        "output of stages.0.proj")}


@pytest.mark.parametrize("layer", ["stages.0", "stages.1", "stages.2"])
def test_receptive_fields_through_functional_joins_are_those_of_the_gradient(layer):
    torch.manual_seed(0)
    found = receptive_field(Own().build(), layer, count=4)
    sides = [(found.gradient > 0).any(dim).nonzero() for dim in (1, 0)]
    assert found.box == tuple((int(side[0]), int(side[-1])) for side in sides)
