"""Pre-activation CIFAR ResNet: units against their formula, counts by hand."""

from math import sqrt

import pytest
import torch
import torch.nn.functional as F

import convatlas
from convatlas.net.registry import VARIANTS
from parity import randomized


def act(norm, x):
    return F.relu(F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5))


@pytest.fixture
def bottlenecks():
    return randomized(convatlas.create_model("preact_resnet164_cifar", n=2).double())


def bottleneck(unit, a, stride):
    """conv3(act(conv2(act(conv1(a)))))"""
    b = unit.branch
    y = act(b.norm2, F.conv2d(a, b.conv1.weight, None, stride))
    return F.conv2d(act(b.norm3, F.conv2d(y, b.conv2.weight, None, 1, 1)), b.conv3.weight)


def test_most_units_leave_the_shortcut_untouched(bottlenecks):
    unit, x = bottlenecks.stages[1][1], torch.randn(2, 128, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(unit(x), x + bottleneck(unit, act(unit.branch.norm1, x), 1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("stage", "cin", "stride"), [(0, 16, 1), (1, 64, 2), (2, 128, 2)])
def test_a_unit_that_changes_shapes_projects_the_activated_map(bottlenecks, stage, cin, stride):
    unit, x = bottlenecks.stages[stage][0], torch.randn(2, cin, 8, 8, dtype=torch.float64)
    a = act(unit.pre.norm, x)
    torch.testing.assert_close(unit(x), F.conv2d(a, unit.shortcut.weight, None, stride) + bottleneck(unit, a, stride),
                               rtol=1e-10, atol=1e-10)


def test_basic_units_begin_like_the_bottlenecks():
    model = randomized(convatlas.create_model("preact_resnet110_cifar", n=2).double())
    for stage, cin, stride in ((0, 16, 1), (1, 16, 2)):
        unit, x = model.stages[stage][0], torch.randn(2, cin, 8, 8, dtype=torch.float64)
        a = act(unit.pre.norm, x)
        b = unit.branch
        y = F.conv2d(act(b.norm2, F.conv2d(a, b.conv1.weight, None, stride, 1)), b.conv2.weight, None, 1, 1)
        short = F.pad(a[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, y.shape[1] - cin))
        torch.testing.assert_close(unit(x), y + short, rtol=1e-10, atol=1e-10)


def test_squeeze_and_excitation_by_hand():
    """Two fully connected layers with biases per unit: 2C²/r + C/r + C parameters, 2C²/r multiply-adds."""
    for name, widths in (("preact_resnet110_cifar", (16, 32, 64)), ("preact_resnet164_cifar", (64, 128, 256))):
        plain, excited = VARIANTS[name], VARIANTS[f"se_{name}"]
        assert excited.params - plain.params == 18 * sum(2 * c * c // 16 + c // 16 + c for c in widths)
        assert excited.macs - plain.macs == 18 * sum(2 * c * c // 16 for c in widths)


def test_stem_and_end():
    with torch.device("meta"):
        model = convatlas.create_model("preact_resnet164_cifar")
    assert isinstance(model.stem, torch.nn.Conv2d) and model.stem.bias is None
    assert list(dict(model.head.hidden.named_children())) == ["norm", "act", "pool", "drop"]


def test_weights_start_as_in_the_authors_code():
    torch.manual_seed(0)
    model = convatlas.create_model("preact_resnet164_cifar", n=2)
    for name, conv in model.named_modules():
        if isinstance(conv, torch.nn.Conv2d):
            expected = sqrt(2 / (conv.kernel_size[0] ** 2 * conv.out_channels))
            assert abs(conv.weight.std().item() / expected - 1) < 0.15, name
    assert model.get_classifier().bias.eq(0).all()
