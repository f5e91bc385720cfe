"""Receptive fields, against gradients: a unit sees the pixels from which a gradient comes."""

import pytest
import torch
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


def test_branches_take_the_union():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.large, self.small = nn.Conv2d(1, 2, 7, padding=3), nn.Conv2d(1, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.large(x) + self.small(x), self.small(x)[:, :, :, :]], 1)

    assert [row.receptive_field for row in layer_table(nn.Sequential(Both(), nn.Conv2d(4, 1, 3)), 16, 1)] == [7, 1, 9]


@pytest.mark.parametrize(("name", "expected"), [("resnet18", 435), ("resnet50", 427), ("vgg16", 212),
                                                ("resnet50_v1", 483)])
def test_of_known_networks(name, expected):
    """VGG's 212 is printed by the paper's readers; the others are sums of (kernel − 1) times the stride before."""
    rows = [row for row in convatlas.info(name).layers if len(row.output) == 3 and row.output[1] > 1]
    assert max(row.receptive_field or 0 for row in rows) == expected


def test_an_axis_through_a_window():
    assert Axis(2, -1, 3).window(3, 2, 1) == Axis(4, -3, 5)
