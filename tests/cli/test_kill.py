"""kill -9 at any moment, a full disk, a damaged checkpoint: nothing is lost, and the rest of the run is what it would
have been.
"""

import os
import random
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from convatlas.engine.records import read_rows

CLOCKS = ("images_per_second", "seconds")
# random augmentation, dropout, BatchNorm, an average, mixing, balanced sampling, parts of batches, masks
EVERYTHING = [
    "--recipe", "modern", "--epochs", "2", "--batch-size", "8", "--ema", "0.9", "--mixup", "0.2", "--accumulate", "2",
    "--set", "train.checkpoint_minutes=0.0005", "--set", "data.sampling=balanced",
    "--set", "model.fields.drop_rate=0.2", "--set", "model.fields.widen=1",
    "--set", "sparse.sparsity=0.4", "--set", "sparse.every=3", "--set", "data.cache=off", "--image-size", "32",
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 40 small photographs in two classes, as files."""
    from PIL import Image

    root, dice = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (root / name).mkdir()
        for number in range(20):
            pixels = dice.integers(0, 128, (36, 40, 3)) + 100 * label
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number}.png")
    return root


def start(*words, limit=None):
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)       # the write then fails with an error, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, "-m", "convatlas", "train", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, preexec_fn=small_files if limit else None,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"},
    )


def finished(job):
    out, err = job.communicate(timeout=240)
    assert job.returncode == 0, out + err
    return out


def curves(folder):
    return [{key: value for key, value in row.items() if key not in CLOCKS}
            for row in read_rows(folder / "metrics.csv")]


def same(a, b):
    first, second = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """The run that nobody disturbs, without workers."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    finished(start("wide_resnet16_4_cifar", photos, *EVERYTHING, "--out", folder))
    return folder


def get_on(job, folder):
    """Wait for a new checkpoint; False where the job ends before."""
    def newest():
        return max(folder.glob("checkpoints/step-*"), default=None)

    before, deadline = newest(), time.monotonic() + 120
    while newest() == before and job.poll() is None:
        assert time.monotonic() < deadline, f"no progress beyond {before}"
        time.sleep(0.005)
    return job.poll() is None


@pytest.mark.parametrize(("workers", "kills"), [(0, 2), pytest.param(2, 8, marks=pytest.mark.slow)])
def test_killed_again_and_again_it_is_the_run_of_one_that_nobody_killed(photos, whole, tmp_path, workers, kills):
    network = ["wide_resnet16_4_cifar", photos, "--workers", workers, *EVERYTHING]
    dice = random.Random(workers)
    for attempt in range(5):                        # where it ended before it could be killed twice, from the beginning
        folder, killed = tmp_path / f"killed{attempt}", 0
        job = start(*network, "--out", folder)
        while killed < kills and get_on(job, folder):
            time.sleep(dice.uniform(0, 0.15))               # in a step, while a checkpoint is written, while validating
            if job.poll() is not None:
                break
            os.killpg(job.pid, signal.SIGKILL)
            job.communicate()
            killed += 1
            job = start("--resume", folder)
        said = finished(job)
        if killed >= 2:
            break
    assert killed >= 2, "it ended before it could be killed twice"
    assert curves(whole) == curves(folder), said
    assert same(whole, folder)
    assert not list(folder.glob("checkpoints/.*")), "half a checkpoint is left"


def test_a_full_disk_is_told_and_the_run_goes_on_later(photos, whole, tmp_path):
    network = ["wide_resnet16_4_cifar", photos, *EVERYTHING, "--set", "train.checkpoint_minutes=60"]
    sizes = [path.stat().st_size for path in whole.rglob("*.safetensors")]
    job = start(*network, "--out", tmp_path / "full", limit=max(sizes) - 1000)
    _, err = job.communicate(timeout=240)
    assert job.returncode == 2 and "Traceback" not in err
    assert "cannot write" in err and "--resume" in err, err
    finished(start("--resume", tmp_path / "full"))
    assert curves(whole) == curves(tmp_path / "full") and same(whole, tmp_path / "full")
