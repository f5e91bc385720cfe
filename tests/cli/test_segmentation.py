"""Training, judging and using a network that segments, as a user does."""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import convatlas
from convatlas import ConvatlasError
from convatlas.engine.records import read_rows
from convatlas.run import Preprocess, resolve

SMALL = ("--set", "model.fields.widths=[4, 8]", "--set", "model.fields.padding=same", "--image-size", 64,
         "--batch-size", 2, "--lr", 0.05, "--set", "optim.momentum=0.9", "--set", "loss.border=2")


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    """Bright discs on grey noise, some touching: images and numbered objects, 48×56."""
    root = tmp_path_factory.mktemp("discs")
    dice = np.random.default_rng(0)
    y, x = np.mgrid[:48, :56]
    (root / "images").mkdir()
    (root / "labels").mkdir()
    for number in range(15):
        labels = np.zeros((48, 56), np.uint16)
        for k in range(1, dice.integers(3, 7)):
            labels[(y - dice.integers(4, 44)) ** 2 + (x - dice.integers(4, 52)) ** 2 < dice.integers(16, 60)] = k
        labels = np.searchsorted(np.unique(labels), labels).astype(np.uint16)
        pixels = (90 + 110 * (labels > 0) + dice.normal(0, 12, labels.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{number:02d}.png")
        Image.fromarray(labels).save(root / "labels" / f"{number:02d}.png")
    return root


@pytest.fixture(scope="module")
def run(discs, cli, tmp_path_factory):
    """Six epochs of a small U-Net on them."""
    folder = tmp_path_factory.mktemp("seg") / "run"
    done = cli("train", "unet", discs, *SMALL, "--epochs", 6, "--out", folder)
    assert done.returncode == 0, done.stderr
    assert ("val IoU" in done.stdout and "objects, each with a number" in done.stdout
            and "segmentation.png" in done.stdout)
    return folder


def test_it_learns_and_leaves_a_picture(run):
    rows = read_rows(run / "metrics.csv")
    assert (len(rows) == 6 and max(row["val_iou"] for row in rows) > 0.8
            and rows[-1]["train_loss"] < rows[0]["train_loss"])
    assert Image.open(run / "segmentation.png").width > 800


def test_an_interrupted_run_ends_as_if_it_had_not_been(run, discs, tmp_path, cli):
    done = cli("train", "unet", discs, *SMALL, "--epochs", 3, "--out", tmp_path / "part")
    assert done.returncode == 0, done.stderr
    done = cli("train", "--resume", tmp_path / "part", "--epochs", 6)
    assert done.returncode == 0, done.stderr
    whole, parts = read_rows(run / "metrics.csv"), read_rows(tmp_path / "part" / "metrics.csv")
    same = ("train_loss", "train_top1", "val_loss", "val_iou", "val_top1", "lr")
    assert [[row[name] for name in same] for row in whole] == [[row[name] for name in same] for row in parts]


@pytest.mark.slow
def test_two_processes_learn_what_one_does(discs, tmp_path, cli):
    """Without dropout, which each process draws for itself."""
    words = ["train", "unet", discs, *SMALL, "--set", "model.fields.drop_rate=0", "--epochs", 2, "--out"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "convatlas"]
    done = subprocess.run([str(word) for word in (*launch, *words, tmp_path / "two")],
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert cli(*words, tmp_path / "one").returncode == 0
    for one, two in zip(*(read_rows(tmp_path / name / "metrics.csv") for name in ("one", "two")), strict=True):
        assert [two[name] for name in ("train_loss", "val_loss", "val_iou")] == pytest.approx(
            [one[name] for name in ("train_loss", "val_loss", "val_iou")], rel=1e-3)


def test_a_network_on_a_trained_encoder(discs, cli, tmp_path):
    """From a classifier's weights, whose preprocessing comes with them."""
    classifier = convatlas.create_model("resnet20_cifar", num_classes=3)
    classifier.card = replace(classifier.card, preprocess=Preprocess(mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2)))
    weights = convatlas.save(classifier, tmp_path / "c.safetensors")
    done = cli("train", "unet_resnet34", discs, "--weights", weights, "--set", "model.fields.encoder=resnet20_cifar",
               "--set", "model.fields.decoder_widths=[8, 6]", *SMALL[4:8], "--lr", 1e-9, "--epochs", 1,
               "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "c.safetensors" in done.stdout and "grey images are repeated on three channels" in done.stdout
    net = convatlas.load(tmp_path / "run")
    assert net.card.preprocess == classifier.card.preprocess and net.spec.encoder == "resnet20_cifar"
    for name, tensor in net.stages.named_parameters():
        assert (tensor - classifier.stages.get_parameter(name)).abs().max() < 1e-4


@pytest.mark.slow
def test_fcn_is_trained_by_its_recipe(discs, cli, tmp_path):
    done = cli("train", "fcn32s_alexnet", discs, "--image-size", 64, "--epochs", 1, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    row, = read_rows(tmp_path / "run" / "metrics.csv")
    assert 0.9 < row["train_loss"] / (64 * 64 * math.log(2)) < 0.999, ("a sum over the pixels, of scores that begin at "
                                                                       "zero, and fall")


def test_it_is_judged_as_papers_do(run, discs, inside):
    done = inside("eval", run, discs, "--objects", "watershed", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    best = max(row["val_iou"] for row in read_rows(run / "metrics.csv"))
    assert found["mean_iou"] == pytest.approx(best, abs=1e-9) and found["images"] == 3
    assert 0 < found["average_precision"] <= 1 and 0 <= found["rand_error"] < 1
    assert 0 <= found["foreground_rand_error"] < 1
    assert 0 <= found["warping_error"] < found["pixel_error"], "borders drawn a little elsewhere are no errors of it"
    assert sum(map(sum, found["confusion"])) == 3 * 48 * 56
    assert "mean IoU" in inside("eval", run, discs).stdout


def test_it_segments_and_is_looked_at(run, discs, tmp_path, inside):
    done = inside("segment", run, discs / "images" / "04.png", "--out", tmp_path / "out",
                  "--instances", "watershed", "--overlay")
    assert done.returncode == 0, done.stderr
    labels = np.asarray(Image.open(tmp_path / "out" / "04.labels.png"))
    truth = np.asarray(Image.open(discs / "labels" / "04.png")) > 0
    assert labels.shape == truth.shape and (labels == truth).mean() > 0.85
    assert (tmp_path / "out" / "04.instances.csv").is_file() and (tmp_path / "out" / "04.overlay.png").is_file()
    done = inside("inspect", "segmentation", run, discs / "images" / "04.png", "--mask", discs / "labels" / "04.png",
                  "--out", tmp_path / "look.svg", "--json")
    assert done.returncode == 0 and (tmp_path / "look.svg").read_text().count("<image") >= 4
    seen = json.loads(done.stdout)
    assert seen["right"] > 0.85 and sum(seen["pixels"].values()) == truth.size


def test_a_mask_is_looked_at_as_the_run_reads_masks(run, discs, tmp_path, inside):
    shutil.copytree(run, tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "data.json").read_text())
    kept["masks"] = {**kept["masks"], "kind": "binary", "values": [[0], [255]]}
    (tmp_path / "run" / "data.json").write_text(json.dumps(kept))
    done = inside("inspect", "segmentation", tmp_path / "run", discs / "images" / "04.png",
                  "--mask", discs / "labels" / "04.png", "--out", tmp_path / "look.png")
    assert done.returncode == 2 and "known are 0 and 255" in done.stderr


@pytest.mark.parametrize(("words", "sentence"), [
    (("--set", "augment.policy=trivial"),
     "augment.policy = 'trivial' is refused, for unet segments: it is for classifying images"),
    (("--mixup", 0.2), "augment.mixup = 0.2 is refused"),
    (("--cache", "disk"), "data.cache = 'disk' is refused"),
    (("--set", "loss.name=bce"), "loss.name = 'bce' is refused"),
    (("--set", "data.sampling=balanced"), "every pixel has one"),
    (("--image-size", "45", "--set", "model.fields.padding=valid"), "pad or crop them to the nearest"),
])
def test_what_cannot_be_is_told(discs, tmp_path, inside, words, sentence):
    done = inside("train", "unet", discs, "--epochs", 1, *SMALL[:4], "--image-size", 64, *words,
                  "--out", tmp_path / "x")
    assert done.returncode == 2 and sentence in " ".join(done.stderr.split())


@pytest.mark.parametrize("words", [
    ("--protocol", "centre"), ("--scales", 64), ("--crops", 5), ("--flip",), ("--dense",), ("--crop-pct", 0.9),
    ("--image-size", 64),
    ("--ensemble",), ("--shares", 1), ("--batch-size", 256), ("--workers", 0), ("--data-dir", "."), ("--download",),
    ("--top-k", 5),
])
def test_what_judging_pixels_does_not_take_is_refused_by_name(run, discs, tmp_path, inside, words):
    """Though it be the default."""
    done = inside("eval", run, discs, *words, "--out", tmp_path / "out")
    assert (done.returncode == 2 and f"{words[0]} is refused for a network that segments" in done.stderr
            and not done.stdout)
    assert not (tmp_path / "out").exists()


def test_figures_of_pixels_are_written(run, discs, tmp_path, inside):
    done = inside("eval", run, discs, "--objects", "components", "--json", "--out", tmp_path / "judged")
    assert done.returncode == 0, done.stderr
    found, files = json.loads(done.stdout), {path.name: path for path in (tmp_path / "judged").iterdir()}
    assert set(files) == {"figures.json", "classes.csv", "confusion.csv", "confusion.png"}
    written = json.loads(files["figures.json"].read_text())
    assert {**written, "images_per_second": 0} == {**{name: found[name] for name in written}, "images_per_second": 0}
    assert list(csv.DictReader(files["classes.csv"].open())) == [
        {name: str(row[name]) for name in ("class", "iou", "dice")} for row in found["classes"]]
    header, *matrix = csv.reader(files["confusion.csv"].open())
    assert (header[1:] == ["background", "object"]
            and [[int(cell) for cell in row[1:]] for row in matrix] == found["confusion"])


def test_an_image_that_cannot_be_read(run, discs, tmp_path, inside):
    """Skipped and counted, or with --strict the end, as of networks that classify; in training too."""
    shutil.copytree(discs, tmp_path / "discs")
    (tmp_path / "discs" / "images" / "09.png").write_bytes((discs / "images" / "09.png").read_bytes()[:60])
    done = inside("eval", run, tmp_path / "discs")
    assert done.returncode == 2 and "1 held-out image(s) are not what they were ('images/09.png')" in done.stderr
    done = inside("eval", run, tmp_path / "discs", "--json", "--accept-changes")
    assert done.returncode == 0 and json.loads(done.stdout)["skipped"] == 1 and json.loads(done.stdout)["images"] == 2
    for words in (("eval", run, tmp_path / "discs", "--accept-changes"),
                  ("train", "unet", tmp_path / "discs", *SMALL, "--epochs", 1, "--out", tmp_path / "x")):
        done = inside(*words, "--strict")
        assert done.returncode == 2 and "09.png" in done.stderr, done.stderr


def test_training_goes_on_without_what_cannot_be_read(discs, tmp_path, inside):
    """A broken image, a broken mask and one of another size; of the images held out, one of each."""
    root = shutil.copytree(discs, tmp_path / "discs")
    for place in ("images/00.png", "labels/03.png", "images/04.png", "labels/09.png"):
        (root / place).write_bytes((root / place).read_bytes()[:60])
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(root / "labels" / "07.png")
    done = inside("train", "unet", root, *SMALL, "--epochs", 2, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    told = " ".join((done.stdout + done.stderr).split())
    assert "2 masks cannot be read, and are skipped" in told and "skipped 5 images that could not be read" in told, told
    assert told.count("skipped: ") == 5
    assert len(read_rows(tmp_path / "run" / "metrics.csv")) == 2 and (tmp_path / "run" / "segmentation.png").is_file()


def test_in_python(run, discs):
    found = convatlas.evaluate(run, str(discs), objects="components")
    best = max(row["val_iou"] for row in read_rows(run / "metrics.csv"))
    assert found.metrics.mean_iou == pytest.approx(best, abs=1e-9)
    assert found.classes == ("background", "object") and found.objects == "components"
    assert convatlas.evaluate(convatlas.load(run), str(discs), split="train").result.count == 12
    for options, name in (({"protocol": "alexnet-10crop"}, "protocol"), ({"weights": [1]}, "weights"),
                          ({"workers": 2}, "workers")):
        with pytest.raises(ConvatlasError, match=f"{name} is refused for a network that segments"):
            convatlas.evaluate(run, str(discs), **options)
    with pytest.raises(ConvatlasError, match=r"`convatlas segment RUN IMAGE… --out "
                       r"DIR`.*convatlas\.segment\.run\.segment"):
        convatlas.predict(run, [discs / "images" / "04.png"])


def test_it_is_judged_on_what_it_held_out(discs, tmp_path):
    """As the run's val_fraction said, not as the default would."""
    run = resolve(convatlas.recipe("unet"), sets=[
        "model.fields={widths: [4, 8], padding: same, image_size: 64}", f"data.source={discs}", "data.val_fraction=0.5",
        "train.epochs=1", "train.seed=3"])
    trained = convatlas.train(run, out=tmp_path / "run")
    assert trained.evaluation.count == 7 and convatlas.evaluate(tmp_path / "run", str(discs)).result.count == 7
    assert convatlas.evaluate(convatlas.load(tmp_path / "run"), str(discs)).result.count == 7


@pytest.mark.parametrize("words", [("predictions", "{run}", "{image}"),
                                   ("neighbours", "{run}", "{image}", "--among", "{folder}")])
def test_what_looks_at_classes_is_not_for_pixels(run, discs, tmp_path, inside, words):
    image = discs / "images" / "04.png"
    done = inside("inspect", *(word.format(run=run, image=image, folder=image.parent) for word in words),
                  "--out", tmp_path / "a.png")
    assert done.returncode == 2 and "`convatlas inspect segmentation`" in done.stderr


def test_networks_of_two_tasks_are_not_judged_together(run, discs, trained, inside):
    for words in ((run, trained, discs), (trained, run, "digits")):
        done = inside("eval", "--ensemble", *words)
        assert done.returncode == 2 and ("--ensemble is refused" in done.stderr or "scores for pixels" in done.stderr)
    done = inside("runs", "compare", run, run, discs)
    assert done.returncode == 2 and "judges it alone" in done.stderr
    done = inside("eval", trained, "digits", "--objects", "none")
    assert done.returncode == 2 and "--objects is refused for a network that classifies" in done.stderr


def test_predict_names_the_command_for_pixels(run, discs, inside):
    done = inside("predict", run, discs / "images" / "04.png")
    assert done.returncode == 2 and "`convatlas segment RUN IMAGE… --out DIR`" in done.stderr and not done.stdout


def test_a_network_that_classifies_is_not_for_masks_and_the_reverse(discs, trained, tmp_path, inside):
    done = inside("segment", trained, discs / "images" / "04.png", "--out", tmp_path / "out")
    assert done.returncode == 2 and "not for pixels" in done.stderr
    done = inside("inspect", "segmentation", trained, discs / "images" / "04.png", "--out", tmp_path / "a.png")
    assert done.returncode == 2 and "not for pixels" in done.stderr
    done = inside("train", "unet", "digits", "--out", tmp_path / "x")
    assert done.returncode == 2 and "no folder of images and masks" in done.stderr
