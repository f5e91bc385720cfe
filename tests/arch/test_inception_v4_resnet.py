"""Inception-v4 and Inception-ResNet: timm's logits, residuals scaled and excited as said, initialisation."""

from functools import cache
from math import sqrt

import pytest
import torch
from torch import nn

import convatlas
from convatlas.parts import Conv, Excite, Residual, Scale, SqueezeExcite, draw, drawn, scaled_residual
from parity import peer, transplant

NAMES = ["inception_v4", "inception_resnet_v1", "inception_resnet_v2", "inception_resnet_v2_paper",
         "se_inception_resnet_v2"]
slow = pytest.mark.slow
PEERS = [
    ("timm", "inception_v4", "inception_v4", {}, {}),
    ("timm", "inception_resnet_v2", "inception_resnet_v2", {}, {}),
]


@pytest.mark.parametrize("library, name, ours, fields, kwargs",
                         [pytest.param(*row, marks=slow) for row in PEERS])
def test_the_peer_has_our_logits(library, name, ours, fields, kwargs):
    theirs, mine = peer(library, name, kwargs), convatlas.create_model(ours, **fields).double().eval()
    for conv in (m for m in theirs.modules() if isinstance(m, nn.Conv2d)):
        # as the peer begins, little of the image reaches the end of so deep a network
        nn.init.kaiming_normal_(conv.weight)
    x = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    transplant(theirs, mine, x)
    with torch.inference_mode():
        expected, scores = theirs(x), mine(x)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-9 * expected.abs().max().item())
    assert (expected[0] - expected[1]).abs().max() > 1e-3 * expected.abs().max()


@cache
def meta(name, **fields):
    with torch.device("meta"):
        return convatlas.create_model(name, **fields)


def test_a_scaled_residual_is_relu_of_x_plus_scale_times_branch():
    torch.manual_seed(0)
    block = scaled_residual(6, {"one": (Conv(4, 1),), "three": (Conv(2, 1), Conv(3, 3))}, 0.17,
                            excite=Excite(2)).double().eval()
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64)
    y = block.branch.expand(block.branch.paths(x))
    excite = block.branch.excite
    gate = torch.sigmoid(excite.expand(torch.relu(excite.reduce(y.mean((2, 3), keepdim=True)))))
    torch.testing.assert_close(block(x), torch.relu(x + 0.17 * gate * y), rtol=1e-12, atol=1e-12)
    assert block.branch.expand.bias is not None and block.branch.expand.in_channels == 7


def test_boxes_know_their_width():
    boxes = (Conv(8, 3), {"pool": ("max",), "conv": (Conv(5, 3, 2, "valid"),)}, "avg")
    assert drawn(3, boxes) == 13
    assert draw(3, boxes).eval()(torch.randn(1, 3, 17, 17)).shape == (1, 13, 8, 8)


@pytest.mark.parametrize("name, blocks, scales", [
    ("inception_resnet_v1", [5, 10, 5], [0.17, 0.1, 0.2]),
    ("inception_resnet_v2_paper", [5, 10, 5], [0.17, 0.1, 0.2]),
    ("inception_resnet_v2", [10, 20, 9], [0.17, 0.1, 0.2]),
])
def test_blocks_and_scales(name, blocks, scales):
    model = meta(name)
    stages = [[m.branch.scale.factor for m in stage.blocks] for stage in model.stages[1:4]]
    assert stages == [[scale] * times for scale, times in zip(scales, blocks, strict=True)]
    half = meta(name, scales=(0.5, 0.5, 0.5))
    assert {m.factor for m in half.modules() if isinstance(m, Scale)} == ({0.5, 1.0}
                                                                          if name == "inception_resnet_v2" else {0.5})


def test_the_codes_last_module_is_neither_scaled_nor_rectified():
    residuals = [m for m in meta("inception_resnet_v2").modules() if isinstance(m, Residual)]
    assert [type(m.act) for m in residuals] == [nn.ReLU] * 39 + [nn.Identity]
    assert residuals[-1].branch.scale.factor == 1


def test_excitation_in_every_residual_by_a_sixteenth():
    model = meta("se_inception_resnet_v2")
    excited = [m for m in model.modules() if isinstance(m, SqueezeExcite)]
    assert len(excited) == sum(isinstance(m, Residual) for m in model.modules()) == 40
    widths = [320] * 10 + [1088] * 20 + [2080] * 10
    assert [(m.reduce.in_channels, m.reduce.out_channels) for m in excited] == [(c, c // 16) for c in widths]
    plain, ours = (convatlas.net.registry.variant(name) for name in ("inception_resnet_v2", "se_inception_resnet_v2"))
    assert ours.params - plain.params == sum(2 * c * (c // 16) + c + c // 16 for c in widths)
    assert ours.macs - plain.macs == sum(2 * c * (c // 16) for c in widths)


@pytest.mark.parametrize("name", NAMES)
def test_constants(name):
    model = meta(name)
    assert {(m.eps, m.momentum) for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-3, 3e-4)}
    assert model.head.hidden.drop.p == 0.2
    changed = meta(name, norm_eps=1e-5, norm_momentum=0.1, drop_rate=0.5)
    assert {(m.eps, m.momentum) for m in changed.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-5, 0.1)}
    assert changed.head.hidden.drop.p == 0.5


@pytest.mark.parametrize("name", [*NAMES[:2], *(pytest.param(name, marks=slow) for name in NAMES[2:])])
def test_stem_for_small_images(name):
    model, small = meta(name), meta(name, stem="cifar", image_size=64)
    assert [f["reduction"] for f in model.feature_info] == [2, 4, 8, 16, 32]
    assert [f["reduction"] for f in small.feature_info] == [1, 2, 4]
    assert small.stem.conv1.stride == (1, 1) and small.num_features == model.num_features
    same = [key for key in small.state_dict() if not key.startswith("stem")]
    assert set(same) < set(model.state_dict())      # what is left keeps its name


@pytest.mark.parametrize("name", NAMES)
def test_whatever_strides_is_unpadded(name):
    for module in meta(name).modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d) and module.stride not in (1, (1, 1)):
            assert module.padding in (0, (0, 0))


def test_weights_start_as_in_the_released_code():
    torch.manual_seed(0)
    for conv in (m for m in convatlas.create_model("inception_v4").modules()
                 if isinstance(m, nn.Conv2d) and m.weight.numel() > 20_000):
        std = sqrt(2 / conv.weight[0].numel())
        assert abs(conv.weight.std().item() / std - 1) < 0.03
        assert 2.2 * std < conv.weight.abs().max() < 2 * sqrt(1.3) * std * 1.0001
    model = convatlas.create_model("inception_resnet_v1")
    for conv in (m for m in model.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 20_000):
        bound = sqrt(6 / (conv.weight[0].numel() + conv.weight[:, 0].numel()))
        assert 0.99 * bound < conv.weight.abs().max() <= bound
        assert conv.bias is None or conv.bias.eq(0).all()
    assert model.get_classifier().weight.abs().max() <= sqrt(6 / 2792) and model.get_classifier().bias.eq(0).all()
