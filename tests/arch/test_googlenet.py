"""GoogLeNet against torchvision's rebuilt to the paper's letter, its BatchNorm variant against torchvision's as it is.
"""

from importlib import import_module

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convatlas
from parity import assert_equal_logits, peer, randomized, transplant

PEERS = [
    ("torchvision", "googlenet", "googlenet_bn", {"aux": False}, {"aux_logits": False, "init_weights": False}),
    pytest.param("torchvision", "googlenet", "googlenet_bn", {}, {"aux_logits": True, "init_weights": False},
                 marks=pytest.mark.slow),
]


def conv_relu(cin, cout, **kwargs):
    return nn.Sequential(nn.Conv2d(cin, cout, **kwargs), nn.ReLU())


def lrn():
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)       # torch divides α by n, as Caffe


def torchvisions_made_true_to_the_paper():
    """No BatchNorm, biases, 5×5 kernels, response normalisation, a 3×3 last pool, side classifiers behind 5×5/3 means.
    """
    module = import_module("torchvision.models.googlenet")     # as an attribute the name is the function's

    class Inception(module.Inception):
        def __init__(self, cin, one, red3, three, red5, five, proj):
            super().__init__(cin, one, red3, three, red5, five, proj, conv_relu)
            self.branch3[1] = conv_relu(red5, five, kernel_size=5, padding=2)

    class Aux(module.InceptionAux):
        def __init__(self, cin, classes, dropout):
            super().__init__(cin, classes, conv_relu, dropout)

        def forward(self, x):
            x = self.conv(F.avg_pool2d(x, 5, 3))
            return self.fc2(self.dropout(F.relu(self.fc1(x.flatten(1)))))

    net = module.GoogLeNet(init_weights=False, blocks=[conv_relu, Inception, Aux])
    net.maxpool1, net.conv3 = nn.Sequential(net.maxpool1, lrn()), nn.Sequential(net.conv3, lrn())
    net.maxpool4 = nn.MaxPool2d(3, 2, ceil_mode=True)
    return randomized(net.double())


def assert_close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9 * theirs.abs().max().item())
    assert (theirs[0] - theirs[1]).abs().max() > 0


def assert_all_scores_equal(theirs, mine, x):
    transplant(theirs, mine, x[..., :64, :64])
    theirs.training = True      # itself only, its layers stay in eval mode: it then gives the side classifiers' scores
    with torch.inference_mode():
        expected, (scores, sides) = theirs(x), mine.forward_aux(x)
    assert list(sides) == ["4a", "4d"]
    for a, b in ((scores, expected.logits), (sides["4a"], expected.aux_logits1), (sides["4d"], expected.aux_logits2)):
        assert_close(a, b)


def test_the_papers_network_and_its_side_classifiers():
    mine = convatlas.create_model("googlenet").double().eval()
    assert_all_scores_equal(torchvisions_made_true_to_the_paper(), mine,
                            50 * torch.randn(2, 3, 224, 224, dtype=torch.float64))


@pytest.mark.parametrize(("library", "name", "ours", "fields", "kwargs"), PEERS)
def test_peer_has_our_logits(library, name, ours, fields, kwargs):
    assert_equal_logits(library, name, ours, 64, fields, kwargs)


@pytest.mark.slow
def test_torchvisions_side_classifiers():
    theirs = peer("torchvision", "googlenet", {"aux_logits": True, "init_weights": False})
    mine = convatlas.create_model("googlenet_bn").double().eval()
    assert_all_scores_equal(theirs, mine, torch.randn(2, 3, 96, 96, dtype=torch.float64))


def test_slim_has_three_by_three_kernels_too():
    """Its own test constant, weights and three BatchNorm variables per channel, comes out only so."""
    with torch.device("meta"):
        model = convatlas.create_model("googlenet_bn", aux=False)
    trunk = [*model.stem.modules(), *model.stages.modules()]
    weights = sum(m.weight.numel() for m in trunk if isinstance(m, nn.Conv2d))
    assert weights + 3 * sum(m.num_features for m in trunk if isinstance(m, nn.BatchNorm2d)) == 5_607_184


def test_xavier_weights_and_positive_biases():
    torch.manual_seed(0)
    model = convatlas.create_model("googlenet", num_classes=50)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = (3 / layer.weight[0].numel()) ** 0.5
            assert 0.97 * bound < layer.weight.abs().max() <= bound, name
            assert layer.bias.eq(0.0 if "classifier" in name else 0.2).all(), name


def test_the_bn_variant_starts_from_a_narrow_normal():
    torch.manual_seed(0)
    model = convatlas.create_model("googlenet_bn", num_classes=50)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert abs(layer.weight.std().item() - 0.01) < 1e-3, name
    assert {(m.eps, m.momentum) for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-3, 0.1)}


@pytest.mark.parametrize(("name", "drop"), [("googlenet", 0.4), ("googlenet_bn", 0.2)])
def test_dropout_and_loss_weight_as_published(name, drop):
    with torch.device("meta"):
        model = convatlas.create_model(name)
    assert model.aux_weight == 0.3
    rates = {n: m.p for n, m in model.named_modules() if isinstance(m, nn.Dropout)}
    assert rates == {"head.hidden.drop": drop, "aux.4a.hidden.drop": 0.7, "aux.4d.hidden.drop": 0.7}


@pytest.mark.parametrize("name", ["googlenet", "googlenet_bn"])
def test_fields(name):
    with torch.device("meta"):
        small = convatlas.create_model(name, stem="cifar", image_size=32, num_classes=10, drop_rate=0.3)
        plain = convatlas.create_model(name, aux=False)
    assert [f["num_chs"] for f in small.feature_info] == [480, 832, 1024]
    assert [f["reduction"] for f in small.feature_info] == [1, 2, 4]
    scores, sides = small.forward_aux(torch.empty(2, 3, 32, 32, device="meta"))
    assert scores.shape == sides["4a"].shape == sides["4d"].shape == (2, 10) and small.head.hidden.drop.p == 0.3
    assert not plain.aux


def test_without_response_normalisation():
    with torch.device("meta"):
        assert not any("Norm" in type(m).__name__ for m in convatlas.create_model("googlenet", lrn=False).modules())
