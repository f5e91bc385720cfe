"""Shards that are read through Hugging Face `datasets`: order, shares, resuming, and what goes wrong on the way."""

import functools
import http.server
import io
import json
import shutil
import tarfile
import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

datasets = pytest.importorskip("datasets")
fsspec = pytest.importorskip("fsspec")

from convatlas import ConvatlasError  # noqa: E402
from convatlas.data import make_transform, read_image  # noqa: E402
from convatlas.data.shards.local import read_shards  # noqa: E402
from convatlas.data.shards.stream import expanded, is_stream, open_stream  # noqa: E402
from convatlas.data.shards.stream_loader import StreamLoader  # noqa: E402
from convatlas.data.shards.writer import write_shards  # noqa: E402
from convatlas.data.split import Split  # noqa: E402
from convatlas.run import Augment, Preprocess  # noqa: E402

PLAIN = Preprocess(mean=(0.0,), std=(1.0,), crop_pct=1.0)
STILL = make_transform(PLAIN, 6, 3)
MOVING = make_transform(PLAIN, 6, 3, Augment(crop="random", padding=2, flip=0.5))
COUNT = 43          # pictures to train on


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Shards of a few pictures each, the last one short, with a validation part."""
    root = tmp_path_factory.mktemp("stream")
    draw = np.random.RandomState(0)
    for part, count in (("train", COUNT), ("val", 9)):
        for number in range(count):
            path = root / "in" / part / "abc"[number % 3] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.randint(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    write_shards(root / "in", root / "out", shard_bytes=11_000, val_fraction=0, seed=0, report=lambda done, total: None)
    return root / "out"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "convatlas" / "shards"


def opened(out, **split):
    return open_stream(f"file://{out}", Split(**split))


def same(first, second):
    return len(first) == len(second) and all(
        a.total == b.total and all(torch.equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))
        for a, b in zip(first, second, strict=True)
    )


def numbers(batches):
    indices = torch.cat([batch.indices for batch in batches])
    return indices[indices >= 0].tolist()


# what is read ------------------------------------------------------------------------------------------------------


def test_datasets_own_builder_reads_the_shards_as_we_do(out):
    images = read_shards(out, Split()).train
    files = [str(path) for path in sorted((out / "train").iterdir())]
    found = list(datasets.load_dataset("webdataset", data_files={"train": files}, split="train", streaming=True))
    assert len(found) == COUNT
    for index, sample in enumerate(found):
        assert int(sample["__key__"]) == index and sample["cls"] == images.labels[index]
        assert np.array_equal(np.asarray(sample["png"]), images.read(index).permute(1, 2, 0))


def test_a_stream_is_the_local_set_with_the_same_numbers(out):
    local, stream = read_shards(out, Split()), opened(out)
    assert stream.classes == local.classes == ("a", "b", "c") and len(stream.val) == len(local.val) == 9
    assert torch.equal(stream.train.labels, local.train.labels)
    for batch in StreamLoader(stream.train, STILL, 10, shuffle=True).epoch(0):
        assert torch.equal(batch.labels, local.train.labels[batch.indices])
        assert torch.equal(batch.images, torch.stack([STILL(local.train.read(i)) for i in batch.indices.tolist()]))
    for index in (0, 17, COUNT - 1):
        assert torch.equal(stream.train.read(index), local.train.read(index))
        assert stream.train.name(index) == f"file://{local.train.name(index)}"


def test_a_last_batch_that_is_too_small_is_joined_to_the_one_before(out):
    stream = opened(out)
    assert StreamLoader(stream.train, STILL, 10).steps == 5
    whole = list(StreamLoader(stream.train, STILL, 10, shuffle=True, least=4).epoch(0))
    assert [batch.total for batch in whole] == [10, 10, 10, 13] and sorted(numbers(whole)) == list(range(COUNT))
    shares = [list(StreamLoader(stream.train, STILL, 10, shuffle=True, least=4, rank=rank, world=2).epoch(0))
              for rank in (0, 1)]
    assert sorted(numbers(shares[0]) + numbers(shares[1])) == list(range(COUNT))
    assert [len(batch.indices) for batch in shares[0]] == [5, 5, 5, 7]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture
def served(out):
    pytest.importorskip("aiohttp")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(out)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_http_and_fsspec_addresses_give_the_same_batches(out, served):
    memory = fsspec.filesystem("memory")
    memory.put(str(out), "/bucket/out", recursive=True)
    expected = list(StreamLoader(opened(out).train, MOVING, 8, shuffle=True).epoch(1))
    for address in (served, "memory://bucket/out", "memory://bucket/out/"):
        stream = open_stream(address, Split()).train
        assert same(list(StreamLoader(stream, MOVING, 8, shuffle=True).epoch(1)), expected)
    local = read_shards(out, Split()).train
    assert torch.equal(stream.read(20), local.read(20))


# order, shares and resuming ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [2, 7, 10, 64])
def test_no_image_is_lost_or_seen_twice_and_all_processes_stay_in_step(out, world, batch_size):
    stream = opened(out).train
    loaders = [StreamLoader(stream, STILL, batch_size, shuffle=True, rank=rank, world=world) for rank in range(world)]
    epochs = [list(loader.epoch(0)) for loader in loaders]
    assert {len(batches) for batches in epochs} == {-(-COUNT // batch_size)} == {loader.steps for loader in loaders}
    assert sorted(number for batches in epochs for number in numbers(batches)) == list(range(COUNT))
    for together in zip(*epochs, strict=True):
        shares = [int((batch.indices >= 0).sum()) for batch in together]
        assert {batch.total for batch in together} == {sum(shares)} and max(shares) - min(shares) <= 1
        assert all(len(batch.indices) >= 1 for batch in together)


def test_the_order_comes_from_the_seed_and_the_epoch(out):
    stream = opened(out).train
    orders = [numbers(StreamLoader(stream, STILL, 8, seed=seed, shuffle=True).epoch(epoch))
              for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert orders[0] == orders[1] and orders[0] != orders[2] and orders[0] != orders[3]
    starts = np.array(stream.starts)
    shards = [int(np.searchsorted(starts, index, side="right")) - 1 for index in orders[0]]
    runs = [shard for shard, before in zip(shards, [None, *shards], strict=False) if shard != before]
    # one after the other, mixed
    assert len(runs) == len(set(runs)) == len(stream.counts) > 3 and runs != sorted(runs)
    first = [index for index in orders[0] if stream.starts[0] <= index < stream.starts[1]]
    within = [first, *[[i for i in orders[0] if a <= i < b] for a, b in pairwise(starts)]]
    assert any(order != sorted(order) for order in within)
    assert numbers(StreamLoader(stream, STILL, 8).epoch(3)) == list(range(COUNT))


@pytest.mark.parametrize(("rank", "world"), [(0, 1), (0, 3), (2, 3)])
def test_resuming_gives_bit_for_bit_the_rest_from_any_step(out, rank, world):
    def loader():
        return StreamLoader(opened(out).train, MOVING, 6, seed=4, shuffle=True, rank=rank, world=world)

    whole = list(loader().epoch(2))
    for start in range(len(whole) + 1):
        assert same(list(loader().epoch(2, start)), whole[start:])


def test_workers_change_nothing_and_the_global_generator_is_left_alone(out):
    stream = opened(out).train
    state = torch.get_rng_state()
    alone, helped = (list(StreamLoader(stream, MOVING, 6, shuffle=True, workers=workers).epoch(0))
                     for workers in (0, 2))
    assert same(alone, helped) and torch.equal(torch.get_rng_state(), state)


def test_shards_before_the_start_are_not_opened(out, tmp_path):
    copied = shutil.copytree(out, tmp_path / "copied")
    stream = opened(copied).train
    whole = list(StreamLoader(stream, STILL, 6).epoch(0))
    later = opened(copied).train
    later._dataset      # noqa: B018 - its fields are looked up in the first shard
    for path in sorted((copied / "train").iterdir())[:2]:
        path.write_bytes(b"")
    assert stream.starts[2] < 12
    assert same(list(StreamLoader(later, STILL, 6).epoch(0, 2)), whole[2:])


def test_other_class_numbers_are_reported_and_the_shards_still_fit(out):
    stream = opened(out).train
    turned = stream.relabeled(2 - stream.labels)
    for batch in StreamLoader(turned, STILL, 10).epoch(0):
        assert torch.equal(batch.labels, 2 - stream.labels[batch.indices])


# shards of others --------------------------------------------------------------------------------------------------


@pytest.fixture
def foreign(out, tmp_path):
    """The same shards without an index."""
    (tmp_path / "theirs").mkdir()
    for number, path in enumerate(sorted((out / "train").iterdir())):
        shutil.copy(path, tmp_path / "theirs" / f"{number:03d}.tar")
    return tmp_path / "theirs"


def test_shards_without_an_index_are_counted_once_and_the_last_are_held_out(out, foreign, cache, caplog):
    caplog.set_level("INFO", "convatlas")
    count = len(list(foreign.iterdir()))
    names = str(foreign / "*.tar")
    assert is_stream(names) and not is_stream(str(out))
    source = open_stream(names, Split(0.3))
    assert len(caplog.records) == count == len(list(cache.iterdir()))
    assert source.classes == ("0", "1", "2") and len(source.train) + len(source.val) == COUNT
    assert len(source.val.counts) == round(0.3 * count) and "held out" in source.notes[0]
    local = read_shards(out, Split()).train
    assert torch.equal(torch.cat([source.train.labels, source.val.labels]), local.labels)
    assert (torch.equal(source.train.read(9), local.read(9))
            and torch.equal(source.val.read(1), local.read(len(source.train) + 1)))
    caplog.clear()
    braces = f"{foreign}/{{000..{count - 1:03d}}}.tar"
    again = open_stream(braces, Split(for_eval=True))
    assert not caplog.records and len(again.val) == COUNT
    assert same(list(StreamLoader(again.val, STILL, 9).epoch(0)),
                list(StreamLoader(opened(out).train, STILL, 9).epoch(0)))


def test_patterns():
    assert expanded("https://h/{8..11}.tar") == [f"https://h/{n}.tar" for n in (8, 9, 10, 11)]
    assert expanded("s3://b/x-{008..010}.tar") == [f"s3://b/x-{n:03d}.tar" for n in (8, 9, 10)]
    assert expanded("s3://b/x.tar") == ["s3://b/x.tar"]
    assert expanded("h/{0..1}/{0..1}.tar") == ["h/0/0.tar", "h/0/1.tar", "h/1/0.tar", "h/1/1.tar"]


def test_samples_that_are_not_a_picture_and_a_class_are_refused(tmp_path):
    for fields in (("txt", "cls"), ("png", "txt")):
        with tarfile.open(tmp_path / "x.tar", "w") as tar:
            for field in fields:
                content = {"txt": b"words", "cls": b"1", "png": b"png"}[field]
                member = tarfile.TarInfo(f"0.{field}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        said = f"hold {fields[0]}, {fields[1]}; they must hold one picture, and its class number as .cls"
        with pytest.raises(ConvatlasError, match=said):
            open_stream(str(tmp_path / "x.tar"), Split())


# what goes wrong ---------------------------------------------------------------------------------------------------


def test_addresses_that_lead_nowhere(tmp_path, served):
    for address, said in [
        (f"file://{tmp_path}", r"there is no 'file://.*index\.json'; .*train-\*\.tar"),
        (f"{served}/none", r"there is no 'http://.*index\.json'"),
        (str(tmp_path / "*.tar"), "no file fits"),
        (str(tmp_path / "x.tar"), r"the shard '.*x\.tar' cannot be read"),
        ("nonsense://x", "cannot open 'nonsense://x/index.json'"),
    ]:
        with pytest.raises(ConvatlasError, match=said):
            open_stream(address, Split())


def test_a_truncated_missing_or_exchanged_shard_stops_the_epoch_with_its_name(out, tmp_path):
    copied = shutil.copytree(out, tmp_path / "copied")
    victim = copied / "train" / "shard-000003.tar"
    content = victim.read_bytes()
    loader = StreamLoader(opened(copied).train, STILL, 6)
    assert len(list(loader.epoch(0))) == 8
    for damaged, said in ((content[:1500], "cannot be read"),
                          ((copied / "train" / "shard-000002.tar").read_bytes(), "index it again"),
                          (bytes(10240), "index it again")):
        victim.write_bytes(damaged)
        with pytest.raises(ConvatlasError, match=rf"shard-000003\.tar'.*{said}"):
            list(loader.epoch(0))
    victim.unlink()
    with pytest.raises(ConvatlasError, match=r"shard-000003\.tar' cannot be read"):
        list(loader.epoch(0))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_picture_is_skipped_or_with_strict_an_error(out, tmp_path, workers):
    copied = shutil.copytree(out, tmp_path / "copied")
    place = int(read_shards(copied, Split()).train._part.offset[2])
    victim = copied / "train" / "shard-000000.tar"
    content = bytearray(victim.read_bytes())
    content[place : place + 30] = bytes(30)
    victim.write_bytes(content)
    loader = StreamLoader(opened(copied).train, STILL, 1, workers=workers)
    batches = list(loader.epoch(0))
    assert len(batches) == COUNT and sorted(numbers(batches)) == [i for i in range(COUNT) if i != 2]
    assert batches[2].indices.tolist() == [-1] and "shard-000000.tar[2]" in loader.skipped[2]
    with pytest.raises(ConvatlasError, match=r"shard-000000\.tar\[2\].*without strict"):
        list(StreamLoader(opened(copied).train, STILL, 5, strict=True, workers=workers).epoch(0))


def test_a_count_that_was_kept_and_no_longer_holds_is_told(foreign, cache):
    open_stream(str(foreign / "*.tar"), Split())
    kept = next(path for path in cache.iterdir() if json.loads(path.read_text())["url"].endswith("000.tar"))
    tree = json.loads(kept.read_text())
    kept.write_text(json.dumps({**tree, "labels": tree["labels"][:-1]}))
    with pytest.raises(ConvatlasError, match=r"000\.tar' holds \d+ images, which are not the"):
        list(StreamLoader(open_stream(str(foreign / "*.tar"), Split()).train, STILL, 6).epoch(0))


def test_the_picture_reader_agrees_with_the_one_for_files(out, tmp_path):
    stream = opened(out).train
    (tmp_path / "x.png").write_bytes(stream.shard(1)[0])
    assert torch.equal(stream.read(stream.starts[1]), read_image(tmp_path / "x.png"))
