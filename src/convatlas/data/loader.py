"""Batches whose order and augmentation only the seed and the epoch decide, for any number of workers and any start."""

import hashlib
import logging
import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import ConvatlasError
from .images import ImageSet, Subset, Tensors, UnreadableImage
from .transform import Transform

log = logging.getLogger("convatlas")

KEPT_BYTES = 2**30      # a set in memory is transformed once and kept where that takes less
CHUNK = 4096            # pictures transformed at once


class Batch(NamedTuple):
    """One process's share of a global batch; n is at least 1."""

    images: Tensor      # float32 (n, C, H, W)
    labels: Tensor      # int64 (n,)
    indices: Tensor     # int64 (n,), in the image set; -1 marks a filler that must weigh nothing
    total: int          # images planned for the global batch, over all processes


class Loader:
    """Goes over an image set in batches of `batch_size`, that is over all `world` processes together.

    Each global batch, the short last one included, is split contiguously over the processes; one that gets no image, or
    none that can be read, yields a single filler, so that all stay in step. Unreadable images are left out and noted in
    `skipped` (index -> reason); with `strict` they raise. `workers` processes read and transform images ahead, which
    starts them anew every epoch; a set in memory whose transform is not random needs none: where it takes less than
    1 GiB it is transformed once and kept.
    """

    def __init__(
        self,
        images: ImageSet,
        transform: Transform,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        strict: bool = False,
    ):
        if not len(images):
            raise ConvatlasError("there are no images to go over")
        if batch_size < 1 or workers < 0 or not 0 <= rank < world:
            raise ValueError(f"batch_size={batch_size}, workers={workers}, rank={rank} of world={world}")
        self.images = images
        self.steps = math.ceil(len(images) / batch_size)
        self.skipped: dict[int, str] = {}
        self._transform = transform
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle
        self._rank, self._world = rank, world
        self._workers = workers
        self._strict = strict
        self._kept: Tensor | None = None

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from global batch number `start` on."""
        plan = self._plan(epoch)[start:]
        shares = [_share(batch, self._rank, self._world) for batch in plan]
        for batch, read in zip(plan, self._read(shares, epoch), strict=True):
            for index, reason in read.unreadable.items():
                self._skip(index, reason)
            yield Batch(read.images, read.labels, read.indices, len(batch))

    def _plan(self, epoch: int) -> list[Tensor]:
        """The indices of every global batch."""
        if self._shuffle:
            generator = torch.Generator().manual_seed(stable_seed(self._seed, epoch))
            order = torch.randperm(len(self.images), generator=generator)
        else:
            order = torch.arange(len(self.images))
        return [order[first : first + self._batch_size] for first in range(0, len(order), self._batch_size)]

    def _read(self, shares: list[Tensor], epoch: int) -> "Iterator[_Read]":
        if self._keeps():
            yield from (self._gather(share) for share in shares)
            return
        reader = _Reader(self.images, self._transform, self._seed, epoch, shares)
        if not self._workers:
            yield from (_unwrap(reader[number]) for number in range(len(shares)))
            return
        batches = DataLoader(
            reader,
            batch_size=None,
            num_workers=self._workers,
            worker_init_fn=_start_worker,
            generator=torch.Generator(),    # otherwise it draws from the global one, and dropout changes
        )
        with _interrupts_held():
            started = iter(batches)
        yield from map(_unwrap, started)

    def _keeps(self) -> bool:
        t = self._transform
        size = len(self.images) * t.in_chans * t.size[0] * t.size[1] * 4
        return not t.random and size < KEPT_BYTES and _in_memory(self.images)

    def _gather(self, share: Tensor) -> "_Read":
        if not len(share):
            return _filler(self._transform, {})
        if self._kept is None:
            # Outside inference mode, in which evaluation runs: what is made there cannot be trained on later.
            with torch.inference_mode(False), torch.no_grad():
                self._kept = _transformed(self.images, self._transform)
        return _Read(self._kept[share], self.images.labels[share], share, {})

    def _skip(self, index: int, reason: str) -> None:
        if self._strict:
            raise UnreadableImage(f"{reason}; without strict it would be skipped")
        if index not in self.skipped:
            self.skipped[index] = reason
            log.info("skipped: %s", reason)
        if len(self.skipped) == len(self.images):
            raise ConvatlasError(f"none of the {len(self.images)} images can be read; the last one: {reason}")


class _Read(NamedTuple):
    """What was read for one share of a batch."""

    images: Tensor
    labels: Tensor
    indices: Tensor
    unreadable: dict[int, str]      # index -> reason


class _Reader(Dataset["_Read | ConvatlasError"]):
    """Share number i of an epoch, read and transformed; errors are returned, for a worker would add its traceback."""

    def __init__(self, images: ImageSet, transform: Transform, seed: int, epoch: int, shares: list[Tensor]):
        self.images, self.transform, self.seed, self.epoch, self.shares = images, transform, seed, epoch, shares

    def __len__(self) -> int:
        return len(self.shares)

    def __getitem__(self, number: int) -> "_Read | ConvatlasError":
        try:
            return self._get(self.shares[number])
        except ConvatlasError as error:
            return error

    def _get(self, share: Tensor) -> _Read:
        if len(share) and not self.transform.random and _in_memory(self.images):
            return _Read(self.transform(_pictures(self.images, share)), self.images.labels[share], share, {})
        done: list[Tensor] = []
        indices: list[int] = []
        unreadable: dict[int, str] = {}
        for index in share.tolist():
            try:
                picture = self.images.read(index)
                done.append(self.transform.seeded(picture, stable_seed(self.seed, self.epoch, index)))
                indices.append(index)
            except UnreadableImage as error:
                unreadable[index] = str(error)
        if not done:
            return _filler(self.transform, unreadable)
        chosen = torch.tensor(indices)
        return _Read(torch.stack(done), self.images.labels[chosen], chosen, unreadable)


def stable_seed(*numbers: int) -> int:
    """63 well-mixed bits that depend on the numbers only, in every process and every version of Python."""
    digest = hashlib.blake2b(" ".join(map(str, numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _share(batch: Tensor, rank: int, world: int) -> Tensor:
    """The contiguous part of a global batch that belongs to `rank`; the sizes differ by one at most."""
    return batch.tensor_split(world)[rank]


def _filler(transform: Transform, unreadable: dict[int, str]) -> _Read:
    zeros = torch.zeros(1, transform.in_chans, *transform.size)
    return _Read(zeros, torch.zeros(1, dtype=torch.int64), torch.full((1,), -1), unreadable)


def _unwrap(read: _Read | ConvatlasError) -> _Read:
    if isinstance(read, ConvatlasError):
        raise read
    return read


def _in_memory(images: ImageSet) -> bool:
    return isinstance(images, Tensors) or (isinstance(images, Subset) and _in_memory(images.base))


def _pictures(images: ImageSet, indices: Tensor) -> Tensor:
    """Some pictures of a set in memory: uint8 (n, C, H, W)."""
    if isinstance(images, Subset):
        return _pictures(images.base, images.indices[indices])
    assert isinstance(images, Tensors)
    return images.images[indices]


def _transformed(images: ImageSet, transform: Transform) -> Tensor:
    """A whole set in memory, transformed: float32 (N, C, H, W)."""
    kept = torch.empty(len(images), transform.in_chans, *transform.size)
    for chunk in torch.arange(len(images)).chunk(math.ceil(len(images) / CHUNK)):
        kept[chunk[0] : chunk[-1] + 1] = transform(_pictures(images, chunk))
    return kept


def _start_worker(number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # Ctrl-C is the main process's to answer; it ends its workers


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until the end, lest it hit a worker that does not ignore it yet, or torch half way through starting them.

    A handler, not a mask: a mask holds in one thread only, and torch has others that the signal may come to.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    held: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            signal.raise_signal(signal.SIGINT)
