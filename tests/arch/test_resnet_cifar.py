"""CIFAR ResNet: its blocks against the formula, its shortcuts, its initialisation."""

from math import sqrt

import pytest
import torch
import torch.nn.functional as F

import convatlas
from convatlas.parts import SqueezeExcite, ZeroPad
from parity import randomized


def conv_bn(layers, x, stride=1, pad=1):
    """What a convolution and its normalisation compute, from their tensors."""
    norm = layers.norm
    y = F.conv2d(x, layers.conv.weight, None, stride, pad)
    return F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)


@pytest.fixture
def small():
    return randomized(convatlas.create_model("resnet20_cifar").double())


def test_a_block_is_equation_1(small):
    x = torch.randn(2, 16, 8, 8, dtype=torch.float64)
    block = small.stages[0][1]
    y = conv_bn(block.branch.conv2, F.relu(conv_bn(block.branch.conv1, x)))
    torch.testing.assert_close(block(x), F.relu(y + x), rtol=1e-12, atol=1e-12)


def test_option_a_pads_with_zeros(small):
    x = torch.randn(2, 16, 8, 8, dtype=torch.float64)
    block = small.stages[1][0]
    y = conv_bn(block.branch.conv2, F.relu(conv_bn(block.branch.conv1, x, 2)))
    padded = torch.cat([x[:, :, ::2, ::2], torch.zeros(2, 16, 4, 4, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(block(x), F.relu(y + padded), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("option", "projections", "more"),
                         [("A", 0, 0), ("B", 2, 2752), ("C", 9, 2752 + 3 * 288 + 2 * 1088 + 2 * 4224)])
def test_options(option, projections, more):
    """B adds 16·32 + 32·64 weights and two normalisations; C one more projection in each of the other seven blocks."""
    with torch.device("meta"):
        model = convatlas.create_model("resnet20_cifar", shortcut=option)
    convs = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (1, 1)]
    assert len(convs) == projections
    assert sum(isinstance(m, ZeroPad) for m in model.modules()) == (2 if option == "A" else 0)
    assert sum(p.numel() for p in model.parameters()) == 269_722 + more


def test_a_plain_block_adds_nothing():
    plain = randomized(convatlas.create_model("plain20_cifar").double())
    x = torch.randn(2, 16, 8, 8, dtype=torch.float64)
    block = plain.stages[0][0]
    torch.testing.assert_close(block(x), F.relu(conv_bn(block.conv2, F.relu(conv_bn(block.conv1, x)))),
                               rtol=1e-12, atol=1e-12)


def test_squeeze_and_excitation_ends_each_branch():
    with torch.device("meta"):
        model = convatlas.create_model("resnet20_cifar", excite={"reduction": 16})
    excite = [m for name, m in model.named_modules() if isinstance(m, SqueezeExcite) and name.endswith("branch.excite")]
    assert [m.reduce.out_channels for m in excite] == 3 * [1] + 3 * [2] + 3 * [4]


def test_weights_start_as_he_says():
    torch.manual_seed(0)
    model = convatlas.create_model("resnet56_cifar")
    for name, conv in model.named_modules():
        if isinstance(conv, torch.nn.Conv2d):
            expected = sqrt(2 / (9 * conv.out_channels))
            assert abs(conv.weight.std().item() / expected - 1) < 0.12, name
    fc = model.get_classifier()
    assert (fc.bias.eq(0).all() and fc.weight.abs().max() <= 1 / 8
            and abs(fc.weight.std().item() * 8 * sqrt(3) - 1) < 0.1)
