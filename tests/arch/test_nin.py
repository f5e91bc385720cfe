"""Network in Network: its formula written out again, initialisation, the choice of pooling."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convatlas


def test_cifar_network_equals_its_formula():
    model = convatlas.create_model("nin_cifar10").double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.05)
    p = iter(model.parameters())
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)

    def mlpconv(x, *pads):
        for pad in pads:
            x = F.conv2d(x, next(p), next(p), padding=pad).clamp(min=0)
        return x

    a = mlpconv(x, 2, 0, 0)
    # Caffe rounds up: the last window hangs over the edge
    a = F.max_pool2d(F.pad(a, (0, 1, 0, 1), value=-1e9), 3, 2)
    a = mlpconv(a, 2, 0, 0)
    ones = F.pad(torch.ones_like(a), (0, 1, 0, 1))
    a = F.avg_pool2d(F.pad(a, (0, 1, 0, 1)), 3, 2) / F.avg_pool2d(ones, 3, 2)
    a = mlpconv(a, 1, 0, 0)
    expected = a.flatten(2).mean(2)
    assert expected.std() > 0
    torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["nin_cifar10", "nin_imagenet"])
def test_weights_start_as_in_the_authors_files(name):
    torch.manual_seed(0)
    model = convatlas.create_model(name)
    thin = {"nin_cifar10": set(), "nin_imagenet": {"stem.conv", "stages.1.conv", "head.classifier"}}[name]
    for label, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            assert abs(layer.weight.std().item() / (0.01 if label in thin else 0.05) - 1) < 0.1, label
            assert layer.bias.eq(0).all()


def test_fields():
    with torch.device("meta"):
        model = convatlas.create_model("nin_cifar10", pool2="max", drop_rate=0.3)
        small = convatlas.create_model("nin_imagenet", stem="cifar")
    assert not any(isinstance(m, nn.AvgPool2d) for m in model.modules())
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.3, 0.3]
    assert [type(m).__name__ for m in small.stem] == ["Conv2d", "ReLU"] and small.feature_info[0]["reduction"] == 1


def test_dropout_stands_where_the_authors_have_it():
    with torch.device("meta"):
        cifar, imagenet = (convatlas.create_model(name) for name in ("nin_cifar10", "nin_imagenet"))
    assert [[*stage._modules].index("drop") for stage in cifar.stages] == [1, 1]
    assert ["drop" in stage._modules for stage in imagenet.stages] == [False, False, True]
