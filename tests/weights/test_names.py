"""Names of tensors: what wrappers put around them is seen through, order alone is asked for, a replaced classifier is
found or refused.
"""

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel

import convatlas
from convatlas import ConvatlasError
from convatlas.net import registry
from convatlas.weights import foreign
from convatlas.weights.files import Foreign
from convatlas.weights.views import views
from parity import randomized

X = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def theirs():
    from torchvision.models import resnet18

    return randomized(resnet18(num_classes=5))


def scores(model):
    with torch.inference_mode():
        return model.eval()(X)


def same(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def compiled(model):
    """Parts of it compiled, as trainers do: `_orig_mod` stands in the middle of names."""
    state = model.state_dict()
    return {name.replace("layer2.", "layer2._orig_mod."): tensor for name, tensor in state.items()}


WRAPPED = {
    "any prefix": lambda net: {f"tower.{name}": tensor for name, tensor in net.state_dict().items()},
    "two of them": lambda net: {f"image.tower.{name}": tensor for name, tensor in net.state_dict().items()},
    "parts compiled": compiled,
    "parallel inside": lambda net: {f"net.{name}": tensor for name, tensor in DataParallel(net).state_dict().items()},
    "fsdp": lambda net: {f"_fsdp_wrapped_module.{name}".replace("layer3.", "layer3._fsdp_wrapped_module."): tensor
                         for name, tensor in net.state_dict().items()},
    "with a criterion": lambda net: {**{f"model.{name}": tensor for name, tensor in net.state_dict().items()},
                                     "criterion.weight": torch.ones(5), "best_acc1": torch.tensor(71.2)},
    "student of another": lambda net: {**{f"student.{name}": tensor for name, tensor in net.state_dict().items()},
                                       **{f"teacher.w{i}.weight": torch.zeros(3, 3) for i in range(80)}},
    "momentum contrast": lambda net: {**{f"module.encoder_q.{name}": tensor for name, tensor in
                                         net.state_dict().items()},
                                      **{f"module.encoder_k.{name}": torch.zeros_like(tensor)
                                         for name, tensor in net.state_dict().items()},
                                      "module.queue": torch.zeros(128, 64)},
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_wrapped_names_are_known(theirs, wrap, tmp_path):
    torch.save(wrap(theirs), tmp_path / "x.pth")
    ours = convatlas.load(tmp_path / "x.pth", "resnet18")
    same(scores(ours), scores(theirs))
    assert ours.card.provenance.report.source == "torchvision's resnet18"


def test_two_of_a_kind_are_not_chosen_between(theirs, tmp_path):
    state = {f"{who}.{name}": tensor for who in ("left", "right") for name, tensor in theirs.state_dict().items()}
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(ConvatlasError, match=r"holds resnet18 2 times, under 'left\.' and 'right\.'"):
        convatlas.load(tmp_path / "x.pth", "resnet18")


@pytest.mark.parametrize("prefix", ["", "tower."])
def test_a_known_network_is_never_paired_with_another_by_order(theirs, prefix, tmp_path):
    """resnet50 and resnet50_v1 differ in the place of a stride alone, and have the same tensors in the same order."""
    from torchvision.models import resnet50

    torch.save({f"{prefix}{name}": tensor for name, tensor in resnet50().state_dict().items()}, tmp_path / "x.pth")
    for asked in ({}, {"by_order": True}):
        with pytest.raises(ConvatlasError, match="torchvision's resnet50, which is resnet50 here"):
            convatlas.create_model("resnet50_v1", weights=tmp_path / "x.pth", **asked)


@pytest.mark.parametrize("prefix", ["", "tower.", "student."])
def test_other_constants_are_found_behind_a_prefix(prefix, tmp_path):
    """The tensors of torchvision's MobileNetV2 are ours, whose epsilon is another."""
    from torchvision.models import mobilenet_v2

    state = {f"{prefix}{name}": tensor for name, tensor in randomized(mobilenet_v2()).state_dict().items()}
    torch.save(state, tmp_path / "x.pth")
    assert convatlas.load(tmp_path / "x.pth", "mobilenet_v2").spec.norm_eps == 1e-5
    with pytest.raises(ConvatlasError, match=r"norm_eps = 1e-05"):
        convatlas.load_weights(convatlas.create_model("mobilenet_v2"), state)


def test_another_order_of_tensors_changes_nothing(theirs, tmp_path):
    state = theirs.state_dict()
    torch.save({f"tower.{name}": state[name] for name in sorted(state, reverse=True)}, tmp_path / "x.pth")
    same(scores(convatlas.load(tmp_path / "x.pth", "resnet18")), scores(theirs))


def test_ports_with_names_of_their_own_need_the_flag():
    """A U-Net that joins its maps the other way round, or a gate at another place, has the same tensors."""
    ours = convatlas.create_model("lenet5_modern")
    state = {f"part{i}.{name.rpartition('.')[2]}": tensor for i, (name, tensor) in enumerate(ours.state_dict().items())}
    with pytest.raises(ConvatlasError, match=r"place of activations.*--by-order"):
        convatlas.load_weights(convatlas.create_model("lenet5_modern"), state)


def test_our_own_names_are_known(tmp_path):
    ours = convatlas.create_model("resnet20_cifar", num_classes=7)
    torch.save({"model": {f"module.{name}": tensor for name, tensor in ours.state_dict().items()}}, tmp_path / "x.pth")
    back = convatlas.load(tmp_path / "x.pth", "resnet20_cifar")
    assert back.num_classes == 7 and torch.equal(back.head.classifier.weight, ours.head.classifier.weight)
    with pytest.raises(ConvatlasError, match="not known"):
        convatlas.transforms(back)


# -- classifiers that were replaced ------------------------------------------------------------------------------------


def replaced(theirs, head):
    from torchvision.models import resnet18

    net = randomized(resnet18())
    net.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")}, strict=False)
    net.fc = head
    return net.eval()


@pytest.mark.parametrize("head", [nn.Sequential(nn.Dropout(), nn.Linear(512, 7)), nn.Sequential(nn.Linear(512, 7))])
def test_a_classifier_behind_dropout_is_the_classifier(theirs, head, tmp_path):
    net = replaced(theirs, head)
    torch.save(net.state_dict(), tmp_path / "x.pth")
    ours = convatlas.load(tmp_path / "x.pth", "resnet18")
    assert ours.num_classes == 7
    same(scores(ours), scores(net))
    assert any("is taken for it" in note for note in ours.card.provenance.report.notes)


def test_a_linear_layer_behind_the_network_is_the_classifier(theirs, tmp_path):
    net = nn.Sequential(replaced(theirs, nn.Identity()), nn.Linear(512, 7))
    torch.save(net.state_dict(), tmp_path / "x.pth")
    same(scores(convatlas.load(tmp_path / "x.pth", "resnet18")), scores(net))


def test_a_classifier_of_vgg_behind_dropout():
    from torchvision.models import vgg11

    with torch.device("meta"):
        net = vgg11()
        net.classifier[6] = nn.Sequential(nn.Dropout(), nn.Linear(4096, 7))
    known = foreign.recognize(Foreign("x.pth", "pytorch", net.state_dict()), registry.build, ours="vgg11")
    assert known.num_classes == 7 and known.pairs["classifier.6.1.weight"] == "head.classifier.weight"


@pytest.mark.parametrize("head", [nn.Sequential(nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 7)),
                                  nn.Sequential(nn.Linear(512, 64), nn.BatchNorm1d(64), nn.Linear(64, 7))])
def test_a_classifier_of_several_layers_is_refused_not_dropped(theirs, head, tmp_path):
    torch.save(replaced(theirs, head).state_dict(), tmp_path / "x.pth")
    with pytest.raises(ConvatlasError, match=r"without its classifier.*'fc\.0'.*num_classes=0"):
        convatlas.load(tmp_path / "x.pth", "resnet18")
    ours = convatlas.create_model("resnet18", weights=tmp_path / "x.pth", num_classes=3)
    assert {row.theirs for row in ours.card.provenance.report.rows if row.what == "left out"} >= {"fc.0.weight"}
    assert convatlas.create_model("resnet18", weights=tmp_path / "x.pth", num_classes=0).num_classes == 0


def test_a_file_without_a_classifier_says_so(theirs, tmp_path):
    torch.save(replaced(theirs, nn.Identity()).state_dict(), tmp_path / "x.pth")
    ours = convatlas.load(tmp_path / "x.pth", "resnet18")
    assert ours.num_classes == 0 and "it holds no classifier" in ours.card.provenance.report.notes


def test_views_end():
    """Whatever the names are: no loop, and few of them."""
    for names in (["a"], ["a.a.a.a"] , ["module"], ["module.module", "_orig_mod"], ["x.y", "x"], [""], ["."], ["a..b"],
                  [f"{i % 3}.{i % 5}.{i}" for i in range(60)]):
        assert len(list(views(dict.fromkeys(names, (1, 1))))) < 20
