"""Receptive fields, against gradients: a unit sees the pixels from which a gradient comes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convatlas
from convatlas.net.layers import layer_table
from convatlas.net.receptive import Axis, Sights


def seen(model: nn.Module, size: int, at: int) -> tuple[int, int]:
    """(first, last) row from which unit `at` of the only map gets a gradient."""
    x = torch.randn(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    y = model(x)
    y[0, :, at, at].sum().backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    return int(rows[0]), int(rows[-1])


@pytest.mark.parametrize("chain", [
    [nn.Conv2d(1, 2, 3, 2, 1), nn.Conv2d(2, 2, 5, 1, 2)],
    [nn.Conv2d(1, 2, 3, dilation=2, padding=2), nn.AvgPool2d(2), nn.Conv2d(2, 2, 3)],
])
def test_chains_equal_gradients(chain):
    model = nn.Sequential(*chain).double()
    x = torch.empty(1, 1, 40, 40, dtype=torch.float64)
    sights = Sights(x)
    with sights:
        for layer in chain:
            y = layer(x)
            sights.module(layer, x, y)
            x = y
    rows, _ = sights.of(x)
    at = 8
    assert seen(model, 40, at) == (rows.stride * at + rows.low, rows.stride * at + rows.high)


class Applied(nn.Module):
    """A function, with the layers that it is given."""

    def __init__(self, function, *layers) -> None:
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), function

    def forward(self, x):
        return self.function(x, *self.layers)


def weight(cin, cout, side):
    return torch.ones(cout, cin, side, side, dtype=torch.float64)


def added(x, layer):
    x = layer(x)
    y = F.pad(x[:, :, 2:, 2:], [0, 2, 0, 2])
    y += x
    return y


FUNCTIONS = {
    "lenet": Applied(lambda x: F.max_pool2d(F.conv2d(F.max_pool2d(F.conv2d(x, weight(1, 2, 5)).relu(), 2),
                                                     weight(2, 1, 5)), kernel_size=2)),
    "same": Applied(lambda x: F.conv2d(x, weight(1, 1, 4), padding="same", dilation=3)),
    "pool": Applied(lambda x: F.avg_pool2d(x, (3, 3), 2, padding=1)),
    "slices": Applied(lambda x: F.conv2d(x[..., 1::2, 1::2], weight(1, 1, 3))[:, :, 2:-1, 2:-1]),
    "narrow": Applied(lambda x: F.conv2d(x.narrow(2, 3, 30).narrow(-1, 3, 30), weight(1, 1, 3))),
    "transpose": Applied(lambda x: F.conv2d(F.pad(x, [2, 0, 4, 0]).transpose(2, 3)[:, :, :, 1:], weight(1, 1, 3))),
    "permute": Applied(lambda x: F.conv2d(x.permute(0, 2, 3, 1)[:, 3:].permute(0, 3, 1, 2), weight(1, 1, 3))),
    "unshuffle": Applied(lambda x: F.conv2d(F.pixel_unshuffle(x, 2), weight(4, 1, 3))),
    "in place": Applied(added, nn.Conv2d(1, 1, 3, padding=1).double()),
    "channels": Applied(lambda x: torch.cat(F.conv2d(x, weight(1, 4, 3)).unflatten(1, (2, 2)).transpose(1, 2)
                                            .flatten(1, 2).chunk(2, 1), 1)[:, :1]),
}


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_equal_gradients(name):
    model, at = FUNCTIONS[name], 6
    sights = Sights(x := torch.empty(1, 1, 40, 40, dtype=torch.float64))
    with torch.no_grad(), sights:
        y = model(x)
    for axis, sides in zip(sights.of(y), (3, 2), strict=True):
        x = torch.randn(64, 1, 40, 40, dtype=torch.float64, requires_grad=True)     # of a maximum one unit each
        model(x)[:, :, at, at].sum().backward()
        reached = x.grad.abs().sum((0, 1, sides)).nonzero().flatten()
        assert (int(reached[0]), int(reached[-1])) == (axis.stride * at + axis.low, axis.stride * at + axis.high)


@pytest.mark.parametrize("function", [
    lambda x: F.pixel_shuffle(x.expand(-1, 4, -1, -1), 2), lambda x: torch.roll(x, 1, 2), lambda x: x.flip(3),
    lambda x: F.unfold(x, 3), lambda x: F.interpolate(x, scale_factor=2), lambda x: x @ x.mT, lambda x: x.cumsum(2),
    lambda x: F.pad(x, [1, 1, 1, 1], mode="circular"), lambda x: F.adaptive_avg_pool2d(x, 7), lambda x: x.softmax(-1),
    lambda x: x.reshape(1, 1, 20, 80), lambda x: torch.cat([x, x], 2), lambda x: x + x.mean((2, 3), keepdim=True),
    lambda x: x + x.transpose(2, 3), lambda x: x[:, :, torch.arange(3)], lambda x: torch.fft.fft2(x).abs(),
    lambda x: F.conv_transpose2d(x, torch.ones(1, 1, 2, 2), stride=2), lambda x: x.sort(2)[0],
])
def test_what_is_no_rectangle_or_not_known_has_none(function):
    sights = Sights(x := torch.empty(1, 1, 40, 40))
    with sights:
        y = function(x)
    assert sights.of(y) is None


def test_assignment_into_a_map_ends_what_is_known():
    sights = Sights(torch.empty(1, 1, 8, 8))
    with sights:
        x = next(iter(sights.known.values()))[0] * 2
        assert sights.of(x) is not None
        x[:, :, 1:] = x[:, :, :-1].clone()
    assert sights.of(x) is None


def test_a_gate_is_left_out_and_a_vector_sees_all():
    sights = Sights(x := torch.empty(1, 1, 8, 8))
    with sights:
        gated = x * x.mean((2, 3), keepdim=True).sigmoid()
        vector = nn.functional.linear(gated.flatten(1), torch.ones(3, 64))
    assert sights.of(gated) == (Axis(1, 0, 0), Axis(1, 0, 0)) and sights.of(vector)[0].size == 8


def test_branches_take_the_union():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.large, self.small = nn.Conv2d(1, 2, 7, padding=3), nn.Conv2d(1, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.large(x) + self.small(x), self.small(x)[:, :, :, :]], 1)

    assert [row.receptive_field for row in layer_table(nn.Sequential(Both(), nn.Conv2d(4, 1, 3)), 16, 1)] == [
        7, 1, 1, 9]        # the small one runs twice


@pytest.mark.parametrize(("name", "expected"), [("resnet18", 435), ("resnet50", 427), ("vgg16", 212),
                                                ("resnet50_v1", 483)])
def test_of_known_networks(name, expected):
    """VGG's 212 is printed by the paper's readers; the others are sums of (kernel − 1) times the stride before."""
    rows = [row for row in convatlas.info(name).layers if len(row.output) == 3 and row.output[1] > 1]
    assert max(row.receptive_field or 0 for row in rows) == expected


def test_an_axis_through_a_window():
    assert Axis(2, -1, 3).window(3, 2, 1) == Axis(4, -3, 5)
