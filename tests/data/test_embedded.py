"""Data that comes along: what it holds, what it weighs, and that it is its source's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas.data
from convatlas.data import open_data
from convatlas.data.binary import read_idx
from convatlas.data.classes import FASHION
from convatlas.run import Data
from convatlas.segment.pairs import open_pairs

HOME = Path(convatlas.data.__file__).parent
BUDGET = {"digits": 0.1e6, "fashion_small": 5e6, "nuclei": 2e6}     # bytes


def test_fashion_has_as_many_of_each_class():
    source = open_data(Data(source="fashion-small"))
    assert source.classes == FASHION and source.test is source.val
    for images, count in ((source.train, 1000), (source.val, 200)):
        assert torch.bincount(images.labels).tolist() == [count] * 10
        assert images.images.shape == (10 * count, 1, 28, 28) and images.images.dtype == torch.uint8


def test_nuclei_are_numbered_from_one():
    pairs = open_pairs(Data(source="nuclei"))
    assert (len(pairs.train), len(pairs.val)) == (64, 16) and pairs.test is pairs.val
    for part in (pairs.train, pairs.val):
        for i in range(len(part)):
            image, objects = part.image(i), part.instances_of(i)
            assert image.shape[0] in (1, 3) and image.shape[1:] == objects.shape == (160, 160)
            assert len(objects.unique()) == objects.max() + 1 >= 4
            assert torch.equal(part.classes_of(i), (objects > 0).long())


@pytest.mark.parametrize("name", BUDGET)
def test_it_stays_small_and_names_its_licence(name):
    files = [path for path in (HOME / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= BUDGET[name]
    assert "Source" in (HOME / name / "LICENSE.txt").read_text(encoding="utf-8")


def test_a_folder_of_the_same_name_is_told(tmp_path, monkeypatch):
    for name in ("digits", "nuclei"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert any("./digits" in note for note in open_data(Data(source="digits")).notes)
    assert any("./nuclei" in note for note in open_pairs(Data(source="nuclei")).notes)


@pytest.mark.data
def test_it_is_its_source_s(data_dir):
    source = open_data(Data(source="fashion-small"))
    for images, stem in ((source.train, "train"), (source.val, "t10k")):
        theirs = read_idx(data_dir / f"fashion-mnist/{stem}-images-idx3-ubyte.gz", 3)
        labels = read_idx(data_dir / f"fashion-mnist/{stem}-labels-idx1-ubyte.gz", 1)
        known = {(image.tobytes(), int(label)) for image, label in zip(theirs, labels, strict=True)}
        assert all((image.numpy().tobytes(), int(label)) in known
                   for image, label in zip(images.images[:, 0], images.labels, strict=True))
    for path in sorted((HOME / "nuclei").glob("*/images/*.png")):
        image, whole = (np.asarray(Image.open(each)) for each in (
            path, data_dir / "nuclei" / "images" / path.name))
        first = (whole == image[0, 0]) if image.ndim == 2 else (whole == image[0, 0]).all(axis=2)
        corners = np.argwhere(first[: whole.shape[0] - 159, : whole.shape[1] - 159])
        assert any(np.array_equal(whole[top : top + 160, left : left + 160], image) for top, left in corners), path
