"""Inception-v3 against torchvision's and timm's, side classifier included; what the release has and they do not."""

import pytest
import torch
from torch import nn

import convatlas
from parity import assert_equal_logits, peer, transplant

PEERS = [
    ("timm", "inception_v3", "inception_v3", {"aux": False}, {}),
    pytest.param("torchvision", "inception_v3", "inception_v3", {}, {"aux_logits": True, "init_weights": True},
                 marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("library", "name", "ours", "fields", "kwargs"), PEERS)
def test_peer_has_our_logits(library, name, ours, fields, kwargs):
    assert_equal_logits(library, name, ours, 96, fields, kwargs)


@pytest.mark.slow
@pytest.mark.parametrize(("library", "kwargs"), [("torchvision", {"init_weights": True}),
                                                 ("timm", {"aux_logits": True})])
def test_peer_has_our_side_scores(library, kwargs):
    theirs = peer(library, "inception_v3", kwargs)
    mine = convatlas.create_model("inception_v3").double().eval()
    x = torch.randn(2, 3, 299, 299, dtype=torch.float64)
    transplant(theirs, mine, x)
    theirs.training = library == "torchvision"      # itself only: torchvision's then gives the side classifier's scores
    with torch.inference_mode():
        expected, (scores, sides) = theirs(x), mine.forward_aux(x)
    for ours, other in zip((scores, sides["6e"]), expected, strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=1e-9 * other.abs().max().item())
        assert (other[0] - other[1]).abs().max() > 1e-6 * other.abs().max()


def test_the_release_leaves_the_border_out_of_means():
    with torch.device("meta"):
        ours, release = (convatlas.create_model("inception_v3", padding=padding) for padding in ("symmetric", "same"))
    means = [[m.count_include_pad for m in net.stages.modules() if isinstance(m, nn.AvgPool2d)]
             for net in (ours, release)]
    assert means == [[True] * 9, [False] * 9]
    layer = convatlas.create_model("inception_v3", aux=False, padding="same",
                                   num_classes=0).stages[1].mixed_5b.pool.unit1
    assert layer(torch.ones(1, 1, 4, 4)).eq(1).all()


def test_slim_counts_the_trunk_as_we_do():
    """Its own test constant: weights and three BatchNorm variables per channel, no classifier."""
    with torch.device("meta"):
        model = convatlas.create_model("inception_v3", aux=False)
    trunk = [*model.stem.modules(), *model.stages.modules()]
    weights = sum(m.weight.numel() for m in trunk if isinstance(m, nn.Conv2d))
    assert weights + 3 * sum(m.num_features for m in trunk if isinstance(m, nn.BatchNorm2d)) == 21_802_784


def test_weights_start_as_in_the_release():
    torch.manual_seed(0)
    model = convatlas.create_model("inception_v3", drop_rate=0.25)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            std = {"aux.6e.hidden.conv.conv": 0.01, "aux.6e.classifier": 0.001}.get(name, 0.1)
            assert (layer.weight.abs().max() <= 2 * std + 1e-6
                    and abs(layer.weight.std().item() / std - 0.88) < 0.03), name
    assert {(m.eps, m.momentum) for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-3, 3e-4)}
    assert model.aux_weight == 0.4 and model.head.hidden.drop.p == 0.25 and model.head.classifier.bias.eq(0).all()


def test_fields():
    with torch.device("meta"):
        model = convatlas.create_model("inception_v3")
        small = convatlas.create_model("inception_v3", stem="cifar", image_size=32, num_classes=10)
        plain = convatlas.create_model("inception_v3", aux=False)
    assert [(f["num_chs"], f["reduction"]) for f in model.feature_info] == [(64, 2), (192, 4), (288, 8),
                                                                            (768, 16), (2048, 32)]
    assert model.head.hidden.drop.p == 0.2
    scores, sides = small.forward_aux(torch.empty(2, 3, 32, 32, device="meta"))
    assert scores.shape == sides["6e"].shape == (2, 10)
    assert [f["num_chs"] for f in small.feature_info] == [288, 768, 2048] and not plain.aux
