"""Trials: many trainings beside each other, on one thread each, that go on where they were interrupted.

No figure depends on how many there are at a time. Images are packed once, for all trials alike.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from threading import Thread
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch

from .api import train
from .data.images import ImageSet
from .engine.checkpoint import newest
from .engine.distributed import world
from .errors import ConvatlasError, DivergedError
from .files import whole_write
from .run import Run
from .runs.folder import check_resume
from .tasks import task_of
from .tasks.fit import Choice, looked_at, scaled

POSIX = os.name == "posix"
Given = TypeVar("Given")
T = TypeVar("T")

Part = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]       # uint8 (N, C, H, W), int64 (N,)


class InterruptedTrialError(Exception):
    """A trial was interrupted; the same command goes on."""


def fitted(run: Run, choice: Choice | None, tell: Callable[[str], None]) -> Run:
    """The run as its recipe is made to fit the data: once, for all trials alike."""
    if choice is None:
        return run
    with world(run.train.device) as here:
        task = task_of(run.model.name)
        run, lines = scaled(run, choice, looked_at(task, task.open(run, here, None, False)))
    for line in lines:
        tell(line)
    return run


# -- training --------------------------------------------------------------------------------------------------------

class Attempt(NamedTuple):
    """The way in which a training ended."""

    diverged: bool
    resumed: bool       # from a checkpoint that was there


def attempt(run: Run, folder: Path) -> Attempt:
    """Train in a run folder, or go on in it where it holds the beginning of the same run; an older run that is another
    one is replaced. Raises InterruptedTrialError after Ctrl-C, when a checkpoint is written.
    """
    resumed = newest(folder) is not None and _same(run, folder)
    try:
        trained = train(run, resume=folder) if resumed else train(run, out=folder, force=True)
    except DivergedError:
        return Attempt(True, resumed)
    if trained.outcome.interrupted:
        raise InterruptedTrialError
    return Attempt(False, resumed)


def _same(run: Run, folder: Path) -> bool:
    try:
        check_resume(folder, run)
    except ConvatlasError:
        return False
    return True


# -- images ----------------------------------------------------------------------------------------------------------

def part(images: ImageSet, chosen: torch.Tensor, source: str) -> Part:
    """The chosen images, which must be of one size, and their labels."""
    pixels = [images.read(int(index)).numpy() for index in chosen]
    shapes = {each.shape for each in pixels}
    if len(shapes) > 1:
        raise ConvatlasError(f"the images of {source!r} have several sizes, such as "
                             f"{' and '.join('×'.join(map(str, shape[1:])) for shape in sorted(shapes)[:2])}: bring "
                             "them to one size first")
    return np.stack(pixels), images.labels[chosen].numpy()


def pack(path: Path, parts: Mapping[Literal["train", "val", "test"], Part], classes: Sequence[str]) -> None:
    """Write the parts of data as an archive, which `--data` takes."""
    arrays = {f"{letter}_{name}": array for name, both in parts.items()
              for letter, array in zip("xy", both, strict=True)}
    with whole_write(path, "name another folder with --out", parents=True) as beside, beside.open("wb") as file:
        np.savez(file, classes=np.array(classes), **arrays)     # type: ignore[arg-type]


# -- processes -------------------------------------------------------------------------------------------------------

class Pool(NamedTuple):
    """Processes, and their number."""

    executor: ProcessPoolExecutor
    processes: int


@contextmanager
def pooled(workers: int) -> Iterator[Pool | None]:
    """Processes that compute on one thread each; None for 0: this one does.

    Ctrl-C, and whatever else is raised here, interrupts each, which writes a checkpoint and ends.
    """
    if not workers:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield None
        finally:
            torch.set_num_threads(threads)
        return
    executor = ProcessPoolExecutor(workers, get_context("spawn"), partial(_begin, os.getpid()))
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)       # which processes that begin now inherit
    executor.submit(int)
    signal.signal(signal.SIGINT, heard)
    try:
        yield Pool(executor, workers)
    except BaseException as error:
        for worker in active_children() if POSIX else ():
            os.kill(worker.pid or 0, signal.SIGINT)     # each writes a checkpoint and ends
        if isinstance(error, InterruptedTrialError):
            raise KeyboardInterrupt from None
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def heeded(do: Callable[[Given], T], given: Given) -> T:
    """Call `do` in a worker, which heeds Ctrl-C while it lasts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return do(given)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def processes() -> int:
    """The number of processes that suit this machine: one where a GPU does the work, else one per processor."""
    return 1 if torch.cuda.is_available() else os.cpu_count() or 1


def _begin(parent: int) -> None:
    """A worker's beginning: one thread, Ctrl-C from its parent only (a second one would stop a trial at once), and an
    end when its parent has ended.
    """
    if POSIX:
        os.setpgrp()
    torch.set_num_threads(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
