"""Shards on a local disk: what is written, what is read back, and what a damaged or half-written folder leads to."""

import hashlib
import io
import json
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas import ConvatlasError
from convatlas.data import Loader, make_transform
from convatlas.data.image_folder import read_folder
from convatlas.data.shards import writer as writer
from convatlas.data.shards.local import WINDOW, Shards, read_shards
from convatlas.data.shards.writer import write_shards
from convatlas.data.split import Split
from convatlas.run import Augment, Preprocess

CLASSES = ("ant", "bee", "cat")
PLAIN = Preprocess(mean=(0.0,), std=(1.0,), crop_pct=1.0)
STILL = make_transform(PLAIN, 6, 3)
MOVING = make_transform(PLAIN, 6, 3, Augment(crop="random", padding=2, flip=0.5))


def fill(folder, each, start=0):
    """`each` pictures per class, no two alike."""
    draw = np.random.RandomState(start)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = draw.randint(0, 256, (8, 8 + number % 3, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.{'png' if number % 4 else 'jpeg'}")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    fill(root / "train", 14)
    fill(root / "val", 4, start=1)
    return root


def written(folder, out, shard_bytes=8000, **changed):
    options = {"val_fraction": 0.2, "seed": 0, "report": lambda done, total: None}
    return write_shards(folder, out, shard_bytes=shard_bytes, **{**options, **changed})


@pytest.fixture(scope="module")
def out(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("shards") / "out"
    written(folder, path)
    return path


@pytest.fixture
def copied(out, tmp_path):
    return shutil.copytree(out, tmp_path / "copied")


def contents(images):
    """(file content, class) of every picture of a folder's part, sorted."""
    return sorted((path.read_bytes(), int(label)) for path, label in zip(images.paths, images.labels, strict=True))


def digests(path):
    return {str(each.relative_to(path)): hashlib.sha256(each.read_bytes()).hexdigest() for each in path.rglob("*")
            if each.is_file()}


def test_every_file_arrives_byte_for_byte_with_its_class_in_its_part(folder, out):
    plain, shards = read_folder(folder, Split()), read_shards(out, Split())
    assert shards.classes == plain.classes == CLASSES
    assert (out / "classes.txt").read_text().split() == list(CLASSES)
    for mine, theirs in ((shards.train, plain.train), (shards.val, plain.val)):
        assert sorted((mine.content(i), int(mine.labels[i])) for i in range(len(mine))) == contents(theirs)


def test_the_shards_are_plain_tars_in_shuffled_order_with_one_suffix(out):
    found, sizes = [], []
    for path in sorted((out / "train").iterdir()):
        sizes.append(path.stat().st_size)
        with tarfile.open(path) as tar:
            names = tar.getnames()
            assert all((member.mtime, member.uid, member.gid) == (0, 0, 0) for member in tar)
            for picture, label in zip(names[::2], names[1::2], strict=True):
                assert picture.endswith(".png") and label == picture.removesuffix(".png") + ".cls"
                Image.open(io.BytesIO(tar.extractfile(picture).read())).load()
                found.append((int(label.removesuffix(".cls")), int(tar.extractfile(label).read())))
    labels = [label for _, label in found]
    assert [number for number, _ in found] == list(range(42)) and labels != sorted(labels)
    assert len(sizes) > WINDOW and max(sizes) <= 10240 and {size % 10240 for size in sizes} == {0}


def test_reading_by_index_gives_what_the_folder_gives_bit_for_bit(folder, out):
    plain, shards = read_folder(folder, Split()).train, read_shards(out, Split()).train
    by_content = {path.read_bytes(): number for number, path in enumerate(plain.paths)}
    for index in reversed(range(len(shards))):
        assert torch.equal(shards.read(index), plain.read(by_content[shards.content(index)]))
    assert shards.name(0).endswith("train/shard-000000.tar[0]")
    assert shards.name(len(shards) - 1).rpartition("[")[0] == str(sorted((out / "train").iterdir())[-1])


def test_the_same_files_give_the_same_bytes_and_another_seed_another_order(folder, out, tmp_path):
    written(folder, tmp_path / "again")
    written(folder, tmp_path / "other", seed=1)
    assert digests(tmp_path / "again") == digests(out)
    assert digests(tmp_path / "other")["train/shard-000000.tar"] != digests(out)["train/shard-000000.tar"]


def test_without_a_part_of_its_own_a_stratified_share_is_held_out_or_none(folder, tmp_path):
    written(folder / "train", tmp_path / "some")
    some = read_shards(tmp_path / "some", Split())
    plain = read_folder(folder / "train", Split(0.2, 0))
    assert torch.bincount(some.val.labels).tolist() == torch.bincount(plain.val.labels).tolist() == [3, 3, 3]
    assert sorted(some.val.content(i) for i in range(9)) == sorted(plain.val.base.paths[i].read_bytes()
                                                                   for i in plain.val.indices)

    index = written(folder / "train", tmp_path / "none", val_fraction=0)
    none = read_shards(tmp_path / "none", Split(0.3))
    count = len(index.parts["train"])
    assert set(index.parts) == {"train"} and len(none.train) + len(none.val) == 42
    assert len(none.val) == sum(shard.images for shard in index.parts["train"][count - round(0.3 * count):])
    kept, held = ({part.content(i) for i in range(len(part))} for part in (none.train, none.val))
    assert not kept & held and len(kept | held) == 42
    judged = read_shards(tmp_path / "none", Split(for_eval=True))
    assert len(judged.val) == 42 and "all its 42 images are judged" in judged.notes[0]


def test_a_test_part_is_kept(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "three")
    fill(tmp_path / "three" / "test", 2, start=2)
    written(tmp_path / "three", tmp_path / "out")
    for split in (Split(), Split(for_eval=True)):
        source = read_shards(tmp_path / "out", split)
        assert (len(source.val), len(source.test)) == (12, 6) and source.parted and source.layout == "shards"


def test_a_test_part_is_told_from_a_validation_part(folder, tmp_path):
    (tmp_path / "two").mkdir()
    shutil.copytree(folder / "train", tmp_path / "two" / "Training")
    shutil.copytree(folder / "val", tmp_path / "two" / "Testing")
    told = []
    written(tmp_path / "two", tmp_path / "out", tell=told.append)
    source = read_shards(tmp_path / "out", Split())
    assert source.val is source.test and len(source.test) == 12 and sorted(p.name for p in (tmp_path / "out").iterdir()
                                                                           if p.is_dir()) == ["test", "train"]
    assert told == ["The parts of two are taken to be Training/ for train and Testing/ for test."]


def test_a_test_part_alone_is_judged_only(folder, tmp_path):
    shutil.copytree(folder / "val", tmp_path / "one" / "test")
    with pytest.raises(ConvatlasError, match="no part to learn from"):
        written(tmp_path / "one", tmp_path / "no", val_fraction=0)
    written(folder, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    index["parts"] = {"test": index["parts"]["val"]}
    for shard in index["parts"]["test"]:
        shard["file"] = shard["file"].replace("val/", "test/")
    (tmp_path / "out" / "val").rename(tmp_path / "out" / "test")
    with np.load(tmp_path / "out" / "index.npz") as places:
        renamed = {name.replace("val_", "test_"): places[name] for name in places.files}
    np.savez(tmp_path / "out" / "index.npz", **renamed)
    (tmp_path / "out" / "index.json").write_text(json.dumps(index))
    source = read_shards(tmp_path / "out", Split(for_eval=True))
    assert source.train is source.val is source.test and len(source.test) == 12 and not source.parted
    with pytest.raises(ConvatlasError, match="no part to learn from, only 'test'"):
        read_shards(tmp_path / "out", Split())


def test_training_does_without_the_shards_of_the_test_part(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "three")
    fill(tmp_path / "three" / "test", 2, start=2)
    written(tmp_path / "three", tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "test")
    assert len(read_shards(tmp_path / "out", Split()).val) == 12
    with pytest.raises(ConvatlasError, match="cannot be opened"):
        read_shards(tmp_path / "out", Split(for_eval=True))


def test_one_shard_alone_cannot_be_divided(folder, tmp_path):
    written(folder / "train", tmp_path / "one", shard_bytes=10**6, val_fraction=0)
    with pytest.raises(ConvatlasError, match=r"one shard and no validation part.*--val 0\.2"):
        read_shards(tmp_path / "one", Split())


# order -------------------------------------------------------------------------------------------------------------


def test_the_order_is_a_permutation_by_seed_and_epoch_within_windows_of_shards(out):
    images = read_shards(out, Split()).train
    order = images.order(3, 5)
    assert sorted(order.tolist()) == list(range(42)) and torch.equal(order, images.order(3, 5))
    assert not torch.equal(order, images.order(3, 6)) and not torch.equal(order, images.order(4, 5))
    shards = [images._shard(i) for i in order.tolist()]
    seen = list(dict.fromkeys(shards))
    assert seen != sorted(seen)
    changes = [shard for shard, before in zip(shards[1:], shards[:-1], strict=True) if shard != before]
    assert len(changes) > len(seen)             # pictures of several shards are mixed
    left = 0
    while left < len(shards):                   # each window is WINDOW shards, whole, before the next begins
        window = set(list(dict.fromkeys(shards[left:]))[:WINDOW])
        size = sum(images._counts[shard] for shard in window)
        assert set(shards[left : left + size]) == window
        left += size


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_of_the_loader_has_the_folder_s_images(folder, out, workers):
    plain, shards = read_folder(folder, Split()).train, read_shards(out, Split()).train
    expected = sorted(STILL(plain.read(i)).sum().item() for i in range(len(plain)))
    batches = list(Loader(shards, STILL, 5, shuffle=True, workers=workers).epoch(0))
    assert sorted(image.sum().item() for batch in batches for image in batch.images) == pytest.approx(expected)
    assert [batch.total for batch in batches] == [5] * 8 + [2]


# going on ----------------------------------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_and_keeps_what_is_whole(folder, out, tmp_path):
    class Enough(Exception):
        pass

    def stop(done, total):
        if done > total / 3:
            raise Enough

    path = tmp_path / "out"
    with pytest.raises(Enough):
        written(folder, path, report=stop)
    finished = sorted(path.rglob("*.tar"))
    assert 3 < len(finished) < len(list(out.rglob("*.tar"))) and not (path / "index.json").exists()
    with pytest.raises(ConvatlasError, match="unfinished"):
        read_shards(path, Split())
    finished[1].write_bytes(finished[1].read_bytes()[:-1])                  # damaged since
    (path / writer.JOURNAL).open("a").write('{"file": "train/sha')          # the line that was being written
    before = {each: each.stat().st_mtime_ns for each in finished}
    with pytest.raises(Enough):                                             # and interrupted once more, a little later
        written(folder, path, report=lambda done, total: stop(done / 1.5, total))
    written(folder, path)
    assert digests(path) == digests(out)
    assert [each.stat().st_mtime_ns == before[each] for each in finished] == [True,
                                                                              False] + [True] * (len(finished) - 2)


def test_unfinished_shards_of_something_else_are_not_gone_on_with(folder, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written(folder, tmp_path / "out", report=stop)
    with pytest.raises(ConvatlasError, match="other images or other options"):
        written(folder, tmp_path / "out", seed=1)


def test_finished_shards_and_strangers_folders_are_left_alone(folder, copied, tmp_path):
    with pytest.raises(ConvatlasError, match="finished shards already"):
        written(folder, copied)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ConvatlasError, match="is not empty"):
        written(folder, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_too_little_room_is_said_before_anything_is_written(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(writer.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))
    with pytest.raises(ConvatlasError, match=r"0\.00 GB free.*choose another disk"):
        written(folder, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.tar"))


def test_a_file_that_changes_meanwhile_is_named(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "in")
    victim = tmp_path / "in" / "val" / "cat" / "3.png"

    def change(done, total):
        victim.write_bytes(b"other")

    with pytest.raises(ConvatlasError, match=r"cat/3\.png' changed while"):
        written(tmp_path / "in", tmp_path / "out", report=change)
    assert not list((tmp_path / "out").rglob("*.tmp"))


# damage ------------------------------------------------------------------------------------------------------------


def test_a_missing_or_truncated_shard_is_named(copied):
    victim = copied / "train" / "shard-000002.tar"
    content = victim.read_bytes()
    victim.write_bytes(content[:-512])
    with pytest.raises(ConvatlasError, match=fr"shard-000002\.tar' has {len(content) - 512} bytes, {len(content)} "
                       r"are expected"):
        read_shards(copied, Split())
    victim.unlink()
    with pytest.raises(ConvatlasError, match=r"shard-000002\.tar' cannot be opened: No such file"):
        read_shards(copied, Split())


def test_a_damaged_picture_is_named_and_skipped(copied):
    shards = read_shards(copied, Split()).train
    victim = copied / "train" / "shard-000000.tar"
    content = bytearray(victim.read_bytes())
    content[int(shards._part.offset[1]) : int(shards._part.offset[1]) + 40] = bytes(40)
    victim.write_bytes(content)
    loader = Loader(shards, STILL, 10)
    indices = torch.cat([batch.indices for batch in loader.epoch(0)]).tolist()
    assert 1 not in indices and len(indices) == 41
    assert list(loader.skipped) == [1] and "shard-000000.tar[1]" in loader.skipped[1]


@pytest.mark.parametrize(("name", "content", "said"), [
    ("index.json", b"{", r"index\.json is not an index that this version reads: the file: Invalid JSON"),
    ("index.json", b'{"format": "other", "classes": [], "parts": {}}', r"this version reads: format: "),
    ("index.json", b'{"version": 2, "classes": [], "parts": {}}', r"format 2, .* update convatlas"),
    ("index.json", b'{"classes": [], "parts": {"train": [{"file": "../x.tar", "images": 1, "bytes": 1, "sha256": '
     b'""}]}}', r"parts\.train\.0\.file"),
    ("index.json", b'{"classes": [], "parts": {}}', r"no part 'train'"),
    ("index.npz", b"no archive", "cannot read the index of the shards"),
])
def test_a_damaged_index_is_a_sentence(copied, name, content, said):
    (copied / name).write_bytes(content)
    with pytest.raises(ConvatlasError, match=said):
        read_shards(copied, Split())


def test_the_index_of_other_shards_is_refused(folder, copied, tmp_path):
    written(folder, tmp_path / "other", shard_bytes=10**6)
    shutil.copy(tmp_path / "other" / "index.npz", copied / "index.npz")
    with pytest.raises(ConvatlasError, match="do not belong together"):
        read_shards(copied, Split())


@pytest.mark.parametrize("size", ["header", "member"])
def test_numbers_that_an_index_claims_are_not_allocated(copied, size):
    """A few bytes that say they are 10¹² numbers, in the header of the array, or in the archive too."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (10**12,)})
    index = json.loads((copied / "index.json").read_text())
    with np.load(copied / "index.npz") as places, zipfile.ZipFile(copied / "made.npz", "w") as made:
        for name in places.files:
            count = len(places[name])
            made.writestr(f"{name}.npy", header.getvalue() + bytes(8 * count if size == "header" else 0))
    (copied / "made.npz").rename(copied / "index.npz")
    if size == "member":
        for shards in index["parts"].values():
            shards[0]["images"] = 10**12
        (copied / "index.json").write_text(json.dumps(index))
    with pytest.raises(ConvatlasError, match=r"cannot read the index|do not belong together|not an index"):
        read_shards(copied, Split())


def test_more_shards_than_files_may_be_open(out, monkeypatch):
    monkeypatch.setattr("convatlas.data.shards.local.OPEN_FILES", 2)
    images = read_shards(out, Split()).train
    first = [images.content(i) for i in range(len(images))]
    assert len(images._files) == 2 and [images.content(i) for i in range(len(images))] == first
    assert isinstance(images, Shards)
