"""ResNet: peers' logits, Torch's initialisation, the three shortcuts, where a bottleneck strides, dilation instead of
stride.
"""

from math import sqrt

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convatlas
from convatlas.parts import DropPath, Residual
from parity import assert_equal_logits

PEERS = [
    ("torchvision", "resnet18", "resnet18", {}, {}),
    ("torchvision", "resnet34", "resnet34", {}, {}),
    ("torchvision", "resnet50", "resnet50", {}, {}),
    ("torchvision", "resnet101", "resnet101", {}, {}),
    ("torchvision", "resnet152", "resnet152", {}, {}),
    ("timm", "resnet18", "resnet18", {"output_stride": 8}, {"output_stride": 8}),
    ("timm", "resnet50", "resnet50", {"output_stride": 8}, {"output_stride": 8}),
    ("timm", "resnet50", "resnet50", {"output_stride": 16}, {"output_stride": 16}),
    ("timm", "resnet50", "resnet50", {"global_pool": "catavgmax"}, {"global_pool": "catavgmax"}),
    ("timm", "resnet200", "resnet200", {}, {}),
    ("timm", "resnet34", "resnet34", {}, {}),
    ("timm", "resnet101", "resnet101", {}, {}),
    ("timm", "resnet152", "resnet152", {}, {}),
    ("timm", "resnet18", "resnet18", {}, {}),
    ("timm", "legacy_seresnet50", "resnet50_v1", {"excite": {"reduction": 16}, "stem_pool": "ceil"}, {}),
]


@pytest.mark.parametrize(("library", "theirs", "ours", "fields", "kwargs"),
                         [PEERS[0], *(pytest.param(*peer, marks=pytest.mark.slow) for peer in PEERS[1:])])
def test_peers_have_our_logits(library, theirs, ours, fields, kwargs):
    assert_equal_logits(library, theirs, ours, 75, fields, kwargs)


def meta(name, **fields):
    with torch.device("meta"):
        return convatlas.create_model(name, **fields)


@pytest.mark.parametrize("name", ["resnet18", "resnext29_8x64d_cifar", "se_resnet18"])
def test_weights_start_as_in_the_torch_release(name):
    torch.manual_seed(0)
    model = convatlas.create_model(name)
    for conv in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
        std, count = sqrt(2 / (conv.kernel_size[0] ** 2 * conv.out_channels)), conv.weight.numel()
        assert abs(conv.weight.std().item() / std - 1) < 5 / sqrt(2 * count)
        assert abs(conv.weight.mean().item()) < 5 * std / sqrt(count)
        assert conv.bias is None or not conv.bias.any()
    fc = model.get_classifier()
    assert not fc.bias.any()
    assert (fc.weight.abs().max() <= 1 / sqrt(fc.in_features)
            and abs(fc.weight.std() * sqrt(3 * fc.in_features) - 1) < 0.05)


def test_option_a_pads_zeros_where_the_shape_changes():
    block = convatlas.create_model("resnet18", shortcut="A").stages[1][0].double().eval()
    x = torch.randn(2, 64, 8, 8, dtype=torch.float64)
    padded = torch.cat([x[:, :, ::2, ::2], torch.zeros(2, 64, 4, 4, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(block(x), F.relu(block.branch(x) + padded))


@pytest.mark.parametrize(("name", "option", "projections"),
                         [("resnet34", "A", 0), ("resnet34", "B", 3), ("resnet34", "C", 16),
                          ("resnet50", "B", 4), ("resnet50", "C", 16)])
def test_projections(name, option, projections):
    blocks = [m for m in meta(name, shortcut=option).modules() if isinstance(m, Residual)]
    assert sum(isinstance(b.shortcut, nn.Sequential) for b in blocks) == projections and len(blocks) == 16


def test_a_plain_network_is_option_a_without_its_additions():
    residual, plain = convatlas.create_model("resnet18", shortcut="A"), convatlas.create_model("plain18")
    assert not any(isinstance(m, Residual) for m in plain.modules())
    plain.load_state_dict(residual.state_dict())
    residual, plain = residual.double().eval(), plain.double().eval()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    y = plain.stem(x)
    for stage in residual.stages:
        for block in stage:
            y = F.relu(block.branch(y)) if isinstance(block, Residual) else block(y)
    torch.testing.assert_close(plain.forward_features(x), y)


@pytest.mark.parametrize(("name", "reduce", "conv"), [("resnet50", 1, 2), ("resnet50_v1", 2, 1)])
def test_where_a_bottleneck_strides(name, reduce, conv):
    for stage in meta(name).stages[1:]:
        assert stage[0].branch.reduce.conv.stride[0] == reduce and stage[0].branch.conv.conv.stride[0] == conv
        assert stage[0].shortcut.conv.stride == (2, 2) and stage[1].branch.reduce.conv.stride == (1, 1)


@pytest.mark.parametrize("name", ["resnet18", "resnet50_v1", "plain18", "resnext50_32x4d", "se_resnet18", "senet154"])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_output_stride(name, output_stride):
    model = meta(name, output_stride=output_stride)
    assert model.feature_info[-1]["reduction"] == output_stride
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape
                                                                   for k, v in meta(name).state_dict().items()}


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "se_resnet50", "senet154"])
def test_cifar_stem_reduces_nothing(name):
    model = meta(name, stem="cifar")
    assert [f["reduction"] for f in model.feature_info] == [1, 2, 4, 8]
    assert (model.stem.conv.kernel_size == (3, 3)
            and model.stem.conv.out_channels == meta(name).feature_info[0]["num_chs"])
    assert not any(isinstance(m, nn.MaxPool2d) for m in model.modules())


@pytest.mark.parametrize("name", ["resnet34", "resnext50_32x4d", "resnext29_8x64d_cifar", "se_resnet34"])
def test_rates_and_constants_are_read(name):
    model = meta(name, drop_rate=0.3, drop_path_rate=0.2, norm_eps=1e-3)
    rates = [m.rate for m in model.modules() if isinstance(m, DropPath)]
    blocks = sum(isinstance(m, Residual) for m in model.modules())
    assert rates == pytest.approx([0.2 * i / (blocks - 1) for i in range(1, blocks)])
    assert model.head.hidden.drop.p == 0.3
    assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}
    assert {m.eps for m in meta(name).modules() if isinstance(m, nn.BatchNorm2d)} == {1e-5}


def test_caffes_pool_has_no_padding():
    pool = meta("resnet18", stem_pool="ceil").stages[0].pool
    assert (pool.padding, pool.ceil_mode) == (0, True)
    pool = meta("resnet18").stages[0].pool
    assert (pool.padding, pool.ceil_mode) == (1, False)
