"""VGG: torchvision's and timm's networks give our logits; initialisation; every field does what it says."""

import pytest
import timm
import torch
from torch import nn

import convatlas
from convatlas.parts import LocalResponseNorm, SqueezeExcite
from parity import assert_equal_logits, randomized

NAMES = ("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")
PEERS = [("torchvision", name, name, {}, {}) for name in NAMES]
THIN = {"fc": 32, "num_classes": 7}


@pytest.mark.slow
@pytest.mark.parametrize("library, theirs, ours, fields, kwargs", PEERS, ids=NAMES)
def test_torchvision_has_our_logits(library, theirs, ours, fields, kwargs):
    assert_equal_logits(library, theirs, ours, 64, fields, kwargs)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in ("vgg11", "vgg16_bn") else pytest.mark.slow)
                                  for name in NAMES])
def test_timm_with_a_thin_head_has_our_logits(name):
    """timm writes fc6 as a 7×7 convolution: the tensors are ours in the same order, in another shape."""
    theirs = timm.create_model(name)
    theirs.pre_logits.fc1, theirs.pre_logits.fc2, theirs.head.fc = (nn.Conv2d(512, 32, 7), nn.Conv2d(32, 32, 1),
                                                                    nn.Linear(32, 7))
    randomized(theirs.double())
    ours = convatlas.create_model(name, **THIN).double().eval()
    mine, his = ours.state_dict(), theirs.state_dict()
    assert len(mine) == len(his)
    ours.load_state_dict({key: value.reshape(mine[key].shape) for key, value in zip(mine, his.values(), strict=True)})
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        expected, scores = theirs(x), ours(x)
    assert expected.std() > 0
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-9 * expected.abs().max().item())


def layers(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize("name, std", [
    ("vgg11", lambda fan_in, fan_out, conv: 0.01),                                              # section 3.1
    ("vgg16", lambda fan_in, fan_out, conv: (2 / (fan_in + fan_out)) ** 0.5),                   # Glorot & Bengio 2010
    ("vgg16_bn", lambda fan_in, fan_out, conv: (2 / fan_out) ** 0.5 if conv else 0.01),         # He et al. 2015
])
def test_weights_start_as_published(name, std):
    torch.manual_seed(0)
    for layer in layers(convatlas.create_model(name, fc=256)):
        area = layer.weight[0, 0].numel()
        wanted = std(layer.weight.shape[1] * area, layer.weight.shape[0] * area, isinstance(layer, nn.Conv2d))
        assert abs(layer.weight.std() / wanted - 1) < 0.05 and abs(layer.weight.mean()) < 0.1 * wanted
        assert layer.bias.eq(0).all()


def test_column_c_ends_three_blocks_in_1x1():
    with torch.device("meta"):
        model = convatlas.create_model("vgg16_c")
    small = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert small == ["stages.1.conv3", "stages.2.conv3", "stages.3.conv3"]


def test_response_normalisation_stands_behind_the_first_activation():
    with torch.device("meta"):
        model = convatlas.create_model("vgg11_lrn")
    assert list(dict(model.stem.named_children())) == ["conv1", "act1", "lrn"]
    assert sum(isinstance(m, LocalResponseNorm) for m in model.modules()) == 1


@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn"])
def test_pooling_becomes_a_strided_convolution(name):
    with torch.device("meta"):
        plain, strided = (convatlas.create_model(name, pool=pool) for pool in ("max", "conv"))
        strided(torch.empty(1, 3, 224, 224))
    assert not any(isinstance(m, nn.MaxPool2d) for m in strided.modules())
    extra = sum(p.numel() for p in strided.parameters()) - sum(p.numel() for p in plain.parameters())
    assert extra == sum(9 * c * c + (3 * c if "bn" in name else c) for c in (64, 128, 256, 512, 512))
    assert strided.feature_info == plain.feature_info


def test_squeeze_and_excitation_follows_each_activation():
    with torch.device("meta"):
        model = convatlas.create_model("se_vgg16")
    blocks = [m for m in model.modules() if isinstance(m, SqueezeExcite)]
    assert [m.reduce.out_channels for m in blocks] == [4, 4, 8, 8, 16, 16, 16, *[32] * 6]
    assert list(dict(model.stem.named_children())) == ["conv1", "norm1", "act1", "se1", "conv2", "norm2", "act2", "se2"]


def test_dropout_rate():
    with torch.device("meta"):
        model = convatlas.create_model("vgg16", drop_rate=0.25)
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.25, 0.25]
