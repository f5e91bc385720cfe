"""The command line as a user runs it: a subprocess on real files."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def cli() -> Cli:
    """`cli("train", "lenet5", cwd=…)`: the finished process, its text in stdout and stderr."""
    def run(*words: object, cwd: Path | None = None, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "convatlas", *map(str, words)], cwd=cwd, capture_output=True,
                              text=True, timeout=timeout, env=environment())
    return run


@pytest.fixture(scope="session")
def interrupted() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`interrupted(folder, words, reached, sign)`: `convatlas train WORDS --out FOLDER`, sent a signal once
    `reached()`.

    A run that had ended before the signal came is begun anew: no machine is so slow that this decides a test.
    """
    def run(folder: Path, words: list[object], reached: Callable[[], bool],
            sign: int) -> subprocess.CompletedProcess[str]:
        for _ in range(5):
            shutil.rmtree(folder, ignore_errors=True)
            process = subprocess.Popen([sys.executable, "-m", "convatlas", "train",
                                        *map(str, words), "--out", str(folder)],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
            while process.poll() is None and not reached():
                time.sleep(0.02)
            process.send_signal(sign)
            out, err = process.communicate()
            if process.returncode:
                return subprocess.CompletedProcess(words, process.returncode, out, err)
        raise AssertionError("five times it ended before it could be interrupted")
    return run


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120", "NO_COLOR": "1"}


@pytest.fixture
def inside(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The same in this process, which spares the seconds in which a new one imports torch."""
    def run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        from convatlas.cli import main

        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setenv("NO_COLOR", "1")
        if cwd is not None:
            monkeypatch.chdir(cwd)
        capsys.readouterr()
        code = main([str(word) for word in words])
        text = capsys.readouterr()
        return subprocess.CompletedProcess(list(words), code, text.out, text.err)
    return run


@pytest.fixture(scope="session")
def trained(cli, tmp_path_factory) -> Path:
    """A finished run of three epochs on the embedded digits."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    done = cli("train", "lenet5", "digits", "--epochs", 3, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def stripes(tmp_path) -> Path:
    """A folder of images by class: horizontal and vertical stripes, 12 of each, 24×24, grey PNG."""
    dice = np.random.default_rng(0)
    for name, axis in (("across", 0), ("upright", 1)):
        (tmp_path / "stripes" / name).mkdir(parents=True)
        for i in range(12):
            wave = np.sin((np.arange(24) + dice.integers(8)) * 2 * np.pi / 8) > 0
            picture = np.broadcast_to(wave[:, None] if axis == 0 else wave[None, :],
                                      (24, 24)) * 200 + dice.integers(0, 50, (24, 24))
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "stripes" / name / f"{i:02}.png")
    return tmp_path / "stripes"
