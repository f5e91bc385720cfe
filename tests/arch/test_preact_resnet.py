"""Pre-activation ResNet: timm's networks have our scores; the authors' differ in where the first activation stands."""

from math import sqrt

import pytest
import torch
import torch.nn.functional as F

import convatlas
from parity import peer, randomized, transplant

PEERS = [
    ("timm", "resnetv2_18", "resnetv2_18", {}, {}),
    ("timm", "resnetv2_34", "resnetv2_34", {}, {}),
    ("timm", "resnetv2_50", "resnetv2_50", {}, {}),
    ("timm", "resnetv2_50", "resnetv2_50", {"output_stride": 16}, {"output_stride": 16}),
    ("timm", "resnetv2_50", "resnetv2_50", {"output_stride": 8, "global_pool": "max"},
     {"output_stride": 8, "global_pool": "max"}),
    ("timm", "resnetv2_101", "resnetv2_101", {}, {}),
    ("timm", "resnetv2_152", "resnetv2_152", {}, {}),
]


@pytest.mark.parametrize(("library", "name", "ours", "fields", "kwargs"),
                         [PEERS[0], *(pytest.param(*row, marks=pytest.mark.slow) for row in PEERS[1:])])
def test_peers_have_our_scores(library, name, ours, fields, kwargs):
    theirs, mine = peer(library, name, kwargs), convatlas.create_model(ours, **fields).double().eval()
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    transplant(theirs, mine, x)
    first = mine.stages[0][1]
    # timm runs the shortcut first, and here it has the shape of the last convolution
    if mine.spec.table.unit == "bottleneck":
        conv3, shortcut = first.branch.conv3.weight, first.shortcut.weight
        conv3.data, shortcut.data = shortcut.data, conv3.data
    with torch.inference_mode():
        expected, scores = theirs(x), mine(x)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-9 * expected.abs().max().item())
    assert (expected[0] - expected[1]).abs().max() > 1e-6 * expected.abs().max()


def bn(norm, x, eps=1e-5):
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=eps)


def test_the_first_activation_is_right_after_conv1():
    """Before the max-pool, and the first unit adds the activated map; negative scales make the order show."""
    model = randomized(convatlas.create_model("preact_resnet18", num_classes=5).double())
    torch.nn.init.normal_(model.stem.norm.weight)
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    y = F.max_pool2d(F.relu(bn(model.stem.norm, F.conv2d(x, model.stem.conv.weight, None, 2, 3))), 3, 2, 1)
    branch = model.stages[0][1].branch
    z = F.conv2d(F.relu(bn(branch.norm2, F.conv2d(y, branch.conv1.weight, None, 1, 1))), branch.conv2.weight, None, 1,
                 1)
    torch.testing.assert_close(model.stages[0][:2](model.stem(x)), y + z, rtol=1e-10, atol=1e-10)


def test_where_shapes_change_the_shortcut_reads_the_activated_map():
    unit = randomized(convatlas.create_model("preact_resnet18").double()).stages[1][0]
    x = torch.randn(1, 64, 8, 8, dtype=torch.float64)
    a = F.relu(bn(unit.pre.norm, x))
    y = F.conv2d(F.relu(bn(unit.branch.norm2, F.conv2d(a, unit.branch.conv1.weight, None, 2, 1))),
                 unit.branch.conv2.weight, None, 1, 1)
    torch.testing.assert_close(unit(x), y + F.conv2d(a, unit.shortcut.weight, None, 2), rtol=1e-10, atol=1e-10)


def test_timms_first_activation_is_after_the_pool():
    model = convatlas.create_model("resnetv2_18")
    assert (list(dict(model.stem.named_children())) == ["conv"]
            and "norm1" in dict(model.stages[0][1].branch.named_children()))


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_output_stride(stride):
    with torch.device("meta"):
        model = convatlas.create_model("preact_resnet50", output_stride=stride)
    assert model.feature_info[-1]["reduction"] == stride


def test_cifar_stem_keeps_the_resolution():
    with torch.device("meta"):
        model = convatlas.create_model("preact_resnet18", stem="cifar", image_size=32, num_classes=10)
    assert model.stem.conv.kernel_size == (3, 3) and [f["reduction"] for f in model.feature_info] == [1, 2, 4, 8]
    assert not any(isinstance(m, torch.nn.MaxPool2d) for m in model.modules())


def test_weights_start_as_he_says():
    torch.manual_seed(0)
    model = convatlas.create_model("preact_resnet18", norm_eps=1e-3)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            expected = sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels))
            assert abs(module.weight.std().item() / expected - 1) < 0.05, name
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.eps == 1e-3, name
    fc = model.get_classifier()
    assert fc.bias.eq(0).all() and abs(fc.weight.std().item() * sqrt(3 * 512) - 1) < 0.01
