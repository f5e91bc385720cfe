"""ResNeXt: peers' logits; the grouped block equals the paper's sum of paths; counts by a formula."""

import pytest
import torch
import torch.nn.functional as F

import convatlas
from convatlas import zoo
from convatlas.net import registry
from parity import assert_equal_logits

NAMES = sorted(name for name in registry.VARIANTS if name.startswith("resnext")) if zoo.arch else []

PEERS = [
    ("torchvision", "resnext50_32x4d", "resnext50_32x4d", {}, {}),
    ("torchvision", "resnext101_32x8d", "resnext101_32x8d", {}, {}),
    ("torchvision", "resnext101_64x4d", "resnext101_64x4d", {}, {}),
    ("timm", "resnext101_32x4d", "resnext101_32x4d", {}, {}),
    ("timm", "resnext101_32x8d", "resnext101_32x8d", {}, {}),
    ("timm", "resnext101_64x4d", "resnext101_64x4d", {}, {}),
    ("timm", "resnext50_32x4d", "resnext50_32x4d", {"output_stride": 16}, {"output_stride": 16}),
    ("timm", "seresnext50_32x4d", "se_resnext50_32x4d", {}, {}),
    ("timm", "seresnext101_32x4d", "se_resnext101_32x4d", {}, {}),
    ("timm", "legacy_seresnext50_32x4d", "se_resnext50_32x4d_v1", {}, {}),
    ("timm", "legacy_seresnext101_32x4d", "se_resnext101_32x4d_v1", {}, {}),
]


@pytest.mark.parametrize(("library", "theirs", "ours", "fields", "kwargs"),
                         [PEERS[0], *(pytest.param(*peer, marks=pytest.mark.slow) for peer in PEERS[1:])])
def test_peers_have_our_logits(library, theirs, ours, fields, kwargs):
    assert_equal_logits(library, theirs, ours, 75, fields, kwargs)


def by_hand(depths, groups, width, imagenet):
    """(parameters, multiply-adds) of a ResNeXt written out as a sum over its convolutions."""
    kernel, side, classes = (7, 112, 1000) if imagenet else (3, 32, 10)
    params, macs = 3 * 64 * kernel**2 + 2 * 64, 3 * 64 * kernel**2 * side**2
    side, cin = (side // 2 if imagenet else side), 64
    for i, depth in enumerate(depths):
        inner, cout = 64 * 2**i * width // 64 * groups, 256 * 2**i
        for j in range(depth):
            after = side // 2 if i and j == 0 else side
            grouped, projection = 9 * inner * inner // groups, (cin * cout if j == 0 else 0)
            params += (cin * inner + grouped + inner * cout + projection
                       + 2 * (2 * inner + cout + (cout if j == 0 else 0)))
            macs += cin * inner * side**2 + (grouped + inner * cout + projection) * after**2
            side, cin = after, cout
    return params + (cin + 1) * classes, macs + cin * classes


@pytest.mark.parametrize("name", NAMES)
def test_counts_by_hand(name):
    variant = registry.variant(name)
    spec = variant.spec
    depths = (spec.blocks,) * 3 if name.endswith("cifar") else spec.depths[:4]
    assert by_hand(depths, spec.groups, spec.width, not name.endswith("cifar")) == (variant.params, variant.macs)
    assert f"{spec.groups}x{spec.width}d" in name


def test_a_block_is_the_sum_of_its_paths():
    """Figure 3(a): C paths of 1×1, 3×3 and 1×1 added, against 3(c), which we build.

    Normalisation acts on each path's maps.
    """
    block = convatlas.create_model("resnext29_8x64d_cifar", groups=4, width=8).stages[0][1].double().eval()
    x, branch, width = torch.randn(2, 256, 6, 6, dtype=torch.float64), block.branch, 8
    paths = 0
    for i in range(4):
        mine = slice(i * width, (i + 1) * width)
        a = F.relu(F.conv2d(x, branch.reduce.conv.weight[mine]) / (1 + 1e-5) ** 0.5)
        b = F.relu(F.conv2d(a, branch.conv.conv.weight[mine], padding=1) / (1 + 1e-5) ** 0.5)
        paths = paths + F.conv2d(b, branch.expand.conv.weight[:, mine])
    torch.testing.assert_close(block(x), F.relu(branch.expand.norm(paths) + x))
