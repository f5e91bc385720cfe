"""Our own kernels against torch on whatever layer, image, batch and number of threads Hypothesis comes up with."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor, nn

from convatlas.deploy.native import Network, missing
from convatlas.deploy.native.engine import Program
from convatlas.deploy.native.plan import plan

pytestmark = pytest.mark.skipif(missing() is not None, reason="no C++ compiler here: install g++")

ACTS = (nn.Identity, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.GELU, nn.Tanh)


@some.composite
def layers(draw: some.DrawFn) -> tuple[nn.Module, tuple[int, int, int]]:
    """A convolution, plain, grouped or depthwise, or a pool, and a size of images that it takes."""
    high, wide = (draw(some.integers(1, 7)) for _ in range(2))
    stride = draw(some.integers(1, 3)), draw(some.integers(1, 3))
    around = draw(some.integers(0, high - 1)), draw(some.integers(0, wide - 1))
    size = 3, draw(some.integers(max(1, high - around[0]), 17)), draw(some.integers(max(1, wide - around[1]), 17))
    groups, each = draw(some.sampled_from((1, 1, 2, 5, 16))), draw(some.integers(1, 20))
    middle, out = groups * each, groups * draw(some.integers(1, 20))
    kind = draw(some.sampled_from(("conv", "depthwise", "pool")))
    if kind == "pool":
        around = min(around[0], high // 2), min(around[1], wide // 2)
        size = 3, max(size[1], high), max(size[2], wide)
        layer: nn.Module = draw(some.sampled_from((nn.MaxPool2d, nn.AvgPool2d)))((high, wide), stride, around)
        out = middle
    elif kind == "depthwise":
        out = middle
        layer = nn.Conv2d(middle, middle, (high, wide), stride, around, groups=middle, bias=draw(some.booleans()))
    else:
        layer = nn.Conv2d(middle, out, (high, wide), stride, around, groups=groups, bias=draw(some.booleans()))
    return nn.Sequential(nn.Conv2d(3, middle, 1), layer, draw(some.sampled_from(ACTS))(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(out, 5)), size


def some_images(batch: int, size: tuple[int, int, int], order: str) -> Tensor:
    x = torch.randn(batch, *size)
    if order == "last":
        return x.to(memory_format=torch.channels_last)
    return torch.randn(batch, size[0], size[2], 2 * size[1])[..., ::2].transpose(2, 3) if order == "strided" else x


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(layers(), some.integers(0, 5), some.integers(1, 4), some.integers(0, 5),
       some.sampled_from(("first", "last", "strided")))
def test_any_layer_gives_torch_s_result(made, batch, threads, part, order):
    net, size = made
    torch.manual_seed(0)
    x = some_images(batch, size, order)
    native = Network(plan(net.eval(), size), threads, {batch: part})
    with torch.inference_mode():
        expected = net(x)
        found = torch.from_numpy(native(x.numpy()))
    most = max(1e-3, expected.abs().max().item()) if batch else 1.0
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * most)
    assert np.array_equal(found, Network(native.works, 1)(x.numpy()))


@some.composite
def grouped(draw: some.DrawFn) -> tuple[nn.Module, tuple[int, int, int]]:
    """A 3×3 convolution of few channels a group, alone or with what is added to it, or one that leaves pixels out."""
    each, pad = draw(some.sampled_from((4, 8))), draw(some.integers(0, 2))
    c = each * draw(some.integers(1, 12))
    layer = nn.Conv2d(c, c, 3, draw(some.integers(1, 2)), pad, groups=c // each, bias=draw(some.booleans()))
    path = draw(some.sampled_from((layer, Block(layer, layer.stride == layer.padding == (1, 1)),
                                   nn.Sequential(layer, nn.Conv2d(c, c, 1, (draw(some.integers(1, 3)), 2))))))
    return nn.Sequential(nn.Conv2d(3, c, 1), path, draw(some.sampled_from(ACTS))(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(c, 5)), (3, draw(some.integers(3, 33)), draw(some.integers(3, 33)))


def both(net: nn.Module, size: tuple[int, int, int], batch: int, threads: int) -> tuple[Network, Tensor, Tensor]:
    """The network natively, random images, and torch's scores of them."""
    torch.manual_seed(0)
    x = torch.randn(batch, *size)
    with torch.inference_mode():
        return Network(plan(net.eval(), size), threads), x, net(x)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(grouped(), some.integers(1, 3), some.integers(1, 4))
def test_any_groups_that_share_vectors_give_torch_s_result(made, batch, threads):
    native, x, expected = both(*made, batch, threads)
    found = native(x.numpy())
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=2e-5 * expected.abs().max().item())
    assert np.array_equal(found, Network(native.works, 1)(x.numpy()))


class Block(nn.Module):
    """A path, and perhaps a shortcut around it."""

    def __init__(self, path: nn.Module, shortcut: bool) -> None:
        super().__init__()
        self.path, self.shortcut = path, shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.path(x)
        return x + y if self.shortcut else y


class Gated(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


@some.composite
def stacks(draw: some.DrawFn) -> tuple[nn.Module, tuple[int, int, int]]:
    """Layers that may be computed a few rows at a time, and a size of images that they take."""
    c, layers = draw(some.integers(1, 40)), []
    layers.append(nn.Conv2d(3, c, draw(some.integers(1, 4)), draw(some.integers(1, 2)), draw(some.integers(0, 1))))
    for _ in range(draw(some.integers(1, 3))):
        wide, act = draw(some.integers(1, 50)), draw(some.sampled_from(ACTS))
        kernel, step = draw(some.sampled_from(((3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (9, 1))))
        kind = draw(some.sampled_from(("inverted", "gated", "separable", "pooled", "strided")))
        if kind == "pooled":
            layers.append(nn.MaxPool2d(3, draw(some.integers(1, 2)), 1, ceil_mode=draw(some.booleans())))
            continue
        if kind == "strided":
            layers += [nn.Conv2d(c, wide, (draw(some.integers(1, 3)), 3), 2, 1), act()]
            c = wide
            continue
        deep = [nn.Conv2d(wide, wide, kernel, step, kernel // 2, groups=wide), act()]
        expand, out = [nn.Conv2d(c, wide, 1), act()], draw(some.sampled_from((c, 21)))
        layers.append(Block(nn.Sequential(*expand, *deep, *([Gated(wide)] if kind == "gated" else []),
                                          nn.Conv2d(wide, out, 1)), out == c and step == 1))
        c = out
    size = 3, draw(some.integers(9, 30)), draw(some.integers(9, 30))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 5)), size


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(stacks(), some.integers(1, 3), some.integers(1, 4))
def test_any_number_of_rows_at_a_time_gives_the_same_bits(made, batch, threads):
    native, x, expected = both(*made, batch, threads)
    program = _program(native, x)
    program._band(dict.fromkeys(program.chains, 0))
    whole = native(x.numpy())
    most = max(1e-3, expected.abs().max().item())
    torch.testing.assert_close(torch.from_numpy(whole), expected, rtol=0, atol=2e-5 * most)
    for rows in (1, 2, 3, 7):
        now = {i: rows if rows < program.works[i + count - 1].result.h and program._has_room(i, rows) else 0
               for i, count in program.chains.items()}
        program._band(now)
        assert np.array_equal(native(x.numpy()), whole), now


def _program(native: Network, x: Tensor) -> Program:
    """The one that answers such a batch."""
    return native._for(len(x), len(x))


def test_stacks_have_chains():
    """Else the test above would try nothing."""
    block = nn.Sequential(nn.Conv2d(16, 24, 1), nn.Conv2d(24, 24, 3, 2, 1, groups=24), nn.Conv2d(24, 16, 1))
    net = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), block, nn.AdaptiveAvgPool2d(1))
    program = Network(plan(net.eval(), (3, 40, 40)), 1).program(1, True)
    assert program.chains == {0: 4} and program.bands(0) == [0, 6]
    tight = Network(plan(net.eval(), (3, 40, 40)), 4).program(1, False)
    assert not tight._has_room(0, 6) and tight.bands(0) == [0]
