"""Folders, tables and arrays as people have them, from the command line: understood and told, or refused."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

import convatlas

TRAIN = ("--epochs", 1, "--image-size", 32, "--in-chans", 1, "--batch-size", 8)


def done(finished):
    assert finished.returncode == 0, finished.stderr
    return finished


def classes(run):
    return convatlas.load(run).card.classes


def test_split_words_are_no_classes(inside, stripes, tmp_path):
    for part, keep in (("Training", range(8)), ("Testing", range(8, 12))):
        for name in ("across", "upright"):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for i in keep:
                shutil.copy(stripes / name / f"{i:02}.png", tmp_path / "data" / part / name)
    told = done(inside("train", "lenet5_modern", tmp_path / "data", *TRAIN, "--out", tmp_path / "run"))
    assert classes(tmp_path / "run") == ("across", "upright")
    assert "Training/ for train and Testing/ for test" in told.stdout and "of 8)" in told.stdout


def test_one_label_per_file_trains_with_cross_entropy_and_with_bce(inside, stripes, tmp_path):
    files = sorted(stripes.rglob("*.png"))
    (stripes / "labels.csv").write_text("Image ID;Class\n" + "".join(
        f"{path.relative_to(stripes)};{path.parent.name}\n" for path in files))
    for loss in ("cross_entropy", "bce"):
        told = done(inside("train", "lenet5_modern", stripes, *TRAIN, "--set", f"loss.name={loss}",
                           "--out", tmp_path / loss))
        assert classes(tmp_path / loss) == ("across", "upright") and "that exclude each other" in told.stdout


def test_one_hot_arrays_train_with_cross_entropy_and_with_bce(inside, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (16, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "hot.npz", x=x, y=np.eye(2)[np.arange(16) % 2])
    for loss in ("cross_entropy", "bce"):
        told = done(inside("train", "lenet5_modern", tmp_path / "hot.npz", *TRAIN, "--set", f"loss.name={loss}",
                           "--out", tmp_path / loss))
        assert "read as one class each" in told.stdout


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
def test_predict_leaves_out_what_is_hidden_and_what_is_no_file(inside, trained, stripes):
    for hidden in (".cache", "across/.git", "__MACOSX"):
        shutil.copytree(stripes / "upright", stripes / hidden)
    os.mkfifo(stripes / "across" / "fifo.png")
    (stripes / "upright" / "zero.png").symlink_to("/dev/zero")
    (stripes / "notes.txt").touch()
    told = done(inside("predict", trained, stripes, "--json"))
    assert len(json.loads(told.stdout)["images"]) == 24
    assert f"Left out of {stripes}: 1 .txt, 3 hidden folders, 2 broken links or special files." in told.stderr


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are Unicode")
def test_names_that_are_no_utf_8_survive(inside, stripes, tmp_path):
    for path in stripes.rglob("*.png"):
        path.rename(path.with_name(os.fsdecode(b"caf\xe9" + os.fsencode(path.name))))
    data, run, found = stripes.rename(tmp_path / os.fsdecode(b"\xe9tat")), tmp_path / "run", tmp_path / "found"
    done(inside("train", "lenet5_modern", data, *TRAIN, "--out", run))
    assert classes(run) == ("across", "upright") and (run / "report.html").read_text(encoding="utf-8")
    done(inside("eval", run, data, "--out", found))
    assert b"\xe9tat/across/caf\xe9" in (found / "predictions.csv").read_bytes()
    told = json.loads(done(inside("predict", run, data, "--json")).stdout)
    assert {each["image"] for each in told["images"]} == {str(path) for path in data.rglob("*.png")}
    assert "caf\\udce900.png" in done(inside("predict", run, data / "across")).stdout
    done(inside("data", "shard", data, tmp_path / "shards"))
    refused = inside("train", "lenet5_modern", data, *TRAIN, "--out", tmp_path / os.fsdecode(b"\xe9"))
    assert refused.returncode == 2 and "is not UTF-8: name another with --out" in refused.stderr


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are Unicode")
def test_names_of_segmented_images_that_are_no_utf_8_survive(inside, tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for i in range(6):
            mask = np.zeros((32, 32), np.uint8)
            mask[8:20, i : i + 16] = 255
            Image.fromarray(mask).save(tmp_path / "data" / folder / os.fsdecode(b"caf\xe9%d.png" % i))
    done(inside("train", "unet", tmp_path / "data", *TRAIN, "--set", "model.fields.widths=[2,4]",
                "--out", tmp_path / "run"))
    done(inside("segment", tmp_path / "run", tmp_path / "data" / "images", "--out", tmp_path / "out"))
    assert b"caf\xe90.png" in (tmp_path / "out" / "areas.csv").read_bytes()
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {
        os.fsdecode(b"caf\xe9%d.labels.png" % i) for i in range(6)}
