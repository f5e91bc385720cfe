"""Our own kernels against torch on whatever layer, image, batch and number of threads Hypothesis comes up with."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor, nn

from convatlas.deploy.native import Network, missing
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
