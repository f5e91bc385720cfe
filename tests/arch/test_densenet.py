"""DenseNet: torchvision's and timm's logits, recomputation that changes nothing, counts by hand for CIFAR,
initialisation.
"""

from math import sqrt

import pytest
import torch
from torch import nn

import convatlas
from convatlas.parts import DenseBlock, dense_layer
from parity import assert_equal_logits

slow = pytest.mark.slow
PEERS = [
    ("torchvision", "densenet121", "densenet121", {}, {}),
    ("timm", "densenet121", "densenet121", {}, {}),
    ("torchvision", "densenet161", "densenet161", {}, {}),
    ("torchvision", "densenet169", "densenet169", {}, {}),
    ("torchvision", "densenet201", "densenet201", {}, {}),
    ("timm", "densenet161", "densenet161", {}, {}),
    ("timm", "densenet169", "densenet169", {}, {}),
    ("timm", "densenet201", "densenet201", {}, {}),
    ("timm", "densenet264d", "densenet264d", {}, {}),
]


@pytest.mark.parametrize("library, peer, ours, fields, kwargs",
                         [PEERS[0], *(pytest.param(*row, marks=slow) for row in PEERS[1:])])
def test_the_peer_has_our_logits(library, peer, ours, fields, kwargs):
    assert_equal_logits(library, peer, ours, 64, fields, kwargs)


def small(**fields):
    torch.manual_seed(0)
    return convatlas.create_model("densenet121", layers=(2, 3, 2, 2), growth=8, stem_channels=16, num_classes=5,
                                  **fields).double()


@pytest.mark.parametrize("fields", [{}, {"bottleneck": False}, {"drop_rate": 0.3}])
def test_recomputation_changes_no_gradient_and_no_statistic(fields):
    x, runs = torch.randn(3, 3, 64, 64, dtype=torch.float64), []
    for recompute in (False, True):
        model = small(recompute=recompute, **fields)
        torch.manual_seed(1)
        scores = model(x)
        scores.square().sum().backward()
        runs.append([scores.detach(), *(p.grad for p in model.parameters()),
                     *(m.running_mean for m in model.modules() if isinstance(m, nn.BatchNorm2d)),
                     *(m.running_var for m in model.modules() if isinstance(m, nn.BatchNorm2d))])
    for plain, again in zip(*runs, strict=True):
        assert torch.equal(plain, again)


def test_recomputation_keeps_less():
    """What autograd keeps of the joined maps grows with the square of the depth without it."""
    def kept(recompute):
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel()
            return tensor

        block = DenseBlock([dense_layer(8 + 8 * i, 8) for i in range(16)], recompute)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            block(torch.randn(2, 8, 8, 8, requires_grad=True))
        return total

    assert kept(recompute=True) < 0.6 * kept(recompute=False)


def test_a_block_joins_every_earlier_map():
    """Equation 2, with layers whose result is known: each gives the sum of what it reads, so that sums double."""
    class Total(nn.Module):
        def forward(self, x):
            return x.sum(dim=1, keepdim=True)

    y = DenseBlock([nn.Sequential(Total()) for _ in range(4)])(torch.ones(1, 1, 2, 2))
    assert y[0, :, 0, 0].tolist() == [1, 1, 2, 4, 8]


def test_order_lets_the_first_convolution_meet_the_second_norm():
    layer = dense_layer(16, 4)
    assert list(dict(layer.named_children())) == ["norm1", "act1", "conv1", "norm2", "act2", "conv2"]
    assert (layer.conv1.out_channels, layer.conv2.kernel_size, layer.conv2.out_channels) == (16, (3, 3), 4)
    assert list(dict(dense_layer(16, 4, bottleneck=False, dropout=0.2).named_children())) == ["norm1", "act1",
                                                                                              "conv1", "drop1"]


def test_dropout_follows_every_convolution_but_the_first():
    for name in ("densenet121", "densenet_bc_100_12_cifar"):
        with torch.device("meta"):
            model = convatlas.create_model(name, drop_rate=0.2)
        dropped = [m.p for m in model.stages.modules() if isinstance(m, nn.Dropout)]
        assert dropped == [0.2] * sum(isinstance(m, nn.Conv2d) for m in model.stages.modules())


def test_stem_for_small_images():
    model = small(stem="cifar")
    assert [type(m) for m in model.stem] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert (model.stem.conv.kernel_size, model.stem.conv.stride, model.stem.conv.out_channels) == ((3, 3), (1, 1), 16)
    assert [f["reduction"] for f in model.feature_info] == [1, 2, 4, 8]
    assert [f["reduction"] for f in small().feature_info] == [2, 4, 8, 16, 32]


def test_cifar_stem_is_a_bare_convolution():
    with torch.device("meta"):
        model = convatlas.create_model("densenet_40_12_cifar", norm_eps=1e-3)
    assert isinstance(model.stem, nn.Conv2d) and model.stem.bias is None
    assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


def counted(layers, growth, stem, bottleneck, theta, classes=10, size=32):
    """(parameters, multiply-adds), added up convolution by convolution."""
    params = 27 * stem
    macs, cin = params * size ** 2, stem
    for block in range(3):
        if block:
            cout = int(cin * theta)
            params, macs = params + 2 * cin + cin * cout, macs + cin * cout * size ** 2
            cin, size = cout, size // 2
        for _ in range(layers):
            inner = 4 * growth
            kernels = cin * inner + 9 * inner * growth if bottleneck else 9 * cin * growth
            params += kernels + 2 * (cin + inner if bottleneck else cin)
            macs += kernels * size ** 2
            cin += growth
    return params + 2 * cin + (cin + 1) * classes, macs + cin * classes


@pytest.mark.parametrize("name, layers, growth, stem, bottleneck, theta", [
    ("densenet_40_12_cifar", 12, 12, 16, False, 1), ("densenet_100_12_cifar", 32, 12, 16, False, 1),
    ("densenet_100_24_cifar", 32, 24, 16, False, 1), ("densenet_bc_100_12_cifar", 16, 12, 24, True, 0.5),
    ("densenet_bc_250_24_cifar", 41, 24, 48, True, 0.5), ("densenet_bc_190_40_cifar", 31, 40, 80, True, 0.5),
    ("densenet_bc_40_36_cifar", 6, 36, 72, True, 0.5), ("densenet_bc_40_60_cifar", 6, 60, 120, True, 0.5),
])
def test_registered_counts_are_those_added_by_hand(name, layers, growth, stem, bottleneck, theta):
    variant = convatlas.net.registry.variant(name)
    assert (variant.params, variant.macs) == counted(layers, growth, stem, bottleneck, theta)
    depth = int(name.removeprefix("densenet_").removeprefix("bc_").split("_")[0])
    assert depth == layers * 3 * (2 if bottleneck else 1) + 4


@pytest.mark.parametrize("name", ["densenet121", "densenet_bc_100_12_cifar"])
def test_weights_start_as_in_the_torch_release(name):
    torch.manual_seed(0)
    model = convatlas.create_model(name)
    for conv in (m for m in model.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 5000):
        expected = sqrt(2 / (conv.kernel_size[0] ** 2 * conv.out_channels))
        assert abs(conv.weight.std().item() / expected - 1) < 0.06 and conv.bias is None
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        assert norm.weight.eq(1).all() and norm.bias.eq(0).all() and (norm.eps, norm.momentum) == (1e-5, 0.1)
    classifier = model.get_classifier()
    bound = 1 / sqrt(classifier.in_features)
    assert 0.98 * bound < classifier.weight.abs().max() <= bound and classifier.bias.eq(0).all()
