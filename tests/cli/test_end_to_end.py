"""The main job and its relatives, whole, as subprocesses."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors import safe_open


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").open()))


def numbers(folder: Path) -> list[list[str]]:
    """metrics.csv without the columns that hold times."""
    return [[v for k, v in row.items() if k not in ("seconds", "images_per_second")] for row in rows(folder)]


def tensors(folder: Path) -> dict[str, bytes]:
    with safe_open(folder / "model.safetensors", framework="np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}      # noqa: SIM118


def test_a_run_folder_holds_what_it_should(trained):
    assert {p.name for p in trained.iterdir()} == {"config.yaml", "data.json", "metrics.csv", "model.safetensors",
                                                   "checkpoints", "tb", "report.html", ".lock"}
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["recipe"] == "lenet5" and config["model"]["name"] == "lenet5" and config["data"]["source"] == "digits"
    assert config["train"]["epochs"] == 3 and config["loss"]["name"] == "map"
    found = rows(trained)
    assert [row["epoch"] for row in found] == ["1", "2", "3"]
    assert float(found[-1]["val_top1"]) > 0.9
    with safe_open(trained / "model.safetensors", framework="np") as file:
        meta = json.loads(file.metadata()["convatlas"])
    assert meta["model"] == "lenet5" and meta["classes"] == [str(i) for i in range(10)] and meta["data"] == "digits"
    assert any(p.name.startswith("events.out.tfevents") for p in (trained / "tb").iterdir())
    report = (trained / "report.html").read_text()
    assert ("<svg" in report and "data:image/png;base64" in report
            and "http://" not in report.replace("http://www.w3.org", ""))
    for path in trained.rglob("*"):
        assert path.suffix not in (".pkl", ".pickle", ".pt", ".pth", ".distcp"), path
        assert not path.is_file() or path.read_bytes()[:1] != b"\x80", f"{path} looks like a pickle"


def test_predict_and_eval_agree_with_the_run(cli, inside, trained, tmp_path):
    done = inside("eval", trained, "digits", "--json")
    assert done.returncode == 0, done.stderr
    best = max(float(row["val_top1"]) for row in rows(trained))
    result = json.loads(done.stdout)
    assert result["top1"] == pytest.approx(best) and result["count"] == 360

    from sklearn.datasets import load_digits

    digits, paths = load_digits(), []
    for i in range(10):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray((digits.images[i] * 255 / 16).round().astype(np.uint8)).save(paths[-1])
    done = cli("predict", trained, *paths, "--json", "--top-k", 3)
    assert done.returncode == 0, done.stderr
    first = [image["predictions"][0]["class"] for image in json.loads(done.stdout)["images"]]
    assert sum(a == str(b) for a, b in zip(first, digits.target[:10], strict=True)) >= 9


def test_the_same_seed_gives_the_same_run(inside, trained, tmp_path):
    """In another process too: `trained` has one of its own."""
    assert inside("train", "lenet5", "digits", "--epochs", 3, "--out", tmp_path / "again").returncode == 0
    assert numbers(tmp_path / "again") == numbers(trained)
    assert tensors(tmp_path / "again") == tensors(trained)


def test_ctrl_c_then_resume_equals_uninterrupted(cli, interrupted, trained, tmp_path):
    folder = tmp_path / "run"
    curves = folder / "metrics.csv"
    stopped = interrupted(folder, ["lenet5", "digits", "--epochs", 3],
                          lambda: curves.exists() and len(curves.read_text().splitlines()) >= 2, signal.SIGINT)
    assert stopped.returncode == 130, stopped
    assert "--resume" in stopped.stdout + stopped.stderr and "Traceback" not in stopped.stderr
    assert list((folder / "checkpoints").iterdir())
    done = cli("train", "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert numbers(folder) == numbers(trained) and tensors(folder) == tensors(trained)


@pytest.mark.slow       # test_kill.py kills a run that has more to lose
def test_kill_9_then_resume_equals_uninterrupted(cli, interrupted, trained, tmp_path):
    folder = tmp_path / "run"
    stopped = interrupted(folder, ["lenet5", "digits", "--epochs", 3, "--set", "train.checkpoint_minutes=0.005"],
                          lambda: any(folder.glob("checkpoints/step-*")), signal.SIGKILL)
    assert stopped.returncode == -signal.SIGKILL, stopped
    done = cli("train", "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert numbers(folder) == numbers(trained) and tensors(folder) == tensors(trained)


def test_a_folder_of_images(inside, stripes, tmp_path):
    done = inside("train", "lenet5_modern", stripes, "--epochs", 8, "--batch-size", 8, "--out", tmp_path / "run",
                  "--set", "augment.flip=0", "--set", "augment.policy=none", "--set", "augment.crop=centre",
                  "--lr", 0.003)
    assert done.returncode == 0, done.stderr
    assert float(rows(tmp_path / "run")[-1]["val_top1"]) >= 0.75
    assert inside("eval", tmp_path / "run", stripes).returncode == 0
    done = inside("predict", tmp_path / "run", stripes / "across" / "00.png")
    assert done.returncode == 0 and "across" in done.stdout


def test_alexnet_recipe_takes_a_step(inside, stripes, tmp_path):
    """AlexNet's recipe: colour noise, crops, plateau; on its small relative, for it has 61 million weights."""
    done = inside("train", "alexnet_cifar", stripes, "--recipe", "alexnet", "--epochs", 1,
                  "--batch-size", 16, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr


def test_zipcode_recipe_on_the_digits(inside, tmp_path):
    done = inside("train", "lecun1989_zipcode", "digits", "--epochs", 2, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert float(rows(tmp_path / "run")[-1]["val_top1"]) > 0.75


def test_an_npz_file(inside, tmp_path):
    dice = np.random.default_rng(0)
    x, y = dice.integers(0, 80, (40, 16, 16), dtype=np.uint8), np.arange(40) % 2
    x[y == 1, :, :8] += 150
    np.savez(tmp_path / "halves.npz", x=x, y=y)
    done = inside("train", "lecun1989_net5", tmp_path / "halves.npz", "--recipe", "zipcode", "--epochs", 5, "--out",
                  tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert float(rows(tmp_path / "run")[-1]["val_top1"]) == 1.0


def test_two_processes_under_torchrun_give_the_run_of_one(trained, tmp_path):
    """LeNet-5 has no BatchNorm and no dropout: the same curve up to rounding."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "convatlas",
             "train", "lenet5", "digits", "--epochs", "1", "--device", "cpu", "--out", str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    one, two = rows(trained)[0], rows(tmp_path / "run")[0]
    assert float(two["train_loss"]) == pytest.approx(float(one["train_loss"]), rel=1e-3)
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.data
def test_mnist_from_plain_files(cli, data_dir, tmp_path):
    done = cli("train", "lenet5_modern", "mnist", "--data-dir", data_dir, "--epochs", 1, "--batch-size", 256,
               "--recipe", "lenet5", "--set", "loss.name=cross_entropy", "--lr", 0.002, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert float(rows(tmp_path / "run")[0]["val_top1"]) > 0.9
