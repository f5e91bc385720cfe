"""Cached files: the same pixels and complaints, one finished file or none, and a stale one never used."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas import ConvatlasError
from convatlas.data import Cached, Files, Loader, Subset, UnreadableImage, make_transform, prepared
from convatlas.data import cache as module
from convatlas.run import Augment, Data, Preprocess

STILL = make_transform(Preprocess(crop_pct=1.0), 8, 3)


@pytest.fixture
def files(tmp_path):
    """Ten pictures of two sizes and kinds; number 4 is broken."""
    random, paths = np.random.RandomState(0), []
    for i in range(10):
        paths.append(tmp_path / f"{i}.{'jpg' if i % 2 else 'png'}")
        shape = (9 + i % 3, 11, 3) if i % 2 else (12, 10)
        Image.fromarray(random.randint(0, 256, shape, dtype=np.uint8)).save(paths[-1])
    paths[4].write_bytes(paths[4].read_bytes()[:50])
    return Files(paths, torch.arange(10))


def equal(first, second):
    for i in range(len(first)):
        try:
            wanted = first.read(i)
        except UnreadableImage as error:
            with pytest.raises(UnreadableImage) as caught:
                second.read(i)
            assert str(caught.value) == str(error)
        else:
            assert torch.equal(wanted, second.read(i))
        assert first.name(i) == second.name(i)
    return torch.equal(first.labels, second.labels)


@pytest.mark.parametrize("cache", ["auto", "memory", "disk"])
def test_pixels_are_the_same(files, tmp_path, cache):
    found = prepared(Subset(files, torch.tensor([7, 4, 1, 2])), Data(cache=cache, cache_dir=str(tmp_path / "c")), STILL)
    assert (isinstance(found, Cached) and equal(Subset(files, torch.tensor([7, 4, 1, 2])), found)
            and found.images is None)
    assert equal(found, pickle.loads(pickle.dumps(found))), "as a worker that is spawned gets it"


def test_one_size_goes_in_whole_batches(files):
    own = Subset(files, torch.tensor([0, 2, 6, 8]))
    found = prepared(own, Data(cache="memory"), STILL)
    assert found.images.shape == (4, 1, 12, 10)
    moving = make_transform(Preprocess(crop_pct=1.0), 8, 3, Augment(crop="random", padding=2, flip=0.5))
    for a, b in zip(Loader(own, moving, 3, shuffle=True).epoch(1),
                    Loader(found, moving, 3, shuffle=True).epoch(1), strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.indices, b.indices)


def test_the_disk_file_is_used_again_unless_something_changed(files, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    module.on_disk(files, folder, print)
    (path,) = folder.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(Files, "read", lambda self, index: pytest.fail("decoded again"))
        module.on_disk(files, folder, print)
    content = path.read_bytes()
    for broken in (content[:-1], content[100:], b""):
        path.write_bytes(broken)
        assert equal(files, module.on_disk(files, folder, print)) and path.read_bytes() == content
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(files.paths[0])
    assert module.on_disk(files, folder, print).read(0).shape == (1, 5, 5) and len(list(folder.iterdir())) == 2


def test_an_interruption_leaves_no_file(files, tmp_path, monkeypatch):
    def interrupted(self, index):
        raise KeyboardInterrupt

    monkeypatch.setattr(Files, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        module.on_disk(files, tmp_path / "cache", print)
    assert not list((tmp_path / "cache").iterdir())


def test_what_cannot_be_written_is_said(files, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ConvatlasError, match=r"cannot write .* set data\.cache to off"):
        module.on_disk(files, tmp_path / "taken", print)


def test_auto_looks_at_the_memory(files, monkeypatch):
    assert module.available_bytes() > 2**20
    monkeypatch.setattr(module, "available_bytes", lambda: 4 * module.expected_bytes(files))
    assert isinstance(prepared(files, Data(), STILL), Files)
    monkeypatch.setattr(module, "available_bytes", lambda: 4 * module.expected_bytes(files) + 4)
    assert isinstance(prepared(files, Data(), STILL), Cached)


def test_large_jpegs_are_decoded_small(tmp_path):
    y, x = np.mgrid[:80, :96]
    pixels = np.stack([x * 2, y * 3, x + y], -1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    files = Files([tmp_path / "a.jpg"], torch.zeros(1))
    shapes = [tuple(prepared(files, Data(cache="off", decode=decode), make_transform(Preprocess(crop_pct=1.0), side, 3))
                    .read(0).shape) for decode, side in (("auto", 8), ("auto", 20), ("auto", 21), ("full", 8))]
    assert shapes == [(3, 20, 24), (3, 40, 48), (3, 80, 96), (3, 80, 96)]
    crop = make_transform(Preprocess(), 100, 3, Augment(crop="resized", scale=(0.25, 1), ratio=(0.64, 1)))
    assert module.short_side(crop) == 250
