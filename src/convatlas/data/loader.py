"""Batches whose order and augmentation depend on seed and epoch alone, for any number of workers and any start."""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from ..errors import ConvatlasError
from .cache import Cached
from .draws import image_seeds
from .images import Files, ImageSet, Subset, Tensors, UnreadableImage, ranged
from .reading import Read, filled, filler, skip, start_worker, started
from .sampling import balanced, permutation
from .sampling import stable_seed as stable_seed
from .transform import Transform

KEPT_BYTES = 2**30      # a set in memory is transformed once and kept where that takes less
CHUNK = 4096            # pictures transformed at once
AT_ONCE = 32            # files decoded by threads before they are transformed
GROUP = 8               # pictures of different sizes transformed at once: more no longer fit into the caches


class Batch(NamedTuple):
    """One process's share of a global batch; n is at least 1."""

    images: Tensor      # float32 (n, C, H, W)
    labels: Tensor      # the image set's rows (n, …): int64 (n,) where they are classes
    indices: Tensor     # int64 (n,), in the image set; -1 marks a filler that must weigh nothing
    total: int          # images planned for the global batch, over all processes


@runtime_checkable
class Ordered(Protocol):
    """An image set with an order of its own, which shuffling then follows: shards, read one after the other."""

    def order(self, seed: int, epoch: int) -> Tensor:
        """Every index once: int64 (N,)."""
        ...


class Loader:
    """Batches of an image set; `batch_size` counts the images of all `world` processes together.

    Each global batch, the short last one included, is split contiguously over the processes; one that gets no image, or
    none that can be read, yields a single filler, so that all stay in step. A last batch of fewer than `least` images
    is joined to the one before, and shares are filled up to their part of `least`. Unreadable images are left out and
    noted in `skipped` (index -> reason); with `strict` they raise. `sampling="balanced"` draws every class equally
    often (`sampling.balanced`), always shuffled. `workers` processes read and transform images ahead and stay for the
    next epoch; so a loader serves one epoch at a time. A set in memory is transformed in whole batches; where the
    transform is not random and the result takes less than 1 GiB, once, by the main process.
    """

    def __init__(
        self,
        images: ImageSet,
        transform: Transform,
        batch_size: int,
        *,
        least: int = 1,
        seed: int = 0,
        shuffle: bool = False,
        sampling: Literal["all", "balanced"] = "all",
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        strict: bool = False,
    ):
        if not len(images):
            raise ConvatlasError("there are no images to go over")
        if batch_size < 1 or workers < 0 or not 0 <= rank < world:
            raise ValueError(f"batch_size={batch_size}, workers={workers}, rank={rank} of world={world}")
        images = images if _in_memory(images) else ranged(images, transform.range)
        self.images = images
        self._sizes = sizes(len(images), batch_size, least)
        self.steps = len(self._sizes)
        self.skipped: dict[int, str] = {}
        self._transform = transform
        # Files only: other sets may not be thread-safe. Workers are parallel enough by themselves.
        threads = 1 if workers or not _are_files(images) else max(1, (os.cpu_count() or 1) // world)
        self._reader = _Reader(images, transform, seed, threads)
        self._jobs: list[_Job] = []
        self._seed = seed
        self._shuffle = shuffle
        self._balanced = sampling == "balanced"
        self._rank, self._world, self._least = rank, world, least // world
        self._ahead = DataLoader(
            self._reader,
            batch_size=None,
            sampler=self._jobs,             # what an epoch puts there; the workers stay, and are sent new jobs
            num_workers=workers,
            persistent_workers=True,
            worker_init_fn=start_worker,
            generator=torch.Generator(),    # otherwise it draws from the global one, and dropout changes
        ) if workers else None
        self._strict = strict
        self._kept: Tensor | None = None

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from global batch number `start` on."""
        plan = self._plan(epoch)[start:]
        shares = [_share(batch, self._rank, self._world) for batch in plan]
        for batch, read in zip(plan, self._read(shares, epoch), strict=True):
            skip(self.skipped, read.unreadable, len(self.images), self._strict)
            read = filled(read, self._least)
            yield Batch(read.images, read.labels, read.indices, len(batch))

    def _plan(self, epoch: int) -> list[Tensor]:
        """The draws of every global batch: indices, plus a multiple of their number where one is drawn again."""
        if self._balanced:
            order = balanced(self.images.labels, self._seed, epoch)
        elif not self._shuffle:
            order = torch.arange(len(self.images))
        elif isinstance(self.images, Ordered):
            order = self.images.order(self._seed, epoch)
        else:
            order = permutation(len(self.images), self._seed, epoch)
        return list(torch.split(order, self._sizes))

    def _read(self, shares: list[Tensor], epoch: int) -> Iterator[Read[Tensor]]:
        if self._keeps():
            yield from (self._gather(share % len(self.images)) for share in shares)
            return
        jobs = [_Job(epoch, share) for share in shares]
        if self._ahead is None:
            yield from (self._reader.read(*job) for job in jobs)
            return
        self._jobs[:] = jobs
        yield from started(self._ahead)

    def _keeps(self) -> bool:
        t = self._transform
        size = len(self.images) * t.in_chans * t.size[0] * t.size[1] * 4
        return not t.random and size < KEPT_BYTES and _in_memory(self.images)

    def _gather(self, share: Tensor) -> Read[Tensor]:
        if not len(share):
            return self._reader.filler({})
        if self._kept is None:
            # Outside inference mode, in which evaluation runs: what is made there cannot be trained on later.
            with torch.inference_mode(False), torch.no_grad():
                self._kept = _transformed(self.images, self._transform)
        return Read(self._kept[share], self.images.labels[share], share, {})


class _Job(NamedTuple):
    """One share of a batch to be read."""

    epoch: int
    draws: Tensor


class _Reader(Dataset["Read[Tensor] | ConvatlasError"]):
    """Reads and transforms shares; a worker returns errors, for `started` to raise."""

    def __init__(self, images: ImageSet, transform: Transform, seed: int, threads: int):
        self.images, self.transform, self.seed, self.threads = images, transform, seed, threads

    def __getitem__(self, job: _Job) -> "Read[Tensor] | ConvatlasError":
        try:
            return self.read(*job)
        except ConvatlasError as error:
            return error

    def read(self, epoch: int, draws: Tensor) -> Read[Tensor]:
        """One share; raises ConvatlasError."""
        indices = draws % len(self.images)
        seeds = image_seeds(self.seed, epoch, draws)
        if len(indices) and _in_memory(self.images):
            return Read(self.transform.batch(_pictures(self.images, indices), seeds),
                        self.images.labels[indices], indices, {})
        images, places, reasons = together(self.transform, self._pictures(indices.tolist()), seeds)
        unreadable = {int(indices[place]): reason for place, reason in reasons.items()}
        if not places:
            return self.filler(unreadable)
        return Read(images, self.images.labels[indices[places]], indices[places], unreadable)

    def _pictures(self, indices: list[int]) -> "Iterator[Tensor | UnreadableImage]":
        """The pictures in their order; a few at a time, for photographs are large."""
        if self.threads == 1:
            yield from map(self._picture, indices)
            return
        with ThreadPoolExecutor(self.threads) as pool:
            for first in range(0, len(indices), AT_ONCE):
                yield from pool.map(self._picture, indices[first : first + AT_ONCE])

    def _picture(self, index: int) -> Tensor | UnreadableImage:
        try:
            return self.images.read(index)
        except UnreadableImage as error:
            return error

    def filler(self, unreadable: dict[int, str]) -> Read[Tensor]:
        """A stand-in for a share without a picture."""
        return filler(torch.zeros(1, self.transform.in_chans, *self.transform.size), self.images.labels, unreadable)


def together(
    transform: Transform, pictures: Iterator[Tensor | UnreadableImage], seeds: Tensor
) -> tuple[Tensor, list[int], dict[int, str]]:
    """As many pictures as seeds, transformed a few at a time: float32 (m, C, h, w), their places, and why others are
    missing.
    """
    done, places, reasons = [], [], dict[int, str]()
    for first in range(0, len(seeds), GROUP):
        here = dict(enumerate(islice(pictures, GROUP), first))
        reasons |= {place: str(found) for place, found in here.items() if isinstance(found, UnreadableImage)}
        good = {place: found for place, found in here.items() if isinstance(found, Tensor)}
        images, refused = transform.each(list(good.values()), seeds[list(good)])
        reasons |= {place: str(refused[number]) for number, place in enumerate(good) if number in refused}
        places += [place for place in good if place not in reasons]
        done.append(images)
    return _joined(done), places, reasons


def _joined(parts: list[Tensor]) -> Tensor:
    """One after the other; in a worker in memory that the main process sees, so that nothing is copied on the way to
    it.
    """
    if get_worker_info() is None or not parts:
        return torch.cat(parts) if parts else torch.empty(0)
    shape = (sum(map(len, parts)), *parts[0].shape[1:])
    size = math.prod(shape) * parts[0].element_size()
    # as torch's default_collate does
    shared = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
    whole = torch.empty(0, dtype=parts[0].dtype).set_(shared, 0, shape, torch.empty(shape, device="meta").stride())
    return torch.cat(parts, out=whole)


def sizes(count: int, batch_size: int, least: int = 1) -> list[int]:
    """Images in each batch of an epoch over `count`; the last is joined to the one before if it has fewer than `least`.
    """
    found = [min(batch_size, count - first) for first in range(0, count, batch_size)]
    if len(found) > 1 and found[-1] < least:
        found[-2:] = [found[-2] + found[-1]]
    return found


def _share(batch: Tensor, rank: int, world: int) -> Tensor:
    """The contiguous part of a global batch that belongs to `rank`; the sizes differ by one at most."""
    return batch.tensor_split(world)[rank]


def _are_files(images: ImageSet) -> bool:
    return isinstance(images, Files) or (isinstance(images, Subset) and _are_files(images.base))


def _in_memory(images: ImageSet) -> bool:
    """True if some pictures can be had at once."""
    if isinstance(images, Subset):
        return _in_memory(images.base)
    return isinstance(images, Tensors | Cached) and images.images is not None


def _pictures(images: ImageSet, indices: Tensor) -> Tensor:
    """Some pictures of a set in memory: uint8 (n, C, H, W)."""
    if isinstance(images, Subset):
        return _pictures(images.base, images.indices[indices])
    if isinstance(images, Cached):
        return images.at(indices)
    assert isinstance(images, Tensors)
    return images.images[indices]


def _transformed(images: ImageSet, transform: Transform) -> Tensor:
    """A whole set in memory, transformed: float32 (N, C, H, W)."""
    kept = torch.empty(len(images), transform.in_chans, *transform.size)
    for chunk in torch.arange(len(images)).chunk(math.ceil(len(images) / CHUNK)):
        kept[chunk[0] : chunk[-1] + 1] = transform(_pictures(images, chunk))
    return kept
