"""EfficientNet: its peers' scores, compound scaling, the blocks, stochastic depth, initialisation, and what each field
does.
"""

from math import ceil, sqrt

import pytest
import torch
from torch import nn

import convatlas
from convatlas.parts import DropPath, Residual, SameConv2d, SqueezeExcite, round_channels
from parity import assert_equal_logits, randomized

PEERS = [
    *(("timm", f"efficientnet_b{i}", f"efficientnet_b{i}", {"norm_eps": 1e-5}, {}) for i in range(8)),
    *(("timm", f"tf_efficientnet_b{i}", f"efficientnet_b{i}", {"padding": "same"}, {}) for i in range(8)),
    *(("torchvision", f"efficientnet_b{i}", f"efficientnet_b{i}", {"norm_eps": 1e-5 if i < 5 else 1e-3}, {})
      for i in range(8)),
    ("timm", "efficientnet_b0", "efficientnet_b0", {"norm_eps": 1e-5, "output_stride": 16}, {"output_stride": 16}),
]


def lively(model):
    """Weights that keep a signal's size: as a peer initialises them, the image's share fades beside the norms' biases.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return randomized(model)


def meta(name="efficientnet_b0", **fields):
    with torch.device("meta"):
        return convatlas.create_model(name, **fields)


@pytest.mark.parametrize(("library", "peer", "ours", "fields", "kwargs"), [
    pytest.param(*row, marks=() if row[1] == "tf_efficientnet_b0" else pytest.mark.slow) for row in PEERS])
def test_peer_computes_the_same(library, peer, ours, fields, kwargs, monkeypatch):
    monkeypatch.setattr("parity.randomized", lively)
    assert_equal_logits(library, peer, ours, 70, fields, kwargs)


@pytest.mark.parametrize(("width", "depth"), [(1.0, 1.0), (1.1, 1.2), (2.0, 3.1), (5.0, 1.0), (1.0, 8.0)])
def test_any_width_and_depth(width, depth):
    model = meta(width=width, depth=depth)
    assert [len(stage) for stage in model.stages] == [ceil(depth * n) for n in (1, 2, 2, 3, 3, 4, 1)]
    projections = [getattr(stage[0], "branch", stage[0]).project for stage in model.stages]
    assert [p.conv.out_channels for p in projections] == [round_channels(width * c)
                                                          for c in (16, 24, 40, 80, 112, 192, 320)]
    assert model.head_hidden_size == round_channels(1280 * width)


def test_squeezed_channels_are_a_quarter_of_the_blocks_input():
    model = meta("efficientnet_b3")
    gates = [(m.expand.out_channels, m.reduce.out_channels) for m in model.modules() if isinstance(m, SqueezeExcite)]
    assert gates[0] == (40, 10) and gates[1] == (24, 6) and gates[2] == (6 * 24, 6)
    assert all(isinstance(m.act, nn.SiLU) and isinstance(m.gate, nn.Sigmoid) for m in model.modules()
               if isinstance(m, SqueezeExcite))


def test_stochastic_depth_falls_short_of_its_peak_and_only_where_there_is_a_shortcut():
    model = meta(drop_path_rate=0.2)
    blocks = [block for stage in model.stages for block in stage]
    for i, block in enumerate(blocks):
        if isinstance(block, Residual) and i > 0:
            assert isinstance(block.drop, DropPath) and block.drop.rate == pytest.approx(0.2 * i / len(blocks))
    assert sum(isinstance(m, DropPath) for m in model.modules()) == sum(n - 1 for n in (1, 2, 2, 3, 3, 4, 1))
    assert not any(isinstance(m, DropPath) for m in meta(drop_path_rate=0.0).modules())


def test_initialisation_is_the_authors():
    """Convolutions N(0, 2/fan_out) with a depthwise fan_out of k²; classifier U(±1/√classes); no bias but zero."""
    torch.manual_seed(0)
    model = convatlas.create_model("efficientnet_b0", num_classes=400)
    expand, depthwise = model.stages[6][0].expand.conv, model.stages[6][0].depthwise.conv
    assert expand.weight.std().item() == pytest.approx(sqrt(2 / 1152), rel=0.02)
    assert depthwise.weight.std().item() == pytest.approx(sqrt(2 / 9), rel=0.05)
    weight = model.get_classifier().weight
    assert weight.abs().max() <= 1 / 20 and weight.std().item() == pytest.approx(1 / 20 / sqrt(3), rel=0.01)
    assert all((m.bias == 0).all() for m in model.modules()
               if isinstance(m, nn.Conv2d | nn.Linear) and m.bias is not None)


def test_constants_and_rates():
    model = meta("efficientnet_b7")
    assert {(m.eps, m.momentum) for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-3, 0.01)}
    assert model.head.hidden.drop.p == 0.5 and meta(drop_rate=0.3).head.hidden.drop.p == 0.3
    other = meta(norm_eps=1e-5, norm_momentum=0.1)
    assert {(m.eps, m.momentum) for m in other.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-5, 0.1)}


def test_output_stride_cifar_stem_and_padding():
    image = torch.empty(2, 3, 224, 224, device="meta")
    for stride in (8, 16, 32):
        assert meta(output_stride=stride).eval().forward_features(image).shape[2:] == (224 // stride, 224 // stride)
    small = meta(stem="cifar").eval()
    assert small.stem.conv.stride == (1, 1) and [f["reduction"] for f in small.feature_info] == [1, 2, 4, 8, 16]
    strided = [m for m in meta(padding="same").modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    assert len(strided) == 5 and all(isinstance(m, SameConv2d) for m in strided)
