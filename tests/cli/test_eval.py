"""`convatlas eval` and `convatlas runs compare` with data, as a user runs them."""

import csv
import json
import os
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(scope="session")
def other(tmp_path_factory):
    """A second run on the same digits."""
    from convatlas.cli import main

    folder = tmp_path_factory.mktemp("trained") / "other"
    assert main(["train", "lenet5", "digits", "--epochs", "1", "--seed", "5", "--out", str(folder)]) == 0
    return folder


def read(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_figures_and_files(inside, trained, tmp_path):
    found = read(inside("eval", trained, "digits", "--json", "--top-k", 2, "--out", tmp_path / "judged"))
    low, high = found["top1_interval"]
    assert low < found["top1"] < high and found["top1"] <= found["top2"] <= found["top5"]
    assert found["preprocess"].startswith("short side 28: the centre (32×32, black where the picture ends); bilinear; "
                                          "(x − 0.07843)")
    assert len(found["classes"]) == 10 and sum(row["count"] for row in found["classes"]) == 360

    files = {path.name: path for path in (tmp_path / "judged").iterdir()}
    assert set(files) == {"confusion.csv", "confusion.png", "predictions.csv", "calibration.json", "calibration.png"}
    header, *matrix = csv.reader(files["confusion.csv"].open())
    counts = np.array([row[1:] for row in matrix], int)
    assert header[1:] == [str(i) for i in range(10)] and counts.sum() == 360
    assert np.trace(counts) / 360 == pytest.approx(found["top1"])
    rows = list(csv.DictReader(files["predictions.csv"].open()))
    assert len(rows) == 360 and sum(int(row["right"]) for row in rows) == np.trace(counts)
    assert all((row["true"] == row["predicted"]) == (row["right"] == "1") for row in rows)
    calibration = json.loads(files["calibration.json"].read_text())
    assert (calibration["error"] == found["calibration_error"]
            and sum(part["count"] for part in calibration["bins"]) == 360)
    for name in ("confusion.png", "calibration.png"):
        with Image.open(files[name]) as picture:
            assert min(picture.size) > 400


def test_what_a_person_sees(inside, trained):
    done = inside("eval", trained, "digits", "--top-k", 3)
    assert done.returncode == 0 and "top-3" in done.stdout and "top-5" not in done.stdout
    for word in ("360 images", "images/s", "short side 28", "top-1", "with 95 % confidence", "loss", "(map)",
                 "calibration error"):
        assert word in done.stdout, word


def test_protocols_by_name_and_by_parts(inside, trained):
    named = read(inside("eval", trained, "digits", "--protocol", "alexnet-10crop", "--json"))
    parts = read(inside("eval", trained, "digits", "--scales", 37, "--crops", 10, "--json"))
    assert named["protocol"]["scales"] == [37] and named["protocol"] == parts["protocol"]
    assert {key: named[key] for key in ("top1", "loss", "top5")} == {key: parts[key]
                                                                     for key in ("top1", "loss", "top5")}
    changed = read(inside("eval", trained, "digits", "--protocol", "alexnet-10crop", "--no-flip", "--crop-pct",
                          "0.8", "--json"))
    assert (changed["protocol"]["scales"] == [40] and not changed["protocol"]["flip"]
            and changed["protocol"]["crops"] == 5)


def test_an_ensemble(inside, trained, other):
    found = read(inside("eval", "--ensemble", trained, other, "digits", "--weights", "3,1", "--json"))
    assert [member["weight"] for member in found["members"]] == [0.75, 0.25]
    for member, folder in zip(found["members"], (trained, other), strict=True):
        assert member["top1"] == read(inside("eval", folder, "digits", "--json"))["top1"]
    shown = inside("eval", trained, other, "digits", "--ensemble")
    assert shown.returncode == 0 and "member" in shown.stdout and "log loss" in shown.stdout


def test_two_runs_are_compared(inside, trained, other):
    found = read(inside("runs", "compare", trained, other, "digits", "--json"))["judged"]
    (test,) = found["mcnemar"]
    accuracies = [run["top1"] for run in found["runs"]]
    assert (test["both"] + test["only_a"]) / 360 == pytest.approx(accuracies[0])
    assert (test["both"] + test["only_b"]) / 360 == pytest.approx(accuracies[1]) and 0 <= test["p"] <= 1
    shown = inside("runs", "compare", trained, other, "digits")
    assert "judged on digits" in shown.stdout and "McNemar" in shown.stdout
    assert "McNemar" not in inside("runs", "compare", trained, other).stdout


def test_every_protocol_can_be_named():
    from convatlas.cli.eval import Name
    from convatlas.evaluation.protocol import PROTOCOLS

    assert get_args(Name) == tuple(PROTOCOLS)


@pytest.mark.parametrize("words, said", [
    (["--crops", "5", "--dense"], "without crops"),
    (["--scales", "32,x"], "'32,x'"),
    (["--scales", "32", "--crop-pct", "0.9"], "give one of them"),
    (["--image-size", "3"], "the least is"),
    (["--protocol", "alexnet"], "alexnet-10crop"),
    (["--ensemble", "--shares", "1,2"], "an ensemble of 1 takes 1"),
    (["--top-k", "0"], "at least 1"),
])
def test_what_does_not_fit_is_told(inside, trained, words, said):
    done = inside("eval", trained, "digits", *words)
    assert done.returncode == 2 and said in " ".join(done.stderr.split()) and not done.stdout, done.stderr


def test_several_networks_need_the_flag(inside, trained, tmp_path):
    assert "--ensemble" in inside("eval", trained, trained, "digits").stderr
    (tmp_path / "file").write_text("")
    done = inside("eval", trained, "digits", "--out", tmp_path / "file")
    assert done.returncode == 2 and "cannot write to the folder" in done.stderr


@pytest.mark.slow
def test_weights_of_torchvision(inside, tmp_path):
    torchvision = pytest.importorskip("torchvision")
    torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), tmp_path / "resnet18.pth")
    done = inside("eval", tmp_path / "resnet18.pth", "digits", "--image-size", 64, "--json")
    assert read(done)["protocol"]["image_size"] == [64, 64] and "do not name their classes" in done.stderr


def test_two_processes_give_the_result_of_one(inside, trained):
    """The last batches are not full, and one process has nothing to do in the last of them."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "convatlas",
             "eval", str(trained), "digits", "--device", "cpu", "--protocol", "alexnet-10crop",
             "--batch-size", "101", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    two, one = read(done), read(inside("eval", trained, "digits", "--protocol", "alexnet-10crop", "--json"))
    assert (two["count"] == 360 and two["classes"] == one["classes"] and two["top1"] == one["top1"]
            and two["top5"] == one["top5"])
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
