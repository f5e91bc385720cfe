"""Batches: the order, the shares, the seeds, and what happens to images that cannot be read."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas import ConvatlasError
from convatlas.data import Files, Loader, Subset, Tensors, UnreadableImage, make_transform
from convatlas.data import loader as module
from convatlas.run import Augment, Preprocess

PLAIN = Preprocess(mean=(0.0,), std=(1.0,), crop_pct=1.0)
STILL = make_transform(PLAIN, 6, 1)
MOVING = make_transform(PLAIN, 6, 1, Augment(crop="random", padding=2, flip=0.5))


def toy(n=23):
    return Tensors(torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8), torch.arange(n) % 3, "toy")


@pytest.fixture
def folder(tmp_path):
    """Twelve files, of which number 2, 3 and 7 are broken."""
    paths = [tmp_path / f"{i:02d}.png" for i in range(12)]
    for i, path in enumerate(paths):
        Image.fromarray(np.full((8, 8), i, dtype=np.uint8)).save(path)
        if i in (2, 3, 7):
            path.write_bytes(path.read_bytes()[:45])
    return Files(paths, torch.arange(12))


def same(first, second):
    first, second = list(first), list(second)
    return len(first) == len(second) and all(
        a.total == b.total and all(torch.equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))
        for a, b in zip(first, second, strict=True)
    )


def test_every_image_once_with_its_own_label_and_the_short_batch_last():
    images = toy()
    loader = Loader(images, STILL, 5, shuffle=True)
    batches = list(loader.epoch(0))
    assert loader.steps == 5 == len(batches) and [b.total for b in batches] == [5, 5, 5, 5, 3]
    indices = torch.cat([b.indices for b in batches])
    assert sorted(indices.tolist()) == list(range(23)) and indices.tolist() != list(range(23))
    for batch in batches:
        assert torch.equal(batch.labels, images.labels[batch.indices])
        assert torch.equal(batch.images, torch.stack([STILL(images.read(i)) for i in batch.indices.tolist()]))
        assert batch.images.dtype == torch.float32


def test_the_order_comes_from_the_seed_and_the_epoch():
    def order(seed, epoch, shuffle=True, size=4):
        loader = Loader(toy(), STILL, size, seed=seed, shuffle=shuffle)
        return torch.cat([batch.indices for batch in loader.epoch(epoch)]).tolist()

    assert order(0, 0) == order(0, 0, size=7)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9, "(1, 0) is not (0, 1)"
    assert order(0, 0, shuffle=False) == order(5, 9, shuffle=False) == list(range(23))


@pytest.mark.parametrize("transform", [STILL, MOVING], ids=["still", "moving"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_start_in_the_middle_goes_on_exactly(transform, workers):
    images = toy()
    whole = list(Loader(images, transform, 4, shuffle=True).epoch(3))
    assert same(whole[4:], Loader(images, transform, 4, shuffle=True, workers=workers).epoch(3, start=4))
    assert list(Loader(images, transform, 4).epoch(3, start=6)) == []


def test_augmentation_changes_with_the_epoch_only():
    images = toy()
    loader = Loader(images, MOVING, 23)
    first, again, later = (next(loader.epoch(epoch)).images for epoch in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, later)
    other = next(Loader(images, MOVING, 23, seed=1).epoch(0)).images
    assert not torch.equal(first, other)


@pytest.mark.parametrize("transform", [STILL, MOVING], ids=["still", "moving"])
@pytest.mark.parametrize("world", [2, 3, 5])
def test_the_processes_together_see_what_one_sees(transform, world):
    images = toy(21)
    alone = list(Loader(images, transform, 4, shuffle=True).epoch(1))
    loaders = [Loader(images, transform, 4, shuffle=True, rank=rank, world=world) for rank in range(world)]
    shares = [list(loader.epoch(1)) for loader in loaders]
    assert {len(share) for share in shares} == {len(alone)}, "all take the same number of steps"
    for number, batch in enumerate(alone):
        parts = [share[number] for share in shares]
        real = torch.cat([part.indices for part in parts]) >= 0
        assert torch.equal(torch.cat([part.indices for part in parts])[real], batch.indices)
        assert torch.equal(torch.cat([part.images for part in parts])[real], batch.images)
        assert all(len(part.images) >= 1 and part.total == batch.total for part in parts)
        for part in parts:
            if (part.indices < 0).any():
                assert part.indices.tolist() == [-1] and not part.images.any(), "one, where there is nothing else"


def test_workers_change_nothing(folder):
    images = toy()
    alone, helped = (Loader(images, MOVING, 4, shuffle=True, workers=workers) for workers in (0, 2))
    assert same(alone.epoch(2), helped.epoch(2))
    alone, helped = (Loader(folder, MOVING, 4, shuffle=True, workers=workers) for workers in (0, 2))
    assert same(alone.epoch(2), helped.epoch(2)) and alone.skipped == helped.skipped and len(alone.skipped) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_random_state_is_left_alone(workers):
    images, before = toy(), torch.random.get_rng_state()
    list(Loader(images, MOVING, 4, shuffle=True, workers=workers).epoch(0))
    assert torch.equal(before, torch.random.get_rng_state())


def test_unreadable_images_are_left_out_and_counted(folder):
    loader = Loader(folder, STILL, 2)
    batches = list(loader.epoch(0))
    assert [b.indices.tolist() for b in batches] == [[0, 1], [-1], [4, 5], [6], [8, 9], [10, 11]]
    assert batches[1].images.shape == (1, 1, 6, 6) and not batches[1].images.any() and batches[1].total == 2
    assert set(loader.skipped) == {2, 3, 7} and "02.png" in loader.skipped[2]
    list(loader.epoch(1))
    assert len(loader.skipped) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_strict_stops_at_an_unreadable_image(folder, workers):
    batches = Loader(folder, STILL, 2, workers=workers, strict=True).epoch(0)
    assert next(batches).indices.tolist() == [0, 1]
    with pytest.raises(UnreadableImage, match=r"02\.png") as caught:
        next(batches)
    assert "\n" not in str(caught.value)


def test_nothing_readable_at_all(folder):
    with pytest.raises(ConvatlasError, match="none of the 3 images can be read"):
        list(Loader(Subset(folder, torch.tensor([2, 3, 7])), STILL, 2).epoch(0))
    with pytest.raises(ConvatlasError, match="no images"):
        Loader(Subset(folder, torch.tensor([], dtype=torch.int64)), STILL, 2)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_transform_arrives_as_its_sentence(tmp_path, workers):
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    images = Files([tmp_path / "a.png"], torch.tensor([0]))
    with pytest.raises(ConvatlasError) as caught:
        list(Loader(images, make_transform(PLAIN, 6, 2), 1, workers=workers).epoch(0))
    assert str(caught.value).startswith("the picture has 3 channels")


def test_a_set_in_memory_is_transformed_once(monkeypatch):
    images = toy()
    subset = Subset(Subset(images, torch.arange(22, -1, -1)), torch.tensor([1, 5, 8, 2, 9]))
    kept = Loader(subset, STILL, 2, shuffle=True)
    monkeypatch.setattr(module, "CHUNK", 2)
    chunked = Loader(subset, STILL, 2, shuffle=True)
    monkeypatch.setattr(module, "KEPT_BYTES", 0)
    fresh = Loader(subset, STILL, 2, shuffle=True)
    assert same(kept.epoch(0), fresh.epoch(0)) and same(kept.epoch(1), fresh.epoch(1))
    assert same(chunked.epoch(0), fresh.epoch(0))
    monkeypatch.setattr(type(images), "read", lambda self, index: pytest.fail("gathered, not read"))
    next(kept.epoch(0)).images.zero_()
    assert next(kept.epoch(0)).images.any(), "a batch is a copy"


def test_what_evaluation_transformed_can_be_trained_on():
    loader = Loader(toy(), STILL, 4)
    with torch.inference_mode():
        list(loader.epoch(0))
    weight = torch.ones(1, requires_grad=True)
    (next(loader.epoch(0)).images * weight).sum().backward()
    assert weight.grad.isfinite().all()


def test_labels_of_any_kind_come_along(folder):
    labels = torch.rand(12, 5)
    batches = list(Loader(Files(folder.paths, labels), STILL, 2).epoch(0))
    assert torch.equal(batches[0].labels, labels[:2])
    assert (batches[1].labels.shape == (1, 5) and not batches[1].labels.any()
            and batches[1].labels.dtype == torch.float32)


def test_workers_stay_and_an_epoch_left_early_leaves_nothing_behind():
    alone, helped = (Loader(toy_of(40), MOVING, 4, shuffle=True, workers=workers) for workers in (0, 2))
    first = next(helped.epoch(5))
    pids = [worker.pid for worker in helped._ahead._iterator._workers]
    assert torch.equal(first.images, next(alone.epoch(5)).images)
    assert same(alone.epoch(6), helped.epoch(6)) and same(alone.epoch(7, start=3), helped.epoch(7, start=3))
    assert pids == [worker.pid for worker in helped._ahead._iterator._workers]


def toy_of(n):
    generator = torch.Generator().manual_seed(n)
    return Tensors(torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=generator),
                   torch.arange(n) % 3, "toy")


def test_a_set_may_have_an_order_of_its_own():
    class Backwards(Subset):
        def order(self, seed, epoch):
            return torch.arange(len(self) - 1, -1, -1)

    images = Backwards(toy(), torch.arange(7))
    assert torch.cat([b.indices
                      for b in Loader(images, STILL, 3, shuffle=True).epoch(0)]).tolist() == [6, 5, 4, 3, 2, 1, 0]
    assert torch.cat([b.indices for b in Loader(images, STILL, 3).epoch(0)]).tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_seeds_are_stable_and_mixed():
    assert module.stable_seed(1, 2, 3) == 926643494850814613, "runs that go on after an upgrade need the same"
    many = {module.stable_seed(s, e, i) for s in range(10) for e in range(10) for i in range(100)}
    assert len(many) == 10_000 and all(0 <= seed < 2**63 for seed in many)


SCRIPT = """
import os, signal, sys, torch
from convatlas.data import Loader, Tensors

class Moving:       # all that a loader asks of a transform
    random, in_chans, size = True, 1, (8, 8)

    def batch(self, images, seeds):
        return images.float()

def go_over(number):
    batches = Loader(images, Moving(), 1, workers=2).epoch(0)
    try:
        for batch in batches:
            if number == 2:
                print("going;", [name for name in ("torchvision", "matplotlib") if name in sys.modules], flush=True)
                signal.pause()
    except KeyboardInterrupt:
        batches.close()
        print("stopped", number, flush=True)

# A shell's background job, and what it starts, begins with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
born = []
os.register_at_fork(after_in_child=lambda: born or os.killpg(0, signal.SIGINT),
                    after_in_parent=lambda: born.append(True))
images = Tensors(torch.zeros(4000, 1, 8, 8, dtype=torch.uint8), torch.zeros(4000))
for number in (1, 2):
    go_over(number)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_ends_the_workers_quietly():
    """First from a worker that has only just been born and does not ignore it yet, then while batches come."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=pipe, stderr=pipe, text=True,
                               start_new_session=True)
    try:
        assert [process.stdout.readline() for _ in range(2)] == ["stopped 1\n",
                                                                 "going; []\n"], "and the data package imports neither"
        os.killpg(process.pid, signal.SIGINT)       # as a terminal does: to the process and to its workers
        out, err = process.communicate()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    # (torch may still say that a worker's socket closed while it was being asked for a tensor)
    assert (out, process.returncode) == ("stopped 2\n", 0) and "KeyboardInterrupt" not in err, err


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_of_many_sizes_keep_their_places_among_those_left_out(tmp_path, workers):
    """More than one group of them; broken and too long ones between."""
    sizes = [(20 + i, 50 - i) for i in range(21)]
    paths = []
    for i, size in enumerate(sizes):
        paths.append(tmp_path / f"{i:02d}.png")
        Image.fromarray(np.full((1, 30_000) if i == 9 else size, 10 * i, dtype=np.uint8)).save(paths[-1])
        if i in (0, 17):
            paths[-1].write_bytes(paths[-1].read_bytes()[:45])
    images, transform = Files(paths, torch.arange(21)), make_transform(PLAIN, 256, 1, Augment(crop="random", flip=0.5))
    loader = Loader(images, transform, 21, workers=workers)
    (batch,) = loader.epoch(2)
    kept = [i for i in range(21) if i not in (0, 9, 17)]
    assert batch.indices.tolist() == batch.labels.tolist() == kept and sorted(loader.skipped) == [0, 9, 17]
    assert "too long" in loader.skipped[9] and paths[17].name in loader.skipped[17]
    values = (batch.images.amax((1, 2, 3)) * 255).round().int().tolist()
    assert values == [10 * i for i in kept]
