"""A process that is killed under torchrun: all are started anew, and the run goes on as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from convatlas.engine.records import read_rows

CLOCKS = ("images_per_second", "seconds")


def launch(folder, *, restarts=3):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts",
               str(restarts), "-m", "convatlas", "train", "lenet5_modern", "digits", "--epochs", "3", "--out",
               str(folder), "--recipe", "lenet5", "--set", "train.checkpoint_minutes=0.001", "--set", "train.ema=0.9"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"})


def workers(parent):
    """Process ids of what torchrun has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int((process / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(process.name))
        except OSError:
            continue
    return sorted(found)


def curves(folder):
    return [{key: value for key, value in row.items() if key not in CLOCKS}
            for row in read_rows(folder / "metrics.csv")]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for the processes in /proc")
@pytest.mark.slow
def test_a_killed_process_comes_back_and_the_run_equals_an_undisturbed_one(tmp_path):
    whole = launch(tmp_path / "whole")
    said = whole.communicate(timeout=280)[0]
    assert whole.returncode == 0, said
    job = launch(tmp_path / "killed")
    try:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "killed" / "checkpoints").glob("step-*")):
            assert time.monotonic() < deadline and job.poll() is None, "no checkpoint yet"
            time.sleep(0.05)
        os.kill(workers(job.pid)[-1], signal.SIGKILL)
        said = job.communicate(timeout=280)[0]
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
    assert job.returncode == 0, said
    assert curves(tmp_path / "whole") == curves(tmp_path / "killed")
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
