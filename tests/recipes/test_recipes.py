"""Every recipe is a Run as its paper states it, belongs to networks that exist, and trains them."""

import csv
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

import convatlas
from convatlas.net import registry
from convatlas.recipes import about, names, recipe
from convatlas.run import Run

# named by --recipe: no network is trained so by itself
ALTERNATES = {"lenet5_lm", "densenet_svhn", "finetune", "modern", "unet_narrow"}
MODERN = {"lenet5_modern"}      # networks of no paper
NETWORKS = convatlas.list_models()

# Typed from the papers, not from the recipes: optimiser, rate, momentum (beta1), weight decay, images per step, passes
PUBLISHED = {
    "lenet5_lm":           ("lm",         5e-4,  0.0,  0.0,    1,    20),
    "zipcode":             ("sgd",        0.01,  0.0,  0.0,    1,    23),
    "alexnet":             ("sgd_caffe",  0.01,  0.9,  5e-4,   128,  90),
    "alexnet_cifar":       ("sgd_caffe",  0.001, 0.9,  0.0,    128,  40),
    "vgg":                 ("sgd_caffe",  0.01,  0.9,  5e-4,   256,  370_000 * 256 / 1_281_167),
    "nin":                 ("sgd_caffe",  0.1,   0.9,  1e-4,   128,  120_000 * 128 / 50_000),
    "googlenet":           ("sgd_caffe",  0.01,  0.9,  2e-4,   32,   10_000_000 * 32 / 1_281_167),
    "bn_inception":        ("sgd",        0.045, 0.9,  4e-5,   32,   6_000_000 * 32 / 1_281_167),
    "inception_v3":        ("rmsprop_tf", 0.045, 0.9,  4e-5,   1600, 100),
    "inception_v4":        ("rmsprop_tf", 0.045, 0.9,  4e-5,   640,  100),
    "allcnn":              ("sgd",        0.05,  0.9,  1e-3,   128,  350),
    "allcnn_imagenet":     ("sgd_caffe",  0.01,  0.9,  5e-4,   64,   450_000 * 64 / 1_281_167),
    "resnet":              ("sgd_caffe",  0.1,   0.9,  1e-4,   256,  600_000 * 256 / 1_281_167),
    "resnet_cifar":        ("sgd_caffe",  0.1,   0.9,  1e-4,   128,  64_000 * 128 / 50_000),
    "resnet110_cifar":     ("sgd_caffe",  0.1,   0.9,  1e-4,   128,  64_000 * 128 / 50_000),
    "preact_resnet":       ("sgd",        0.1,   0.9,  1e-4,   256,  90),
    "preact_resnet_cifar": ("sgd",        0.1,   0.9,  1e-4,   128,  200),
    "wide_resnet":         ("sgd",        0.1,   0.9,  1e-4,   256,  90),
    "wide_resnet_cifar":   ("sgd",        0.1,   0.9,  5e-4,   128,  200),
    "resnext":             ("sgd",        0.1,   0.9,  1e-4,   256,  90),
    "resnext_cifar":       ("sgd",        0.1,   0.9,  5e-4,   128,  300),
    "densenet":            ("sgd",        0.1,   0.9,  1e-4,   256,  90),
    "densenet_cifar":      ("sgd",        0.1,   0.9,  1e-4,   64,   300),
    "densenet_svhn":       ("sgd",        0.1,   0.9,  1e-4,   64,   40),
    "senet":               ("sgd_caffe",  0.6,   0.9,  1e-4,   1024, 100),
    "mobilenet_v1":        ("rmsprop_tf", 0.045, 0.9,  4e-5,   1600, 100),
    "mobilenet_v2":        ("rmsprop_tf", 0.045, 0.9,  4e-5,   1536, 200),
    "mobilenet_v3":        ("rmsprop_tf", 0.1,   0.9,  1e-5,   4096, 600),
    "efficientnet":        ("rmsprop_tf", 0.256, 0.9,  1e-5,   4096, 350),
    "unet":                ("sgd_caffe",  1e-3,  0.99, 0.0,    1,    600),
    "fcn":                 ("sgd_caffe",  1e-10, 0.99, 5e-4,   1,    100_000 / 8_498),
    "fcn_alexnet":         ("sgd_caffe",  1e-4,  0.9,  5e-4,   20,   100_000 * 20 / 8_498),
    "fcn_googlenet":       ("sgd_caffe",  5e-5,  0.9,  5e-4,   20,   175),
    "repvgg":              ("sgd",        0.1,   0.9,  1e-4,   256,  120),
    "repvgg_200":          ("sgd",        0.1,   0.9,  1e-4,   256,  200),
    "convnext":            ("adamw",      4e-3,  0.9,  0.05,   4096, 300),
    "replknet":            ("adamw",      4e-3,  0.9,  0.05,   2048, 300),
    "slak":                ("adamw",      4e-3,  0.9,  0.05,   4096, 300),
    "slak_small":          ("adamw",      4e-3,  0.9,  0.05,   4096, 300),
}
# Adam in place of Levenberg-Marquardt; numbers that the paper leaves open; no paper
OURS = {"finetune", "lecun1989", "lenet5", "modern", "unet_narrow"}

# Where the rate falls, in iterations of the paper, and to what share of the first one
FALLS = {
    "resnet_cifar": (128 / 50_000, [(32_000, 0.1), (48_000, 0.01)]),
    "resnet110_cifar": (128 / 50_000, [(32_000, 0.1), (48_000, 0.01)]),
    "preact_resnet_cifar": (128 / 50_000, [(32_000, 0.1), (48_000, 0.01)]),
    "allcnn_imagenet": (64 / 1_281_167, [(200_000, 0.1), (400_000, 0.01)]),
    "wide_resnet_cifar": (1, [(60, 0.2), (120, 0.2**2), (160, 0.2**3)]),
    "allcnn": (1, [(200, 0.1), (250, 0.01), (300, 0.001)]),
    "densenet_svhn": (1, [(20, 0.1), (30, 0.01)]),
    "senet": (1, [(30, 0.1), (60, 0.01), (90, 0.001)]),
    "lenet5_lm": (1, [(2, 2 / 5), (5, 1 / 5), (8, 0.5 / 5), (12, 0.1 / 5)]),
}


def test_no_recipe_is_without_a_line():
    assert set(names()) == PUBLISHED.keys() | OURS


@pytest.mark.parametrize("name", names())
def test_a_recipe_travels_through_yaml(name):
    assert recipe(name).recipe == name
    assert Run.from_yaml(recipe(name).to_yaml()) == recipe(name)


@pytest.mark.parametrize("name", names())
def test_a_recipe_and_its_network_name_each_other(name):
    found = registry.variant(recipe(name).model.name)
    assert found.name == recipe(name).model.name, "the name, not an alias"
    if name not in ALTERNATES:
        assert found.recipe == name
    registry.change(found.spec, recipe(name).model.fields)      # refuses fields that the network does not have


def test_a_network_has_a_recipe_of_its_own():
    for name in NETWORKS:
        found = registry.VARIANTS[name]
        assert found.recipe in names(), name
        assert (found.recipe == "modern") == (name in MODERN), name
        on_cifar = recipe(found.recipe).data.source in ("cifar10", "svhn")
        digits = found.family in ("lenet4", "lenet5")
        assert on_cifar == (found.spec.image_size == 32 and not digits), f"{name}: those for 32×32 have a recipe for it"


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_chief_figures_are_the_papers(name):
    run = recipe(name)
    optimizer, rate, momentum, decay, images, passes = PUBLISHED[name]
    assert (run.optim.name, run.optim.lr, run.optim.momentum,
            run.optim.weight_decay) == (optimizer, rate, momentum, decay)
    assert (run.data.batch_size, run.train.epochs) == (images, math.ceil(passes))


@pytest.mark.parametrize("name", FALLS)
def test_the_rate_falls_where_the_paper_says(name):
    passes_per_iteration, falls = FALLS[name]
    expected = [(at * passes_per_iteration, factor) for at, factor in falls]
    assert np.allclose(recipe(name).schedule.steps, expected, rtol=1e-3)


@pytest.mark.parametrize(("name", "factor", "every"), [
    ("googlenet", 0.96, 8), ("bn_inception", 0.96, 8 / 6), ("inception_v3", 0.94, 2), ("mobilenet_v2", 0.98, 1),
    ("mobilenet_v3", 0.99, 3), ("efficientnet", 0.97, 2.4),
])
def test_the_rate_of_googles_papers_falls_exponentially(name, factor, every):
    schedule = recipe(name).schedule
    assert (schedule.name, schedule.factor, schedule.every) == ("exponential", factor, every)


@pytest.mark.parametrize("name", names())
def test_what_it_is_and_where_it_departs_is_written(name):
    text = " ".join(about(name).split())
    assert "As published" in text
    assert name in ("finetune", "modern") or ("Departs: " in text and " — " in text)
    assert all(len(line) <= 130 for line in about(name).splitlines())


@pytest.mark.parametrize("name", ["alexnet", "vgg", "nin", "googlenet", "fcn", "fcn_alexnet", "fcn_googlenet", "repvgg",
                                  "repvgg_200", "mobilenet_v1"])
def test_every_group_has_parameters(name):
    """A pattern that fits no parameter would change nothing, silently."""
    from fnmatch import fnmatchcase

    with torch.device("meta"):
        parameters = [p for p, _ in convatlas.create_model(recipe(name).model.name).named_parameters()]
    for group in recipe(name).optim.groups:
        assert any(fnmatchcase(parameter, group.names) for parameter in parameters), group.names


# Small networks of each family, and the least input they take: recipe → network, fields
SMALL = {
    "lecun1989": ("lecun1989_net5", {}),
    "alexnet": ("alexnet_owt", {"image_size": 64}),
    "alexnet_cifar": ("alexnet_cifar", {}),
    "finetune": ("resnet18", {"image_size": 32}),
    "allcnn": ("strided_cnn_a", {"image_size": 16}),
    "allcnn_imagenet": ("nin_imagenet", {"image_size": 67}),
    "bn_inception": ("bn_inception", {"image_size": 32}),
    "convnext": ("convnext_tiny", {"image_size": 32, "channels": (8, 8, 16, 16), "blocks": (1, 1, 1, 1)}),
    "densenet": ("densenet121", {"image_size": 32, "layers": (2, 2, 2, 2), "growth": 8}),
    "densenet_cifar": ("densenet_bc_100_12_cifar", {"image_size": 16, "layers": 2}),
    "densenet_svhn": ("densenet_bc_100_12_cifar", {"image_size": 16, "layers": 2}),
    "efficientnet": ("efficientnet_b0", {"image_size": 32, "width": 0.25}),
    "googlenet": ("googlenet", {"image_size": 224}),
    "inception_v3": ("inception_v3", {"image_size": 75, "aux": False}),
    "inception_v4": ("inception_resnet_v1", {"image_size": 75}),
    "lenet5": ("lenet5", {}),
    "lenet5_lm": ("lenet5", {}),
    "mobilenet_v1": ("mobilenet_v1_025", {"image_size": 32}),
    "mobilenet_v2": ("mobilenet_v2_035", {"image_size": 32}),
    "mobilenet_v3": ("mobilenet_v3_small_075", {"image_size": 32}),
    "modern": ("lenet5_modern", {}),
    "nin": ("nin_cifar10", {"image_size": 16}),
    "preact_resnet": ("preact_resnet18", {"image_size": 32}),
    "preact_resnet_cifar": ("preact_resnet164_cifar", {"image_size": 16, "blocks": 1}),
    "replknet": ("replknet_31b", {"image_size": 32, "channels": (8, 8, 16, 16), "blocks": (1, 1, 1, 1)}),
    "repvgg": ("repvgg_a0", {"image_size": 32}),
    "repvgg_200": ("repvgg_a0", {"image_size": 32}),
    "resnet": ("resnet18", {"image_size": 32}),
    "resnet110_cifar": ("resnet20_cifar", {"image_size": 16}),
    "resnet_cifar": ("resnet20_cifar", {"image_size": 16}),
    "resnext": ("resnext50_32x4d", {"image_size": 32, "depths": (1, 1, 1, 1)}),
    "resnext_cifar": ("resnext29_8x64d_cifar", {"image_size": 16, "blocks": 1, "width": 4}),
    "senet": ("se_resnet18", {"image_size": 32}),
    "slak": ("slak_tiny", {"image_size": 32, "channels": (8, 8, 16, 16), "blocks": (1, 1, 1, 1)}),
    "slak_small": ("slak_tiny", {"image_size": 32, "channels": (8, 8, 16, 16), "blocks": (1, 1, 1, 1)}),
    "vgg": ("vgg11", {"image_size": 32, "fc": 32}),
    "wide_resnet": ("wide_resnet50_2", {"image_size": 32, "depths": (1, 1, 1, 1)}),
    "wide_resnet_cifar": ("wide_resnet16_4_cifar", {"image_size": 16, "widen": 1}),
    "zipcode": ("lecun1989_net5", {}),
}
PIXELWISE = {       # their labels are pictures: network, fields, images per step
    "unet": ("unet", {"widths": [4, 8], "padding": "same", "image_size": 32}, 1),
    "unet_narrow": ("unet_same", {"widths": [4, 8], "image_size": 32}, 2),
    "fcn": ("fcn32s_alexnet", {"image_size": 64}, 1),
    "fcn_alexnet": ("fcn32s_caffenet", {"image_size": 64}, 2),
    "fcn_googlenet": ("fcn32s_googlenet", {"image_size": 64}, 2),
}
QUICK = {"resnet_cifar", "convnext", "slak", "lenet5_lm", "mobilenet_v3"}


def test_every_recipe_has_a_small_network():
    assert set(names()) == SMALL.keys() | PIXELWISE.keys()


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
                                  for name in SMALL])
def test_two_steps(name, tmp_path):
    network, fields = SMALL[name]
    images = min(recipe(name).data.batch_size, 4)
    dice = np.random.default_rng(0)
    count = max(2 * images, 4)      # each class has one
    pixels = dice.integers(0, 256, (count + 2, 40, 40, 3), dtype=np.uint8)
    np.savez(tmp_path / "four.npz", x_train=pixels[2:], y_train=np.arange(count) % 4, x_test=pixels[:2],
             y_test=np.arange(2), classes=np.array(["north", "east", "south", "west"]))
    run = recipe(name)
    run = run.change("model.name", network, "model.fields", run.model.fields | fields, "data.source",
                     str(tmp_path / "four.npz"), "data.batch_size", images, "train.epochs", 1, "train.device", "cpu")
    trained = convatlas.train(run, out=tmp_path / "run")

    row = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))[-1]
    assert int(float(row["step"])) == max(2, 4 // images)
    assert math.isfinite(float(row["train_loss"])) and math.isfinite(float(row["val_loss"]))
    assert trained.folder == tmp_path / "run"
    torch.manual_seed(run.train.seed)
    start = convatlas.create_model(network, num_classes=4, **run.model.fields).state_dict()
    after = convatlas.load(trained.folder).state_dict()
    assert any(not torch.equal(start[key], after[key]) for key in start)


@pytest.mark.parametrize("name", [name if name == "unet" else pytest.param(name, marks=pytest.mark.slow)
                                  for name in PIXELWISE])
def test_two_steps_on_pixels(name, tmp_path):
    from PIL import Image

    network, fields, images = PIXELWISE[name]
    dice = np.random.default_rng(0)
    for part, count in (("train", 2 * images), ("val", 1)):
        for kind, pixels in (("images", dice.integers(0, 256, (count, 64, 64, 3))),
                             ("masks", dice.integers(0, 3, (count, 64, 64)))):
            (tmp_path / "cells" / part / kind).mkdir(parents=True)
            for number, each in enumerate(pixels.astype(np.uint8)):
                Image.fromarray(each).save(tmp_path / "cells" / part / kind / f"{number}.png")
    run = recipe(name)
    run = run.change("model.name", network, "model.fields", run.model.fields | fields | {"in_chans": 3},
                     "data.source", str(tmp_path / "cells"), "data.batch_size", images,
                     "data.masks", "instances" if run.loss.border else "classes", "train.epochs", 1,
                     "train.device", "cpu")
    trained = convatlas.train(run, out=tmp_path / "run")
    (row,) = csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines())
    assert (int(float(row["step"])) == 2 and math.isfinite(float(row["train_loss"]))
            and math.isfinite(float(row["val_loss"])))
    torch.manual_seed(run.train.seed)
    start = convatlas.create_model(network, num_classes=convatlas.load(trained.folder).num_classes,
                                   **run.model.fields).state_dict()
    after = convatlas.load(trained.folder).state_dict()
    assert start.keys() == after.keys() and any(not torch.equal(start[key], after[key]) for key in start)


def test_the_page_is_what_the_recipes_say():
    """docs/recipes.md drifts unless somebody runs benchmarks/recipes_page.py."""
    root = Path(__file__).parents[2]
    written = runpy.run_path(str(root / "benchmarks" / "recipes_page.py"))["page"]()
    assert written == (root / "docs" / "recipes.md").read_text(encoding="utf-8")
