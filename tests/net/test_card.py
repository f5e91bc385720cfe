"""Card: what it keeps through files, deployed and published folders, and what is done to a network's."""

import json
import pickle
from copy import deepcopy
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from safetensors.torch import save_file

import convatlas
from convatlas import weights
from convatlas.deploy.bundle import deploy, deployed
from convatlas.integrations.hub import page, publish
from convatlas.net import registry
from convatlas.net.card import Card, Provenance
from convatlas.run import Loss, Preprocess
from convatlas.weights.own import KEY, Meta

NAMES = ("cat", "dog", "ü")


@pytest.fixture
def model():
    """A small network with a card on which everything is written."""
    torch.manual_seed(0)
    made = convatlas.create_model("resnet20_cifar", n=1, num_classes=3)
    made(torch.randn(16, 3, 32, 32))        # running statistics worth the name
    made.card = replace(made.card, classes=NAMES, preprocess=Preprocess(fit="pixel_mean", crop_pct=1.0),
                        loss=Loss(name="bce"),
                        fitted={"mean": torch.rand(3, 32, 32)}, provenance=Provenance("pets", {"val_top1": 0.5}))
    return made.eval()


def alike(one: Card, other: Card) -> bool:
    """Whether two cards say the same of networks and pictures; provenance apart."""
    names = ("model", "spec", "registered", "fields", "classes", "preprocess", "loss")
    fitted = (one.fitted.keys() == other.fitted.keys()
              and all(torch.equal(one.fitted[name], other.fitted[name]) for name in one.fitted))
    return fitted and all(getattr(one, name) == getattr(other, name) for name in names)


def test_it_says_what_the_network_is(model):
    assert (model.card.fields == {"n": 1, "num_classes": 3}
            and (model.name, model.spec) == (model.card.model, model.card.spec))
    assert str(model.card).splitlines() == [
        "network      resnet20_cifar n=1 num_classes=3", "classes      3: cat, dog, ü",
        "preprocess   crop_pct=1.0 interpolation=bilinear fit=pixel_mean", "fitted       mean", "loss         name=bce",
        "trained on   pets", "measured     val_top1=0.5"]
    new = convatlas.create_model("lenet5").card
    assert (str(new) == "network      lenet5\nclasses      without names\npreprocess   as its recipe says"
            and new.fields == {})


def test_it_cannot_be_changed_but_replaced(model):
    with pytest.raises(FrozenInstanceError):
        model.card.classes = ("a", "b", "c")
    with pytest.raises(AttributeError):
        model.name = "other"
    model.card = replace(model.card, spec=replace(model.spec, image_size=40))
    assert model.image_size == (40, 40) and model.card.fields["image_size"] == 40


@pytest.mark.parametrize("copied", [deepcopy, lambda card: pickle.loads(pickle.dumps(card))], ids=["copy", "pickle"])
def test_it_travels(model, copied):
    there = copied(model.card)
    assert alike(there, model.card) and there.provenance == model.card.provenance


def test_a_file_keeps_it(model, tmp_path):
    weights.save(tmp_path / "model.safetensors", model.state_dict(), model.card)
    read, loaded = weights.read_card(tmp_path / "model.safetensors"), convatlas.load(tmp_path / "model.safetensors")
    assert alike(read, model.card) and alike(loaded.card, model.card)
    assert ((read.provenance.data, read.provenance.metrics) == ("pets", {"val_top1": 0.5})
            and read.provenance.versions["torch"])
    assert (replace(loaded.card.provenance, report=None) == read.provenance
            and loaded.card.provenance.report.network == model.name)
    # which may have been trained since
    again = weights.read_card(convatlas.save(loaded, tmp_path / "again.safetensors"))
    assert alike(again, model.card) and (again.provenance.data, again.provenance.metrics) == ("", {})


def test_what_the_recipe_says_is_written_down(tmp_path):
    card = weights.read_card(convatlas.save(convatlas.create_model("lenet5"), tmp_path / "lenet5.safetensors"))
    usual = convatlas.recipe("lenet5")
    assert (card.preprocess, card.loss) == (usual.preprocess, usual.loss)


def test_an_older_file_under_an_alias_is_its_network_s(tmp_path):
    alias, name = next(iter(registry.ALIASES.items()))
    model = convatlas.create_model(name, num_classes=2)
    save_file(model.state_dict(), tmp_path / "old.safetensors",
              {KEY: Meta(model=alias, fields={"num_classes": 2}).model_dump_json()})
    assert weights.read_card(tmp_path / "old.safetensors").model == name
    assert convatlas.create_model(name, tmp_path / "old.safetensors").num_classes == 2


def test_a_deployed_folder_keeps_it(model, tmp_path, own_cache):
    deploy(model, tmp_path / "net", "eager", image_size=40)
    net = deployed(tmp_path / "net")
    assert (alike(net.card, replace(model.card, spec=replace(model.spec, image_size=40)))
            and model.image_size == (32, 32))
    assert (net.name, net.num_classes, net.in_chans, net.image_size) == (model.name, 3, 3, (40, 40))


def test_a_published_folder_keeps_it(model, tmp_path):
    weights.save(tmp_path / "model.safetensors", model.state_dict(), model.card)
    publish(tmp_path / "model.safetensors", tmp_path / "hub")
    back, told = convatlas.load(tmp_path / "hub").card, json.loads((tmp_path / "hub" / "config.json").read_text())
    assert alike(back, model.card) and back.provenance.data == "pets"
    assert (told["architecture"], told["fields"], tuple(told["label_names"])) == (back.model, back.fields, back.classes)
    assert Preprocess(**told["preprocess"]) == back.preprocess and told["metrics"] == back.provenance.metrics


def test_another_classifier_has_no_names_yet(model):
    before = model.card
    model.reset_classifier(3)
    assert model.card.classes == NAMES
    model.reset_classifier(5)
    assert (model.card.classes == () and model.card.fields == {"n": 1, "num_classes": 5}
            and model.card.preprocess == before.preprocess)
    assert before.classes == NAMES and before.spec.num_classes == 3


def test_folding_writes_it_on_the_copy(model):
    small = convatlas.fold(model)
    assert model.card.folded is None and small.card.folded.difference < 1e-4 and alike(small.card, model.card)
    assert "largest difference" in str(small.card)


def test_weights_put_into_a_network_leave_their_provenance(model, tmp_path):
    weights.save(tmp_path / "model.safetensors", model.state_dict(), model.card)
    other = convatlas.create_model("resnet20_cifar", n=1, num_classes=3)
    report = convatlas.load_weights(other, tmp_path / "model.safetensors")
    assert other.card.provenance.report is report and other.card.provenance.data == "pets"
    convatlas.load_weights(other, model.state_dict())
    assert other.card.provenance.data == "" and other.card.provenance.report is not report


def test_contrast_is_normalised_although_nothing_was_measured_for_it(model):
    model.card = replace(model.card, preprocess=Preprocess(fit="gcn"), fitted={})
    x = convatlas.transforms(model)(torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8))
    assert x.mean().abs() < 1e-5 and abs(x.std(unbiased=False) - 1) < 1e-4


@pytest.mark.parametrize("name", ["classes", "preprocess", "fitted", "loaded", "folded", "scores", "name", "spec"])
def test_what_the_card_holds_cannot_be_set_beside_it(name):
    with pytest.raises(AttributeError):
        setattr(convatlas.create_model("lenet5"), name, ("a", "b"))


@pytest.mark.parametrize(("classes", "told"), [(5, False), (6, True)])
def test_a_published_page_leaves_out_top_5_of_five_classes(classes, told):
    card = replace(convatlas.create_model("lenet5", num_classes=classes).card, classes=tuple("abcdef"[:classes]),
                   provenance=Provenance("letters", {"val_top1": 0.5, "val_top5": 1.0}))
    assert ("top-5" in page(card, "letters", None, None)) == told and "top-1" in page(card, "letters", None, None)


def test_a_published_segmenter_is_described_as_one():
    """Not with a share of images, nor with a command that refuses it."""
    card = replace(convatlas.create_model("unet_same", widths=(2, 4), num_classes=2).card, classes=("ground", "cell"),
                   provenance=Provenance("cells", {"val_iou": 0.5, "val_top1": 0.9, "val_top5": 0.9}))
    text = page(card, "cells", None, None)
    assert "pipeline_tag: image-segmentation" in text and "| mean IoU | 50.00 % over the classes" in text
    assert "convatlas segment FOLDER" in text and "predict" not in text and "top-1" not in text and "top-5" not in text


def test_names_stand_on_the_page_as_they_are():
    classes = ("<b>cat</b>", "a|b", "[x](y)", "*dog*", "two\nlines")
    card = replace(convatlas.create_model("lenet5", num_classes=5).card, classes=classes,
                   provenance=Provenance("photos <i>"))
    text = page(card, "my *net*", None, None)
    assert "| classes | 5: &lt;b&gt;cat&lt;/b&gt;, a\\|b, \\[x\\](y), \\*dog\\*, two lines |" in text
    assert "| trained on | photos &lt;i&gt; |" in text and "# my \\*net\\*\n" in text
