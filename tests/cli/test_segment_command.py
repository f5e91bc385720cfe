"""`convatlas segment` on small pictures."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas


@pytest.fixture
def run(tmp_path):
    """A file of weights and two pictures."""
    torch.manual_seed(0)
    convatlas.save(convatlas.create_model("unet_same", widths=(4, 6, 8)), tmp_path / "net.safetensors")
    (tmp_path / "in").mkdir()
    for name, size in (("a", (70, 50)), ("b", (33, 90))):
        Image.effect_noise(size, 80).convert("RGB").save(tmp_path / "in" / f"{name}.png")
    return tmp_path


def test_labels_probabilities_overlay(inside, run):
    done = inside("segment", "net.safetensors", "in", "--out", "out", "--tile", 48, "--overlap", 8, "--batch-size", 2,
                  "--tta", "flips", "--probabilities", "--overlay", "--json", cwd=run)
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["images"]
    assert [first["labels"], second["overlay"]] == ["out/a.labels.png", "out/b.overlay.png"]
    assert np.load(run / first["probabilities"]).shape == (2, 50, 70) and sum(second["pixels"]) == 33 * 90
    assert sorted(path.name for path in (run / "out").iterdir()) == [
        "a.labels.png", "a.overlay.png", "a.probabilities.npy", "areas.csv", "b.labels.png", "b.overlay.png",
        "b.probabilities.npy"]
    table = inside("segment", "net.safetensors", "in/a.png", "--out", "other", cwd=run)
    assert table.returncode == 0 and "in/a.png" in table.stdout and "%" in table.stdout


def test_results_that_lie_among_the_images_are_not_segmented_again(inside, run):
    first = inside("segment", "net.safetensors", "in", "--out", "in", "--overlay", "--instances", "components", cwd=run)
    assert first.returncode == 0, first.stderr
    (run / "in" / "c.labels.png").write_bytes((run / "in" / "a.png").read_bytes())      # a picture of that name
    again = inside("segment", "net.safetensors", "in", "--out", "in", "--json", cwd=run)
    assert [each["image"] for each in json.loads(again.stdout)["images"]] == ["in/a.png", "in/b.png", "in/c.labels.png"]
    assert "results of an earlier segmentation: in/a.instances.tif, in/a.labels.png, in/a.overlay.png and 3 more" in (
        " ".join(again.stderr.split()))
    assert not list((run / "in").glob("a.labels.labels.*"))


def test_bad_input_is_told_in_one_line(inside, run):
    (run / "in" / "broken.png").write_bytes(b"\x89PNG")
    done = inside("segment", "net.safetensors", "in", "--out", "out", cwd=run)
    assert done.returncode == 0 and "warning: cannot read the image 'in/broken.png'" in done.stderr
    alone = inside("segment", "net.safetensors", "in/broken.png", "--out", "out", cwd=run)
    assert alone.returncode == 1
    full = inside("segment", "net.safetensors", "in/a.png", "--out", "in/b.png/out", cwd=run)
    assert full.returncode == 2 and full.stderr.startswith("error: cannot write") and "--out" in full.stderr
    small = inside("segment", "net.safetensors", "in/a.png", "--out", "new", "--tile", 3, cwd=run)
    assert small.returncode == 2 and "tile = 3 is too small for unet_same" in small.stderr
