"""Batches from shards that are read one after the other: what `Loader` promises, in another order."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from itertools import islice

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ...errors import ConvatlasError
from ..draws import image_seeds
from ..images import UnreadableImage
from ..loader import Batch, sizes, together
from ..reading import Read, filled, filler, skip, start_worker, started
from ..transform import Transform
from .local import decoded, shuffled
from .stream import Stream


class StreamLoader:
    """Batches of a `Stream`; `batch_size` counts the pictures of all `world` processes together.

    The shards come in an order by (seed, epoch), each shard's pictures in one by (seed, epoch, shard), and this
    sequence of all pictures is cut into one run per process, as long as its shares of all global batches are together.
    So no picture is lost or seen twice in an epoch, each process reads its shards one after the other (one on the
    border between two processes is read by both), and where a batch begins follows from the counts alone: `start`
    leaves out shards without reading them.

    The main process reads, one shard ahead: two shards' files are in its memory. `workers` decode and transform.
    Unreadable pictures, processes without a picture and `least` are treated as `Loader` does.
    """

    def __init__(
        self,
        images: Stream,
        transform: Transform,
        batch_size: int,
        *,
        least: int = 1,
        seed: int = 0,
        shuffle: bool = False,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        strict: bool = False,
    ):
        if batch_size < 1 or workers < 0 or not 0 <= rank < world:
            raise ValueError(f"batch_size={batch_size}, workers={workers}, rank={rank} of world={world}")
        self.images = copy(images)
        self.images.how = images.how._replace(range=transform.range or images.how.range)
        self.skipped: dict[int, str] = {}
        self._transform = transform
        self._seed, self._shuffle, self._strict, self._workers = seed, shuffle, strict, workers
        self._totals, self._least = sizes(len(images), batch_size, least), least // world
        self.steps = len(self._totals)
        shares = [[_share(total, each, world) for total in self._totals] for each in range(rank + 1)]
        self._mine = shares[rank]
        self._first = sum(map(sum, shares[:rank]))      # where this process's run begins

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from global batch number `start` on."""
        done = sum(self._mine[:start])
        pictures = self._pictures(epoch, self._first + done, self._first + sum(self._mine))
        batches = DataLoader(
            _Decoder(self.images, self._transform, self._seed, epoch),
            batch_size=None,
            # what a sampler yields goes to the worker whose turn it is: here the files themselves, still compressed
            sampler=(list(islice(pictures, count)) for count in self._mine[start:]),
            num_workers=self._workers,
            worker_init_fn=start_worker,
            generator=torch.Generator(),    # otherwise it draws from the global one, and dropout changes
        )
        for total, read in zip(self._totals[start:], started(batches), strict=True):
            skip(self.skipped, read.unreadable, len(self.images), self._strict)
            read = filled(read, self._least)
            yield Batch(read.images, read.labels, read.indices, total)

    def _pictures(self, epoch: int, begin: int, end: int) -> "Iterator[tuple[int, bytes]]":
        """Number and file of the pictures `begin` to `end` of the epoch's sequence."""
        counts, starts = self.images.counts, self.images.starts
        order = shuffled(len(counts), self._seed, epoch).tolist() if self._shuffle else list(range(len(counts)))
        wanted, position = [], 0
        for shard in order:
            first, last = max(begin - position, 0), min(end - position, counts[shard])
            if first < last:
                wanted.append((shard, first, last))
            position += counts[shard]
        for (shard, first, last), files in zip(wanted, _ahead(self.images, [shard for shard, _, _ in wanted]),
                                               strict=True):
            inside = shuffled(counts[shard], self._seed, epoch, shard) if self._shuffle else torch.arange(counts[shard])
            for number in inside[first:last].tolist():
                yield starts[shard] + number, files[number]


def _share(total: int, rank: int, world: int) -> int:
    """Pictures of a global batch that belong to `rank`; one more at most than to another."""
    return total // world + (rank < total % world)


def _ahead(images: Stream, shards: list[int]) -> Iterator[list[bytes]]:
    """The files of each shard, the next one being read meanwhile."""
    pool = ThreadPoolExecutor(1)
    try:
        coming = [pool.submit(images.shard, shard) for shard in shards[:1]]
        for following in (*shards[1:], None):
            files = coming.pop().result()
            if following is not None:
                coming.append(pool.submit(images.shard, following))
            yield files
    finally:
        pool.shutdown(wait=False, cancel_futures=True)      # an epoch that is left early waits for nothing


class _Decoder(Dataset["Read[Tensor] | ConvatlasError"]):
    """Files to a share of a batch; errors are returned, for `started` to raise."""

    def __init__(self, stream: Stream, transform: Transform, seed: int, epoch: int):
        self.stream, self.transform, self.seed, self.epoch = stream, transform, seed, epoch

    def __getitem__(self, files: list[tuple[int, bytes]]) -> "Read[Tensor] | ConvatlasError":
        try:
            return self._get(files)
        except ConvatlasError as error:
            return error

    def _get(self, files: list[tuple[int, bytes]]) -> Read[Tensor]:
        numbers = torch.tensor([index for index, _ in files], dtype=torch.int64)
        seeds = image_seeds(self.seed, self.epoch, numbers)
        images, places, reasons = together(self.transform, (self._picture(*file) for file in files), seeds)
        unreadable = {files[place][0]: reason for place, reason in reasons.items()}
        if not places:
            return filler(torch.zeros(1, self.transform.in_chans, *self.transform.size), self.stream.labels, unreadable)
        return Read(images, self.stream.labels[numbers[places]], numbers[places], unreadable)

    def _picture(self, index: int, content: bytes) -> Tensor | UnreadableImage:
        try:
            return decoded(content, self.stream.name(index), self.stream.how)
        except UnreadableImage as error:
            return error
