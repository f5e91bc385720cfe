"""Fine-tuning from one's own run: what was measured for its pictures comes along, and classes are compared by name."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import convatlas
from convatlas import ConvatlasError, recipe, weights
from convatlas.engine.train import Silent
from convatlas.run import Preprocess, resolve
from convatlas.weights.classes import of_classes

NAME = "lecun1989_net5"


class Heard(Silent):
    def __init__(self):
        self.lines = []

    def tell(self, sentence):
        self.lines.append(sentence)


def pictures(folder, names, dark=0, count=20):
    """Light on the left, or on the right."""
    dice = np.random.default_rng(0)
    for name, side in zip(names, (slice(0, 8), slice(8, 16)), strict=True):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            picture = dice.integers(0, 60, (16, 16), dtype=np.uint8)
            picture[:, side] += 150
            Image.fromarray(picture - picture // 4 * 3 if dark else picture).save(folder / name / f"{i:02}.png")
    return folder


def trained(data, out, *sets, heard=None):
    run = resolve(recipe("zipcode"), sets=[f"model.name={NAME}", f"data.source={data}", "data.batch_size=4", *sets])
    return convatlas.train(run, out=out, watch=heard)


@pytest.fixture(scope="module", params=["channel", "pixel_mean"])
def measured(request, tmp_path_factory):
    """(kind, folder of a run whose preprocessing was measured, its data)."""
    where = tmp_path_factory.mktemp(request.param)
    data = pictures(where / "data", ("left", "right"))
    run = trained(data, where / "run", f"preprocess.fit={request.param}", "train.epochs=6")
    assert run.evaluation.top1 == 1
    return request.param, run.folder, data


@pytest.mark.parametrize("more", [(), ("data.val_fraction=0.5",)])
def test_what_was_measured_comes_along(measured, more, tmp_path):
    """Almost nothing is learnt, so that only pictures that are prepared as they were are told apart."""
    kind, folder, _ = measured
    data = pictures(tmp_path / "other", ("left", "right"), dark=1)      # which would measure otherwise
    heard = Heard()
    again = trained(data, tmp_path / "again", f"model.weights={folder}", "train.epochs=1", "optim.lr=1e-9", *more,
                    heard=heard)
    then, now = (load_file(each / "preprocess.safetensors") for each in (folder, again.folder))
    assert then.keys() == now.keys() and all(torch.equal(then[name], now[name]) for name in then)
    card = convatlas.load(again.folder).card
    assert card.preprocess.fit == kind and all(torch.equal(card.fitted[name], then[name]) for name in then)
    assert any("what was measured then" in line for line in heard.lines)


def test_validation_stays_where_it_was(measured, tmp_path):
    _, folder, data = measured
    again = trained(data, tmp_path / "again", f"model.weights={folder}", "train.epochs=1", "optim.lr=1e-9")
    assert again.evaluation.top1 == 1


def test_another_preprocessing_is_taken_where_it_is_asked_for(measured, tmp_path):
    _, folder, data = measured
    heard = Heard()
    again = trained(data, tmp_path / "again", f"model.weights={folder}", "train.epochs=1", "preprocess.fit=none",
                    "preprocess.mean=0.1", "preprocess.std=0.2", heard=heard)
    card = convatlas.load(again.folder).card
    assert (card.preprocess.fit, card.preprocess.mean, card.fitted) == ("none", (0.1,), {})
    assert any("prepared otherwise" in line for line in heard.lines)


def test_measurements_that_do_not_fit_are_refused_before_anything_is_written(tmp_path):
    model = convatlas.create_model("resnet20_cifar")
    card = replace(model.card, preprocess=Preprocess(fit="pixel_mean"), fitted={"mean": torch.zeros(3, 32, 32)})
    weights.save(tmp_path / "model.safetensors", model.state_dict(), card)
    data = pictures(tmp_path / "data", ("left", "right"), count=4)
    run = resolve(recipe("modern"), sets=["model.name=resnet20_cifar", f"data.source={data}",
                                          f"model.weights={tmp_path / 'model.safetensors'}",
                                          "model.fields={image_size: 36}"])
    with pytest.raises(ConvatlasError, match="was measured on another input"):
        convatlas.train(run, out=tmp_path / "again")
    assert not (tmp_path / "again").exists()


# -- classes -----------------------------------------------------------------------------------------------------------


def network(names):
    model = convatlas.create_model("lenet5_modern", num_classes=len(names)).eval()
    model.card = replace(model.card, classes=tuple(names))
    return model


def loaded(names, tmp_path):
    model = network(names)
    weights.save(tmp_path / "model.safetensors", model.state_dict(), model.card)
    return model, convatlas.create_model("lenet5_modern", tmp_path / "model.safetensors", num_classes=len(names))


X = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_same_classes_in_another_order_move_the_rows(tmp_path):
    model, again = loaded(("cat", "red fox", "dog"), tmp_path)
    of_classes(again, ("Red_Fox", "cat", "dog"))
    assert torch.equal(again.eval()(X), model(X)[:, [1, 0, 2]])
    assert "in another order" in again.card.provenance.report.notes[-1]


def test_other_classes_get_a_new_classifier(tmp_path):
    model, again = loaded(("cat", "fox", "dog"), tmp_path)
    of_classes(again, ("cat", "fox", "wolf"))
    assert not torch.equal(again.head.classifier.weight, model.head.classifier.weight)
    assert torch.equal(again.eval().forward_features(X), model.forward_features(X))
    note = again.card.provenance.report.notes[-1]
    assert "newly initialised" in note and "wolf" in note


def test_the_same_classes_and_unnamed_ones_change_nothing(tmp_path):
    model, again = loaded(("cat", "fox"), tmp_path)
    for names in (("cat", "fox"), ("CAT", "Fox"), ("a", "b", "c")):
        of_classes(again, names)
    again.card = replace(again.card, classes=())
    of_classes(again, ("x", "y"))
    assert torch.equal(again.eval()(X), model(X))


def test_training_tells_it(measured, tmp_path):
    _, folder, _ = measured
    heard = Heard()
    data = pictures(tmp_path / "other", ("north", "south"), count=4)
    trained(data, tmp_path / "again", f"model.weights={folder}", "train.epochs=1", heard=heard)
    assert any("others than the data's" in line and "'north'" in line for line in heard.lines)
