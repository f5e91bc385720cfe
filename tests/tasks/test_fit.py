"""Which recipe is chosen for a network and its data, and what the data makes of it."""

import math

import numpy as np
import pytest
from PIL import Image

from convatlas.cli.configuration import configured
from convatlas.data import open_data
from convatlas.recipes import recipe
from convatlas.run import Data
from convatlas.tasks import CLASSES, fit
from convatlas.tasks.fit import Found, choose, scaled

PHOTOS = Found("photos", 480, 120, ("a", "b", "c"), [(375, 500), (300, 400), (1200, 1600)], False)
ICONS = PHOTOS._replace(sizes=[(32, 32)])
NUMBERS = Found("digits", 1437, 360, tuple("0123456789"), [(8, 8)], True)


@pytest.mark.parametrize(("name", "data", "weights", "found"), [
    ("lenet5", "digits", None, "lenet5"), ("lenet5", "mnist", None, "lenet5"),
    ("lecun1989_zipcode", "usps", None, "zipcode"),
    ("resnet20_cifar", "cifar10", None, "resnet_cifar"), ("resnet20_cifar", "cifar100", None, "resnet_cifar"),
    ("resnet20_cifar", "svhn", None, "modern"), ("resnet20_cifar", "photos/", None, "modern"),
    ("lenet5", "photos.npz", None, "modern"), ("lenet5", "cifar10", None, "modern"),
    ("lenet5_modern", "digits", None, "modern"), ("mobilenet_v2_035", "digits", None, "modern"),
    ("resnet18", "cifar10", None, "modern"), ("resnet18", "photos/", "runs/a", "finetune"),
    ("resnet20_cifar", "cifar10", "runs/a", "finetune"), ("unet", "cells", None, "unet"),
    ("unet", "photos/", "runs/a", "unet"), ("unet", "nuclei", None, "unet"), ("unet_same", "cells", None, "unet"),
    ("unet_same", "nuclei", None, "unet_narrow"), ("unet_same", "nuclei", "runs/a", "unet"),
])
def test_the_paper_s_recipe_is_for_the_paper_s_data(name, data, weights, found):
    assert choose(name, data, weights).recipe == found


def test_a_recipe_that_is_named_is_exactly_that_recipe(tmp_path):
    for flags, config in (("mobilenet_v2", None), (None, tmp_path / "a.yaml"), ("modern", None)):
        (tmp_path / "a.yaml").write_text("recipe: mobilenet_v2\n")
        run, choice = configured([("model.name", "mobilenet_v2_035")], recipe=flags, config=config, sets=())
        want = recipe(flags or "mobilenet_v2").change("model.name", "mobilenet_v2_035", "data.source", "digits")
        assert choice is None and run == want


def test_a_folder_of_some_hundred_photos():
    run, choice = configured([("model.name", "resnet18"), ("data.source", "photos")], recipe=None, config=None, sets=())
    run, told = scaled(run, choice, PHOTOS)
    assert (run.recipe, run.data.batch_size, run.train.epochs, run.optim.lr) == ("modern", 16, 67, 5e-4)
    assert run.model.fields["image_size"] == 224 and run.augment == recipe("modern").augment
    assert run.schedule.warmup_epochs == 2.2 and run.preprocess.crop_pct == 0.875
    assert told[0] == ("photos: 600 images of 3 classes, 480 to learn from and 120 held out, 300×400 to 1200×1600 "
                       "pixels.")
    assert told[1].startswith("Recipe modern, for data of one's own (--recipe resnet is its paper's)")
    assert "rate 0.0005, input 224×224" in told[1]


def test_what_the_user_set_stays_and_the_rest_goes_by_it():
    flags = [("model.name", "resnet18"), ("data.source", "photos"), ("data.batch_size", 64), ("train.epochs", 30),
             ("model.fields.image_size", 96)]
    sets = ["augment={crop: centre}", "schedule.name=linear"]
    run, choice = configured(flags, recipe=None, config=None, sets=sets)
    run, _ = scaled(run, choice, ICONS)
    assert (run.data.batch_size, run.train.epochs, run.optim.lr) == (64, 30, 1e-3)      # also where it is the recipe's
    assert run.model.fields["image_size"] == 96 and run.augment.crop == "centre" and run.schedule.name == "linear"
    run, choice = configured([*flags[:2], ("data.batch_size", 256), ("optim.lr", 0.3)], recipe=None, config=None,
                             sets=())
    run, _ = scaled(run, choice, PHOTOS._replace(images=2560))
    assert (run.optim.lr, run.train.epochs) == (0.3, 200)


def test_small_pictures_are_not_blown_up():
    def sized(name, found, **fields):
        run, _ = configured([("model.name", name), ("model.fields", fields or None)], recipe="modern", config=None,
                            sets=())
        return fit.input_size(run, found)

    assert sized("resnet18", ICONS) == 64 and sized("resnet18", ICONS._replace(sizes=[(100, 90)])) == 96
    assert sized("resnet18", ICONS._replace(sizes=())) == 224 == sized("resnet18", PHOTOS)
    assert sized("resnet20_cifar", ICONS) == 32 == sized("lenet5_modern", NUMBERS)
    assert sized("inception_v3", ICONS) == 128          # smaller ones do not reach its side classifier


def test_characters_are_neither_mirrored_nor_cropped():
    run, choice = configured([("model.name", "mobilenet_v2_035")], recipe=None, config=None, sets=())
    run, told = scaled(run, choice, NUMBERS)
    assert run.augment.flip == 0 and run.augment.policy == "none" and run.augment.crop == "centre"
    assert any(run.augment.affine) and run.preprocess.crop_pct == 1 and run.model.fields["image_size"] == 64
    assert "no mirror images, for these are characters" in told[1]
    assert run.model.fields["norm_momentum"] == 0.1             # the authors' 0.003 would not know these images yet
    run, choice = configured([("model.name", "resnet18"), ("data.source", "photos"), ("model.weights", "x")],
                             recipe=None, config=None, sets=())
    run, _ = scaled(run, choice, NUMBERS._replace(name="mnist_png"))
    assert run.recipe == "finetune" and run.augment.flip == 0 and "image_size" not in run.model.fields
    assert run.preprocess == recipe("finetune").preprocess      # the weights' own takes its place


@pytest.mark.parametrize(("found", "characters"), [
    (NUMBERS, True), (ICONS, False), (ICONS._replace(name="MNIST-png"), True),
    (ICONS._replace(name="kmnist.npz"), True),
    (ICONS._replace(name="fashion-mnist"), False), (NUMBERS._replace(name="scans"), True),
    (NUMBERS._replace(name="cifar10_png", gray=False), False),
    (NUMBERS._replace(name="scans", classes=("0", "1")), False),
])
def test_characters_are_known_by_name_or_by_their_classes(found, characters):
    assert found.characters is characters


@pytest.mark.parametrize(("name", "groups"), [("lenet5", 0), ("resnet20_cifar", 1)])
def test_a_classifier_without_weights_has_no_rate(name, groups):
    run, choice = configured([("model.name", name), ("data.source", "photos"), ("model.weights", "x")], recipe=None,
                             config=None, sets=())
    assert len(scaled(run, choice, ICONS)[0].optim.groups) == groups


def test_a_loss_that_the_outputs_are_made_for_stays():
    run, choice = configured([("model.name", "lenet5"), ("data.source", "photos")], recipe=None, config=None, sets=())
    assert scaled(run, choice, PHOTOS)[0].loss == recipe("lenet5").loss
    run, choice = configured([("model.name", "lenet5"), ("data.source", "photos")], recipe=None, config=None,
                             sets=["loss.name=cross_entropy"])
    assert scaled(run, choice, PHOTOS)[0].loss.name == "cross_entropy"


@pytest.mark.parametrize("images", [1, 15, 256, 480, 1437, 5000, 50_000, 10**6, 10**8])
def test_steps_and_passes_have_bounds(images):
    batch = fit.batch_size(images)
    assert fit.BATCHES[0] <= batch <= fit.BATCHES[1] and batch & (batch - 1) == 0
    assert batch in fit.BATCHES or batch <= math.sqrt(images) < 2 * batch
    for name, length in fit.LENGTHS.items():
        usual, steps = recipe(name).train.epochs, -(-images // batch)
        passes = fit.epochs(usual, steps, length)
        assert 1 <= passes <= fit.PASSES
        assert passes in (1, usual, fit.PASSES) or length.least <= passes * steps <= length.most
        assert passes == 1 or passes * steps <= length.most


def test_what_is_found_in_data(tmp_path):
    found = fit.looked_at(CLASSES, open_data(Data()))
    assert (found.images, found.held, found.gray, set(found.sizes)) == (1437, 360, True, {(8, 8)}) and found.characters
    for number in range(8):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((20 + number, 30, 3), np.uint8)).save(path)
    found = fit.looked_at(CLASSES, open_data(Data(source=str(tmp_path / "photos"))))
    assert found.images + found.held == 8 and found.classes == ("a", "b") and not found.gray
    assert found.side in range(20, 28) and all(width == 30 for _, width in found.sizes)
