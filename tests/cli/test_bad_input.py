"""Every mistake ends with one sentence that names the value and the remedy, a non-zero code, no traceback, nothing
lost.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def refused(done, *texts: str) -> str:
    assert done.returncode not in (0, None), done.stdout
    sentence = done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr + done.stdout
    for text in texts:
        assert text in done.stderr, (text, done.stderr)
    return sentence


@pytest.mark.parametrize(("words", "texts"), [
    (["train", "lenet6", "digits"], ["'lenet6'", "'lenet5'"]),
    (["train", "lenet5", "nowhere/at/all"], ["'nowhere/at/all'"]),
    (["train", "lenet5", "mnits"], ["'mnits'", "'mnist'"]),
    (["train", "lenet5", "mnist", "--data-dir", "."], ["mnist", "--download"]),
    (["train", "lenet5", "digits", "--set", "model.fields.num_clases=3"], ["'num_clases'", "'num_classes'"]),
    (["train", "lenet5", "digits", "--set", "optim.lrr=3"], ["optim.lrr", "'lr'"]),
    (["train", "lenet5", "digits", "--set", "optim.lr"], ["optim.lr=0.05"]),
    (["train", "lenet5", "digits", "--set", "model.fields.num_classes=5"], ["num_classes = 5", "10 classes"]),
    (["train", "lenet5", "digits", "--lr", "-1"], ["optim.lr = -1"]),
    (["train", "lenet5", "digits", "--epochs", "0"], ["train.epochs = 0"]),
    (["train", "lenet5", "digits", "--epochs", "many"], ["many"]),
    (["train", "lenet5", "digits", "--recipe", "lenet"], ["'lenet'", "'lenet5'"]),
    (["train", "lenet5", "digits", "--config", "absent.yaml"], ["absent.yaml"]),
    (["train", "lenet5", "digits", "--image-size", "20"], ["20×20", "32×32"]),
    (["train", "lenet5", "digits", "--device", "cuda"], ["cuda"]),
    (["train", "--resume", "absent"], ["absent"]),
    (["train", "lenet5", "digits", "--weights", "absent.safetensors"], ["absent.safetensors"]),
    (["eval", "absent", "digits"], ["absent"]),
    (["predict", "absent", "x.png"], ["absent"]),
    (["info", "lenet6"], ["'lenet5'"]),
    (["info", "lenet5", "--set", "img_size=3"], ["image_size"]),
    (["facts", "lenet6"], ["'lenet5'"]),
    (["recipe", "show", "lenet"], ["'lenet5'"]),
    (["list", "--family", "lenett5"], ["lenet5"]),
    (["trian", "lenet5"], ["train"]),
    (["train", "lenet5", "digits", "--epoch", "3"], ["--epochs"]),
])
def test_wrong_words(inside, tmp_path, words, texts):
    refused(inside(*words, cwd=tmp_path), *texts)
    assert list(tmp_path.iterdir()) == []           # nothing was begun


def test_debug_shows_the_traceback(cli, tmp_path):
    assert "Traceback" in cli("train", "lenet6", "digits", "--debug", cwd=tmp_path).stderr


def test_folders_that_are_no_data(inside, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(inside("train", "lenet5", tmp_path / "empty", cwd=tmp_path), "empty")
    for name in ("a", "b"):
        (tmp_path / "half" / name).mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "half" / "a" / "x.png")
    refused(inside("train", "lenet5", tmp_path / "half", cwd=tmp_path), "'b'")
    (tmp_path / "flat").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "flat" / "x.png")
    refused(inside("train", "lenet5", tmp_path / "flat", cwd=tmp_path), "flat")


def test_unreadable_images_are_skipped_and_counted_or_stop(inside, stripes, tmp_path):
    (stripes / "across" / "zz.png").write_bytes(b"not a picture")
    whole = (stripes / "upright" / "00.png").read_bytes()
    (stripes / "upright" / "zz.png").write_bytes(whole[: len(whole) // 2])
    words = ["train", "lenet5_modern", stripes, "--epochs", 1, "--batch-size", 8]
    done = inside(*words, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "2 images" in done.stdout + done.stderr or "skipped  2" in done.stdout
    refused(inside(*words, "--strict", "--out", tmp_path / "strict"), "zz.png")


def test_a_picture_that_predict_cannot_read(inside, trained, stripes, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG")
    done = inside("predict", trained, bad, stripes / "across" / "00.png")
    assert done.returncode == 0 and "bad.png" in done.stderr and "00.png" in done.stdout
    refused(inside("predict", trained, bad), "bad.png")
    refused(inside("predict", trained, bad, stripes / "across" / "00.png", "--strict"), "bad.png")


def test_a_finished_run_is_never_overwritten_silently(inside, trained, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    refused(inside("train", "lenet5", "digits", "--epochs", 1, "--out", copy), "--resume", "--force")
    assert {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before
    assert inside("train", "lenet5", "digits", "--epochs", 1, "--out", copy, "--force").returncode == 0
    assert len((copy / "metrics.csv").read_text().splitlines()) == 2


def test_a_folder_that_is_no_run_is_never_cleared(inside, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    refused(inside("train", "lenet5", "digits", "--epochs", 1, "--out", tmp_path / "thesis", "--force"), "thesis")
    assert (tmp_path / "thesis" / "thesis.tex").read_text() == "years of work"


def test_an_out_that_cannot_be_written(inside, tmp_path):
    (tmp_path / "file").write_text("")
    refused(inside("train", "lenet5", "digits", "--epochs", 1, "--out", tmp_path / "file" / "run"), "file")


def test_nan_loss_stops_with_advice_and_keeps_the_checkpoints(inside, tmp_path):
    sentence = refused(inside("train", "lenet5_modern", "digits", "--recipe", "lenet5", "--set",
                            "loss.name=cross_entropy", "--lr", "1e20", "--epochs", 2, "--out", tmp_path / "run"),
                       "finite", "--lr")
    assert "epoch 1" in sentence


def test_resume_refuses_to_become_another_run(inside, trained):
    refused(inside("train", "--resume", trained, "--lr", 0.5), "optim.lr")


def test_a_checkpoint_of_another_model(inside, trained, tmp_path):
    refused(inside("train", "lenet5_modern", "digits", "--weights", trained, "--out", tmp_path / "run"), "'lenet5'",
            "'lenet5_modern'")
    assert not (tmp_path / "run").exists()


def test_data_with_classes_the_model_does_not_know(inside, trained, stripes):
    refused(inside("eval", trained, stripes), "'across'")


def test_wrong_channel_count(inside, tmp_path):
    np.savez(tmp_path / "four.npz", x=np.zeros((8, 16, 16, 4), np.uint8), y=np.arange(8) % 2)
    np.savez(tmp_path / "two.npz", images=np.zeros((8, 2, 16, 16), np.uint8), labels=np.arange(8) % 2)
    refused(inside("train", "lenet5", tmp_path / "two.npz", "--epochs", 1, "--out", tmp_path / "run"), "2")
    refused(inside("train", "lenet5", "digits", "--in-chans", 2, "--epochs", 1, "--out", tmp_path / "run2"), "2")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full disk to try")
def test_a_full_disk_behind_the_output_is_told():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "convatlas", "--version"], stdout=full, stderr=subprocess.PIPE,
                              text=True)
    assert done.returncode == 1
    assert done.stderr == "error: cannot write: No space left on device; make room, and start again\n"
