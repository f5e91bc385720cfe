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


@pytest.mark.parametrize("one_shape", [True, False])
@pytest.mark.parametrize("writable", [True, False])
def test_pixels_that_were_changed_are_decoded_anew(files, tmp_path, caplog, monkeypatch, one_shape, writable):
    """Zeroed, as after a loss of power, or edited; the file is mended where it can be."""
    own = Files([files.paths[i] for i in ((0, 2, 6) if one_shape else (0, 1, 2))], torch.arange(3))
    path = module.on_disk(own, tmp_path / "cache", print).path
    content = path.read_bytes()
    path.write_bytes(content[:130] + bytes(20) + content[150:])     # in number 1
    found = module.on_disk(own, tmp_path / "cache", lambda text: pytest.fail(text))
    if not writable:
        def refused(self, mode="r", *more, **options):
            if mode == "r+b":
                raise PermissionError(self)
            return open_(self, mode, *more, **options)

        open_ = type(path).open
        monkeypatch.setattr(type(path), "open", refused)
    whole = pickle.loads(pickle.dumps(found))       # as a worker has it
    if one_shape:
        assert torch.equal(found.at(torch.tensor([2, 1])), torch.stack([own.read(2), own.read(1)]))
        batch, = Loader(whole, STILL, 3).epoch(0)
        expected, = Loader(own, STILL, 3).epoch(0)
        assert torch.equal(batch.images, expected.images)
    assert equal(own, found) and equal(own, whole)
    monkeypatch.undo()
    assert (path.read_bytes() == content) is writable
    assert "damaged" in caplog.text and own.name(1) in caplog.text


def test_pixels_that_were_changed_with_their_file_are_refused(files, tmp_path):
    own = Files(files.paths[:1], torch.arange(1))
    found = module.on_disk(own, tmp_path / "cache", print)
    content = found.path.read_bytes()
    found.path.write_bytes(bytes(20) + content[20:])
    Image.fromarray(np.zeros((12, 10), np.uint8)).save(files.paths[0])
    with pytest.raises(ConvatlasError, match="has changed since it was written: remove the cache"):
        pickle.loads(pickle.dumps(found)).read(0)


def test_a_table_that_was_changed_is_made_anew(files, tmp_path):
    folder, told = tmp_path / "cache", []
    path = module.on_disk(files, folder, print).path
    content = path.read_bytes()
    for old, new in ((b"[1, 12, 10]", b"[1, 10, 12]"), (b", 2]", b", 1]"), (b'"4"', b'"5"')):
        place = content.rindex(old)
        path.write_bytes(content[:place] + new + content[place + len(old):])
        assert equal(files, module.on_disk(files, folder, told.append)) and path.read_bytes() == content
    assert len(told) == 3


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
