"""Wide bottleneck ResNet: torchvision's and timm's networks have our scores."""

from math import sqrt

import pytest
import torch

import convatlas
from convatlas.parts import DropPath
from parity import assert_equal_logits

PEERS = [
    ("torchvision", "wide_resnet50_2", "wide_resnet50_2", {}, {}),
    ("torchvision", "wide_resnet50_2", "wide_resnet50_2", {"output_stride": 8},
     {"replace_stride_with_dilation": [False, True, True]}),
    ("timm", "wide_resnet50_2", "wide_resnet50_2", {"output_stride": 16}, {"output_stride": 16}),
    ("torchvision", "wide_resnet101_2", "wide_resnet101_2", {}, {}),
    ("timm", "wide_resnet101_2", "wide_resnet101_2", {}, {}),
]


@pytest.mark.parametrize(("library", "name", "ours", "fields", "kwargs"),
                         [PEERS[0], *(pytest.param(*peer, marks=pytest.mark.slow) for peer in PEERS[1:])])
def test_peers_have_our_scores(library, name, ours, fields, kwargs):
    assert_equal_logits(library, name, ours, 64, fields, kwargs)


def test_the_bottleneck_is_wider_inside_only():
    with torch.device("meta"):
        model = convatlas.create_model("wide_resnet50_2", stem="cifar", image_size=32, norm_eps=1e-3)
        thin = convatlas.create_model("wide_resnet50_2", widen=1)
    block = model.stages[1][0].branch
    assert ((block.reduce.conv.out_channels, block.expand.conv.out_channels) == (256, 512)
            and block.conv.conv.stride == (2, 2))
    assert [f["reduction"] for f in model.feature_info] == [1, 2, 4, 8]
    assert {m.eps for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {1e-3}
    assert sum(p.numel() for p in thin.parameters()) == 25_557_032      # ResNet-50


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_output_stride(stride):
    with torch.device("meta"):
        model = convatlas.create_model("wide_resnet50_2", output_stride=stride)
    assert model.feature_info[-1]["reduction"] == stride


def test_drop_rates():
    with torch.device("meta"):
        model = convatlas.create_model("wide_resnet50_2", drop_rate=0.2, drop_path_rate=0.3)
    rates = [m.rate for m in model.modules() if isinstance(m, DropPath)]
    # the first block's rate is 0: no layer
    assert model.head.hidden.drop.p == 0.2 and len(rates) == 15 and rates[-1] == 0.3


def test_weights_start_as_he_says():
    torch.manual_seed(0)
    block = convatlas.create_model("wide_resnet50_2").stages[0][1].branch
    assert abs(block.conv.conv.weight.std().item() * sqrt(9 * 128 / 2) - 1) < 0.02
