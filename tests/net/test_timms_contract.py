"""What programs written for timm's networks ask of ours; the shapes of one network of each family."""

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay

import convatlas
from convatlas import ConvatlasError
from convatlas.net import registry
from convatlas.net.meta import blank
from convatlas.net.model import Convnet
from convatlas.parts import ShapesOnly

EVERY = sorted(map(registry.variant, convatlas.list_models()), key=lambda v: -v.macs)
ONE_EACH = sorted({v.family: v.name for v in EVERY if not v.segments}.values())
QUICK = {"alexnet", "lenet5", "mobilenet_v1_025", "preact_resnet18", "resnet18", "resnet20_cifar", "vgg11_lrn"}


def quick(names: list[str]) -> list[object]:
    """All of them, of which the suite tests only the `QUICK` every time."""
    return [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in names]


POOLED = [name for name in ONE_EACH if "global_pool" in registry.plain(registry.VARIANTS[name].spec)]
DILATED = [name for name in ONE_EACH if "output_stride" in registry.plain(registry.VARIANTS[name].spec)]


def shaped(name: str, **fields: object) -> Convnet:
    """On the meta device, in eval mode."""
    return blank(lambda: convatlas.create_model(name, **fields)).eval()


def image(model: Convnet) -> torch.Tensor:
    return torch.empty(2, model.in_chans, *model.image_size, device="meta")


def settled(model: torch.nn.Module) -> torch.nn.Module:
    """In eval mode and float64, with statistics and factors other than the initial ones."""
    for each in model.modules():
        if isinstance(each, torch.nn.BatchNorm2d):
            for tensor in (each.running_var, each.weight):
                tensor.data.uniform_(0.5, 1.5)
            each.running_mean.normal_(std=0.1)
    return model.eval().double()


@pytest.mark.parametrize("name", quick(ONE_EACH))
def test_head_and_trunk(name):
    model = shaped(name)
    x = image(model)
    with ShapesOnly():
        trunk = model.forward_features(x)
        assert trunk.shape[:2] == (2, model.num_features)
        assert model.forward_head(trunk, pre_logits=True).shape == (2, model.head_hidden_size)
        model.reset_classifier(7)
        assert model(x).shape == (2, 7)
        last, maps = model.forward_intermediates(x)
        assert last.shape == trunk.shape
        assert [each.shape[1] for each in maps] == [each["num_chs"] for each in model.feature_info]
        one, = model.forward_intermediates(x, indices=1, stop_early=True, intermediates_only=True)
        assert one.shape == trunk.shape
    groups = param_groups_layer_decay(model, weight_decay=0.05, no_weight_decay_list=model.no_weight_decay(),
                                      layer_decay=0.5)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    scale = {id(each): group["lr_scale"] for group in groups for each in group["params"]}
    every = list(model.named_parameters())
    assert scale[id(every[0][1])] == min(scale.values()) and len(set(scale.values())) > 1
    assert {scale[id(each)] for label, each in every if label.startswith("head.classifier")} <= {1.0}
    assert all(group["weight_decay"] == 0 for group in groups for each in group["params"]
               for label, own in every if own is each and label.endswith("bias"))


@pytest.mark.parametrize("name", quick(POOLED))
def test_no_pooling_and_another(name):
    model = shaped(name)
    x = image(model)
    with ShapesOnly():
        bare = shaped(name, num_classes=0, global_pool="")
        expected = bare(x).shape
        assert bare.spec.global_pool == "none" and len(expected) == 4
        model.reset_classifier(0, "")
        assert model(x).shape == expected and model.spec == bare.spec
        with pytest.raises(ConvatlasError, match="num_classes=0"):
            model.reset_classifier(5)
        for kind in ("max", "catavgmax", "avg"):
            blank(lambda kind=kind: model.reset_classifier(5, kind))
            assert model(x).shape == (2, 5) and model.spec.global_pool == kind
    with pytest.raises(ConvatlasError, match="num_classes=0"):
        model.reset_classifier(5, "")
    with pytest.raises(ConvatlasError, match="'mean' is refused"):
        model.reset_classifier(5, "mean")


@pytest.mark.parametrize("name", quick(sorted(set(ONE_EACH) - set(POOLED))))
def test_a_network_without_global_pooling_says_so(name):
    with pytest.raises(ConvatlasError, match="forward_features"):
        shaped(name).reset_classifier(0, "")
    with pytest.raises(ConvatlasError, match="forward_features"):
        shaped(name, num_classes=0, global_pool="")


@pytest.mark.parametrize("name", [
    "mobilenet_v3_small_minimal",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("preact_resnet18", "convnext_tiny"))])
def test_what_stands_in_the_head_is_kept_when_its_pooling_is_replaced(name):
    model = settled(convatlas.create_model(name, num_classes=3, image_size=32))
    for each in model.head.hidden.parameters():
        each.requires_grad_(False)
    x = torch.randn(2, 3, 64, 64).double()
    with torch.no_grad():
        expected = model(x)
        scores = model.get_classifier()
        model.reset_classifier(3, "max")
        assert not torch.equal(model(x), expected)
        model.reset_classifier(3, "avg")
        model.head.classifier.load_state_dict(scores.state_dict())
        assert torch.equal(model(x), expected)
        assert not any(each.requires_grad for each in model.head.hidden.parameters())
        folded = convatlas.fold(model)
    with pytest.raises(ConvatlasError, match="is folded"):
        folded.reset_classifier(3, "max")


@pytest.mark.parametrize("name", quick(DILATED))
def test_dilated_networks_give_the_same_maps_with_the_same_weights(name):
    plain = shaped(name)
    red = [each["reduction"] for each in plain.feature_info]
    for stride in (8, 16):
        model = shaped(name, output_stride=stride)
        assert [each["reduction"] for each in model.feature_info] == [min(each, stride) for each in red]
        assert [each["module"] for each in model.feature_info] == [each["module"] for each in plain.feature_info]
        assert ({key: value.shape for key, value in model.state_dict().items()}
                == {key: value.shape for key, value in plain.state_dict().items()})
        with ShapesOnly():
            maps = model.features(torch.empty(2, 3, 192, 192, device="meta"))
        assert [tuple(each.shape[1:]) for each in maps] == [
            (each["num_chs"], 192 // each["reduction"], 192 // each["reduction"]) for each in model.feature_info]


@pytest.mark.parametrize("name", ["vgg11", "densenet121", "inception_v3", "resnet20_cifar"])
def test_what_cannot_be_dilated_says_why(name):
    with pytest.raises(ConvatlasError, match="cannot be dilated"):
        convatlas.create_model(name, output_stride=8)


@pytest.mark.parametrize(("name", "peer", "stride"), [
    ("resnet18", "resnet18", 8),
    *(pytest.param(name, peer, stride, marks=pytest.mark.slow) for stride in (8, 16) for name, peer in (
        ("resnet50", "resnet50"), ("mobilenet_v2", "mobilenetv2_100"),
        ("convnext_tiny", "convnext_tiny"), ("resnetv2_18", "resnetv2_18"),
        ("efficientnet_b0", "efficientnet_b0"), ("se_resnet50", "seresnet50")))])
def test_dilated_maps_are_timms(name, peer, stride, tmp_path):
    torch.manual_seed(0)
    file = tmp_path / "peer.pth"
    theirs = timm.create_model(peer, features_only=True, output_stride=stride)
    whole = settled(timm.create_model(peer)).float()
    torch.save(whole.state_dict(), file)
    state = {key.replace(".", "_"): value for key, value in whole.state_dict().items()}     # stages.0 is stages_0
    theirs.load_state_dict({key: state[key.replace(".", "_")] for key in theirs.state_dict()})
    fields = {"norm_eps": 1e-5} if "_v2" in name or "_b0" in name else {}
    ours = convatlas.create_model(name, weights=file, features_only=True, output_stride=stride, **fields)
    x = torch.randn(1, 3, 64, 64).double()
    with torch.no_grad():
        for our, their in zip(ours.eval().double()(x), theirs.eval().double()(x), strict=True):
            torch.testing.assert_close(our, their, rtol=0, atol=1e-12 * their.abs().max().item())


def test_intermediate_maps_and_the_last_norm():
    model = settled(convatlas.create_model("preact_resnet18"))
    x = torch.randn(1, 3, 64, 64).double()
    with torch.no_grad():
        last, maps = model.forward_intermediates(x, [0, -1], norm=True)
        assert torch.equal(last, model.forward_features(x))
        assert torch.equal(maps[1], model.head.hidden.norm(last)) and torch.equal(maps[0], model.features(x)[0])
        stopped, _ = model.forward_intermediates(x, [0], stop_early=True)
        assert torch.equal(stopped, maps[0])
    for wrong in ({"indices": 0}, {"indices": 6}, {"indices": [5]}, {"indices": []}, {"output_fmt": "NLC"}):
        with pytest.raises(ConvatlasError, match="is refused"):
            model.forward_intermediates(x, **wrong)
