"""Reading a process's share of a batch, in workers or not: what every loader does alike."""

import logging
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..errors import ConvatlasError
from .images import UnreadableImage

log = logging.getLogger("convatlas")

Images = TypeVar("Images")


class Read(NamedTuple, Generic[Images]):
    """One share, read."""

    images: Images
    labels: Tensor      # the image set's rows (n, …)
    indices: Tensor     # int64 (n,), in the image set; -1 marks a filler that must weigh nothing
    unreadable: dict[int, str]      # index -> reason


def filler(images: Images, labels: Tensor, unreadable: dict[int, str]) -> Read[Images]:
    """A stand-in for a share without a readable image, so that all processes stay in step: one of `images`, labelled as
    `labels` are.
    """
    return Read(images, labels.new_zeros(1, *labels.shape[1:]), torch.full((1,), -1), unreadable)


def filled(read: Read[Tensor], least: int) -> Read[Tensor]:
    """The share with fillers behind it, if it has fewer images than `least`: some could not be read."""
    missing = least - len(read.indices)
    if missing <= 0:
        return read
    images, labels, indices = (torch.cat([part, torch.full((missing, *part.shape[1:]), value, dtype=part.dtype)])
                               for part, value in ((read.images, 0), (read.labels, 0), (read.indices, -1)))
    return Read(images, labels, indices, read.unreadable)


def skip(skipped: dict[int, str], unreadable: Mapping[int, str], count: int, strict: bool) -> None:
    """Note in `skipped` what could not be read, of `count` images in all; a ConvatlasError if none could, or one with
    `strict`.
    """
    for index, reason in unreadable.items():
        if strict:
            raise UnreadableImage(f"{reason}; without strict it would be skipped")
        if index not in skipped:
            skipped[index] = reason
            log.info("skipped: %s", reason)
        if len(skipped) == count:
            raise ConvatlasError(f"none of the {count} images can be read; the last one: {reason}")


def started(batches: "DataLoader[Any]") -> Iterator[Any]:
    """Its batches, once its workers have started; an error that a worker returns is raised here, for it would add its
    traceback.
    """
    with _interrupts_held():
        coming = iter(batches)
    for read in coming:
        if isinstance(read, ConvatlasError):
            raise read
        yield read


def start_worker(number: int) -> None:
    """A loader's `worker_init_fn`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # Ctrl-C is the main process's to answer; it ends its workers


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until the end, lest it hit a worker that does not ignore it yet, or torch half way through starting
    them.

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
