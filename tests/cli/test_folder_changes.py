"""A folder that changes after training: the run goes on with, and is judged on, the images that it began with."""

import csv
import gzip
import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from convatlas.runs.folder import held

SMALL = ("--image-size", 28, "--batch-size", 8, "--set", "train.seed=1")


def photos(folder, classes=("cat", "dog"), count=12):
    dice = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = dice.integers(0, 120, (28, 28)) + 120 * number
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture
def begun(inside, tmp_path):
    done = inside("train", "lenet1", photos(tmp_path / "photos"), *SMALL, "--epochs", 1, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    return tmp_path / "run"


def test_added_images_change_no_bit(inside, begun, tmp_path):
    data = tmp_path / "photos"
    shutil.copytree(begun, tmp_path / "other")
    whole = inside("train", "--resume", tmp_path / "other", "--epochs", 2)
    assert whole.returncode == 0, whole.stderr
    before = json.loads(inside("eval", begun, data, "--json").stdout)
    for i in range(7):
        (data / "cat" / f"0new{i}.png").write_bytes((data / "dog/3.png").read_bytes())
    after = inside("eval", begun, data, "--json")
    assert "7 image(s) are new" in after.stderr
    assert {**json.loads(after.stdout), "images_per_second": 0} == {**before, "images_per_second": 0}
    assert before["split"] == "val" and before["count"] == 5
    done = inside("train", "--resume", begun, "--epochs", 2)
    assert done.returncode == 0, done.stderr
    ours, theirs = (load_file(run / "model.safetensors") for run in (begun, tmp_path / "other"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs) and ours.keys() == theirs.keys()


def test_other_classes_are_refused_unless_accepted(inside, begun, tmp_path):
    data = tmp_path / "photos"
    (data / "cat").rename(data / "zebra")
    for words in (("eval", begun, data), ("train", "--resume", begun, "--epochs", 2)):
        done = inside(*words)
        assert done.returncode == 2, done.stdout
        assert "classes were 'cat', 'dog' and are 'dog', 'zebra'" in done.stderr and "--accept-changes" in done.stderr
    assert inside("eval", begun, data, "--accept-changes").returncode == 0
    done = inside("train", "--resume", begun, "--epochs", 2, "--accept-changes")     # half of the images are gone
    assert done.returncode == 2 and "steps_per_epoch = 3" in done.stderr


def test_a_training_image_that_is_gone(inside, begun, tmp_path):
    with gzip.open(begun / "images.csv.gz", "rt") as text:
        name = next(row["name"] for row in csv.DictReader(text) if row["part"] == "train")
    (tmp_path / "photos" / name).unlink()
    assert inside("eval", begun, tmp_path / "photos").returncode == 0
    words = ("train", "--resume", begun, "--epochs", 2)
    done = inside(*words)
    assert done.returncode == 2 and "1 training image(s) are missing" in done.stderr
    assert inside(*words, "--accept-changes").returncode == 0


def test_looks_at_a_run_take_what_it_held_out(inside, begun, tmp_path):
    shown = inside("inspect", "predictions", begun, "--data", tmp_path / "photos", "--count", 50, "--json", "--out",
                   tmp_path / "sheet.png")
    assert shown.returncode == 0, shown.stderr
    images = {each["image"] for each in json.loads(shown.stdout)["images"]}
    assert len(images) == 5


def test_one_process_at_a_time_goes_on_with_a_run(inside, begun):
    words = ("train", "--resume", begun, "--epochs", 2)
    with held(begun):
        for again in (words, ("train", "lenet1", "--out", begun, "--force")):
            done = inside(*again)
            assert ("no DATA is named: the digits" in done.stderr) == ("--force" in again)
            assert done.returncode == 2 and f"is being trained by process {os.getpid()} on " in done.stderr
    assert (begun / "model.safetensors").is_file() and inside(*words).returncode == 0
