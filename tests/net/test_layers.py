"""The layer table of modules that are not ours: what multiplies is counted, whoever calls it, or named."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from convatlas.inspect.summary import summary
from convatlas.net.layers import layer_table, macs
from convatlas.net.model import Convnet, pooled
from convatlas.zoo import create_model


class Applied(nn.Module):
    """A function as a module, with weights."""

    def __init__(self, function, *shape):
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.empty(shape).normal_())

    def forward(self, x):
        return self.function(x, self.weight)


def both(found, size=16):
    """(macs, params) of all rows."""
    rows = layer_table(found, size)
    assert not any(row.uncounted for row in rows)
    return sum(row.macs for row in rows), sum(row.params for row in rows)


def test_functional_and_parametrised_layers_cost_what_the_module_costs():
    plain = nn.Conv2d(3, 8, 3, bias=False)
    expected = both(plain)
    assert expected == (14 * 14 * 8 * 3 * 9, 216)
    assert both(Applied(F.conv2d, 8, 3, 3, 3)) == expected
    assert both(parametrizations.orthogonal(plain)) == expected
    assert both(parametrizations.spectral_norm(nn.Conv2d(3, 8, 3, bias=False))) == expected
    normed = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 8, 3)))
    assert both(normed) == (expected[0], 216 + 16)
    (row,) = layer_table(normed, 16)
    assert row.kind == "Conv2d" and row.kernel == "3×3" and row.connections == row.macs + 14 * 14 * 8


@pytest.mark.parametrize(("net", "expected"), [
    (nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 4, 5)), 252 * 4 * 3 * 5),
    (nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv3d(1, 2, 3, padding=1)), 3 * 256 * 2 * 27),
    (nn.ConvTranspose2d(3, 4, 2, stride=2), 256 * 3 * 4 * 4),
    (Applied(lambda x, w: x @ w, 16, 5), 3 * 16 * 16 * 5),
    (Applied(lambda x, w: torch.einsum("nchw,cd->ndhw", x, w), 3, 5), 256 * 15),
    (Applied(lambda x, w: x.mean((2, 3)) @ w @ w, 3, 3), 18),
    (Applied(lambda x, w: x * (w @ w), 16, 16), 0),                 # a product of weights is not of the image
    (Applied(lambda x, w: F.scaled_dot_product_attention(*[x.flatten(2).mT] * 3), 1), 2 * 256 * 256 * 3),
])
def test_products_are_counted_by_hand(net, expected):
    assert both(net)[0] == expected == macs(net, 16)


def test_attention_is_counted_with_its_projections():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x):
            tokens = F.pad(x.flatten(2).mT, [0, 1])
            return self.attention(tokens, tokens, tokens)[0]

    (row,) = layer_table(Attention(), 4)
    assert row.name == "attention" and row.output == (16, 4)
    assert row.macs == 16 * 4 * 4 * 4 + 2 * 16 * 16 * 4 and row.params == 4 * 4 * 4 + 4 * 4


def test_what_is_not_counted_is_named():
    class Spectral(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Bilinear(3, 3, 4)

        def forward(self, x):
            x = torch.fft.rfft2(x).abs().mean((2, 3))
            return self.mix(x, x)

    rows = {row.name: row.uncounted for row in layer_table(Spectral(), 16)}
    assert rows == {"mix": ("aten._trilinear",), "": ("aten._fft_r2c",)}
    spec = create_model("resnet20_cifar").spec
    net = Convnet(spec, None, [Applied(lambda x, w: torch.fft.rfft2(x).abs() * w, 1)], pooled(3, 10))
    assert summary(net).uncounted == ("aten._fft_r2c in stages.0",)
    assert summary(create_model("lenet5")).uncounted == ()


def test_modes_and_hooks_are_left_as_they_were():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.Dropout())).train()
    net[1].eval()
    layer_table(net, 8)
    assert net.training and not net[1].training and not net[1][0].training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
