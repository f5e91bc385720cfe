"""The examples, each as a user runs it: from its file, in a process of its own, without a network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


def said(path: Path, place: Path) -> str:
    """What it prints; one thread, for the tests beside it need the other."""
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(path)], cwd=place, capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stderr
    return done.stdout


def example(name: str) -> Path:
    return next(path for path in EXAMPLES if path.stem == name)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_named_and_public(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert (len(text.splitlines()) <= 40
            and f"(examples/{path.name})" in (path.parents[1] / "README.md").read_text(encoding="utf-8"))
    assert not re.search(r"(import|\.) _\w", text)


def test_train_from_parts(tmp_path: Path) -> None:
    shares = [float(share)
              for share in re.findall(r"([\d.]+)% of 360 held-out", said(example("train_from_parts"), tmp_path))]
    assert len(shares) == 4 and shares[-1] > 90


def test_take_away(tmp_path: Path) -> None:
    pairs = re.findall(r"training loss ([\d.]+) with shortcuts, ([\d.]+) without", said(example("take_away"), tmp_path))
    assert len(pairs) == 2 and all(float(kept) < float(gone) for kept, gone in pairs)


def test_deploy(tmp_path: Path) -> None:
    text = said(example("deploy"), tmp_path)
    assert "largest difference" in text and "digit.png" in text and text.rstrip().endswith("torch was not imported")
    assert list(tmp_path.iterdir()) == [], "it cleans up after itself"
