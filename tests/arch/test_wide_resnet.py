"""Wide ResNet: a unit against its formula, dropout between the convolutions."""

from math import sqrt

import pytest
import torch
import torch.nn.functional as F

import convatlas
from convatlas.net.registry import VARIANTS
from parity import randomized


def act(norm, x):
    return F.relu(F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5))


@pytest.mark.parametrize(("stage", "cin", "stride"), [(0, 16, 1), (1, 32, 2)])
def test_units(stage, cin, stride):
    """Where widths differ the shortcut projects the activated map, in the first stage too; elsewhere it is x itself."""
    first, second = randomized(convatlas.create_model("wide_resnet28_2_cifar").double()).stages[stage][:2]
    x = torch.randn(2, cin, 8, 8, dtype=torch.float64)

    def branch(b, a, stride):
        return F.conv2d(act(b.norm2, F.conv2d(a, b.conv1.weight, None, stride, 1)), b.conv2.weight, None, 1, 1)

    a = act(first.pre.norm, x)
    y = F.conv2d(a, first.shortcut.weight, None, stride) + branch(first.branch, a, stride)
    torch.testing.assert_close(first(x), y, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(second(y), y + branch(second.branch, act(second.branch.norm1, y), 1),
                               rtol=1e-10, atol=1e-10)


def test_nothing_is_projected_where_the_width_stays():
    with torch.device("meta"):
        model = convatlas.create_model("wide_resnet40_1_cifar")
    assert isinstance(model.stages[0][0].shortcut, torch.nn.Identity)


def test_dropout_stands_between_the_convolutions():
    with torch.device("meta"):
        model = convatlas.create_model("wide_resnet28_10_cifar", drop_rate=0.3)
        without = convatlas.create_model("wide_resnet28_10_cifar")
    assert list(dict(model.stages[0][1].branch.named_children())) == ["norm1", "act1", "conv1", "norm2", "act2",
                                                                      "drop2", "conv2"]
    drops = [m for m in model.stages.modules() if isinstance(m, torch.nn.Dropout)]
    assert [m.p for m in drops] == 12 * [0.3]
    assert list(model.state_dict()) == list(without.state_dict())


def test_squeeze_and_excitation_by_hand():
    plain, excited = VARIANTS["wide_resnet16_8_cifar"], VARIANTS["se_wide_resnet16_8_cifar"]
    assert excited.params - plain.params == 2 * sum(2 * c * c // 16 + c // 16 + c for c in (128, 256, 512))
    assert excited.macs - plain.macs == 2 * sum(2 * c * c // 16 for c in (128, 256, 512))


def test_weights_start_with_the_fan_in():
    torch.manual_seed(0)
    model = convatlas.create_model("wide_resnet16_4_cifar")
    for name, conv in model.named_modules():
        if isinstance(conv, torch.nn.Conv2d):
            expected = sqrt(2 / (conv.kernel_size[0] ** 2 * conv.in_channels))
            assert abs(conv.weight.std().item() / expected - 1) < 0.12, name
    assert model.get_classifier().bias.eq(0).all()
