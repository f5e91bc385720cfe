"""The conduct of an experiment: its trials on several processes, resumable, each of them a run folder."""

import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from inspect import getsource
from itertools import islice
from multiprocessing import active_children, get_context
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
import torch

from ... import bounded
from ...api import train
from ...data.images import ImageSet
from ...data.source import open_data
from ...data.split import stratified
from ...engine.checkpoint import newest
from ...engine.distributed import world
from ...engine.records import read_rows
from ...errors import ConvatlasError, DivergedError
from ...files import put, whole_write
from ...run import Data, Run
from ...runs.folder import METRICS, run_of
from ...tasks import task_of
from .plan import TUNING, Experiment, Images, Protocol, Results
from .trial import Arm, Figures, Rows, Trial, by_chance, final

POSIX = os.name == "posix"
TUNED = 0.2                 # share of the training images that rates are judged on
NOTE = "images.json"        # beside the archives: which images they hold
DONE = "figures.json"       # of a trial, written last
KEPT = ("epoch", "train_loss", "train_top1", "val_loss", "val_top1", "val_iou", "seconds")     # of a row, in results


class InterruptedTrialError(Exception):
    """A trial was interrupted; the same command goes on."""


@dataclass(frozen=True)
class Task:
    """One trial to be done: `run` is None where nothing is trained."""

    arm: Arm
    seed: int
    run: Run | None
    folder: Path
    measure: Callable[[Trial], Figures]

    @property
    def asked(self) -> str:
        """Twelve digits of what is trained."""
        run = self.run and self.run.change("data.source", _what(self.run.data.source))
        return _digits(f"{self.arm.name}\n{self.seed}\n{run and run.to_yaml()}")

    @property
    def key(self) -> str:
        """Twelve digits of what is trained and of the file that measures it: a finished trial with another key is
        measured anew, and trained anew where another run was asked for.
        """
        return _digits(f"{self.asked}\n{_text(self.measure.__module__)}")


@dataclass(frozen=True)
class Done:
    """A trial that is done."""

    figures: Figures
    rows: Rows
    cpu: float      # seconds of the processor that it took, all sessions together


@dataclass(frozen=True)
class Tuning:
    """The rates that were tried for one arm, the errors they gave on images held out, and the one that was chosen."""

    errors: Mapping[float, tuple[float, ...]]       # of each tuning seed, in per cent
    chosen: float

    @property
    def edge(self) -> str:
        """`largest` or `smallest` where the chosen rate is the last that was tried on that side, else nothing."""
        return "largest" if self.chosen == max(self.errors) else "smallest" if self.chosen == min(self.errors) else ""


@dataclass(frozen=True)
class Conducted:
    """The outcome of an experiment's conduct."""

    results: Results
    tuning: Mapping[str, Tuning]
    cpu: float                          # seconds of the processor, all trials together


class Pool(NamedTuple):
    """Processes, and their number."""

    executor: ProcessPoolExecutor
    processes: int


Tell = Callable[[str], None]


def conduct(experiment: Experiment, protocol: Protocol, out: Path, *, seeds: int, workers: int, tell: Tell,
            data_dir: str | None = None, download: bool = False) -> Conducted:
    """Train and measure every arm with every seed below `out`; what is done there already stays.

    Each trial computes on one thread, so that neither their number nor that of the processes (`workers`; 0: this one)
    changes a figure. Raises KeyboardInterrupt when it is interrupted, after checkpoints are written.
    """
    folders: dict[Path, Arm] = {}
    for arm in protocol.arms:
        if (other := folders.setdefault(_folder(out, arm), arm)) != arm:
            raise ConvatlasError(f"{other.name!r} and {arm.name!r} would share the folder "
                                 f"{_folder(out, arm).name}: ask for one of them at a time")
    with _pool(workers) as pool:
        sources = _sources(protocol, out, data_dir, download)
        tuning: dict[str, Tuning] = {}
        spent = 0.0
        if protocol.rates:
            tasks = _tuning_tasks(protocol, sources.tuning, out)
            done = _all(pool, tasks, "trials of learning rates", tell)
            spent += sum(each.cpu for each in done)
            tuning = _chosen(protocol, tasks, done)
            for name, tuned in tuning.items():
                if tuned.edge:
                    tell(f"{name}: the rate {tuned.chosen:g} was chosen, the {tuned.edge} that was tried; a better one "
                         "may lie beyond.")
        tasks = [_task(experiment, protocol, arm, seed, sources.whole, out,
                       tuning[arm.name].chosen if arm.name in tuning else None)
                 for seed in range(seeds) for arm in protocol.arms]
        done = _all(pool, tasks, "trials", tell)
        spent += sum(each.cpu for each in done)
    figures: dict[int, dict[str, Figures]] = {}
    rows: dict[int, dict[str, Rows]] = {}
    for task, each in zip(tasks, done, strict=True):
        figures.setdefault(task.seed, {})[task.arm.name] = each.figures
        rows.setdefault(task.seed, {})[task.arm.name] = each.rows
    return Conducted(Results(tuple(arm.name for arm in protocol.arms), figures, rows), tuning, spent)


# -- images ----------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Sources:
    """Places of the images: all, and the training images alone, of which a part is held out for tuning."""

    whole: str
    tuning: str


def _sources(protocol: Protocol, out: Path, data_dir: str | None, download: bool) -> Sources:
    """The images of a protocol: as archives below `out` where some are taken, rates tried, or they lie elsewhere."""
    images = protocol.images
    if protocol.base is None:
        return Sources("", "")
    if images is None:
        return Sources(protocol.base.data.source, "")
    if images.train is None and images.test is None and not protocol.rates and data_dir is None and not download:
        return Sources(images.source, "")
    return _packed(images, protocol, out, data_dir, download)


def _packed(images: Images, protocol: Protocol, out: Path, data_dir: str | None, download: bool) -> Sources:
    whole, tuning = out / "images.npz", out / "tuning.npz"
    said = json.dumps([vars(images), bool(protocol.rates)])
    note = out / NOTE
    if note.is_file() and bounded.text(note) == said and whole.is_file():
        return Sources(str(whole), str(tuning))
    source = open_data(Data(source=images.source, data_dir=data_dir, download=download))
    if source.train.labels.dim() > 1:
        raise ConvatlasError(f"{images.source!r} has images with several labels or masks: this experiment takes images "
                             "of one class each")
    train = _part(source.train, images.train, images.source)
    test = _part(source.val, images.test, images.source)
    _write(whole, train, test, source.classes)
    if protocol.rates:
        kept, held = (index.numpy() for index in stratified(torch.from_numpy(train[1]), TUNED, TUNING))
        _write(tuning, (train[0][kept], train[1][kept]), (train[0][held], train[1][held]), source.classes)
    put(note, said)
    return Sources(str(whole), str(tuning))


Part = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]       # uint8 (N, C, H, W), int64 (N,)


def _part(images: ImageSet, count: int | None, source: str) -> Part:
    """That many of the images, stratified, and their labels."""
    chosen = torch.arange(len(images))
    if count is not None and count < len(images):
        chosen = stratified(images.labels, count / len(images), 0)[1]
    pixels = [images.read(int(index)).numpy() for index in chosen]
    shapes = {each.shape for each in pixels}
    if len(shapes) > 1:
        raise ConvatlasError(f"the images of {source!r} have several sizes, such as "
                             f"{' and '.join('×'.join(map(str, shape[1:])) for shape in sorted(shapes)[:2])}: bring "
                             "them to one size first")
    return np.stack(pixels), images.labels[chosen].numpy()


def _write(path: Path, train: Part, test: Part, classes: Sequence[str]) -> None:
    with whole_write(path, "name another folder with --out", parents=True) as beside, beside.open("wb") as file:
        np.savez(file, x_train=train[0], y_train=train[1], x_val=test[0], y_val=test[1], classes=np.array(classes))


def _what(source: str) -> str:
    """A source by its content, wherever it lies: of an archive that was made here, which images it holds."""
    note = Path(source).with_name(NOTE)
    return f"{Path(source).name} {bounded.text(note)}" if source.endswith(".npz") and note.is_file() else source


# -- trials ----------------------------------------------------------------------------------------------------------

def _digits(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


@cache
def _text(module: str) -> str:
    """The text of a module."""
    return getsource(sys.modules[module])


def _folder(out: Path, arm: Arm, *rest: str) -> Path:
    word = "".join(c if c.isalnum() or c in "-." else "-" for c in arm.name)
    return out.joinpath("trials", word, *rest)


def _task(experiment: Experiment, protocol: Protocol, arm: Arm, seed: int, source: str, out: Path,
          rate: float | None) -> Task:
    run = None if protocol.base is None else protocol.run(arm, seed, source, rate)
    return Task(arm, seed, run, _folder(out, arm, f"seed-{seed}"), experiment.measure)


def _tuning_tasks(protocol: Protocol, source: str, out: Path) -> list[Task]:
    tasks = []
    for arm in protocol.arms:
        for rate in protocol.rates:
            for seed in range(TUNING, TUNING + protocol.tuning_seeds):
                run = protocol.run(arm, seed, source, rate)
                if protocol.tuning_epochs is not None:
                    run = run.change("train.epochs", protocol.tuning_epochs)
                tasks.append(Task(arm, seed, run, _folder(out, arm, f"rate-{rate:g}", f"seed-{seed}"), final))
    return tasks


def _chosen(protocol: Protocol, tasks: Sequence[Task], done: Sequence[Done]) -> dict[str, Tuning]:
    """Of each arm the rate with the least mean error on the images held out; of equals the smaller."""
    tuning = {}
    for arm in protocol.arms:
        errors = {rate: tuple(each.figures["test_error"] for task, each in zip(tasks, done, strict=True)
                              if task.arm == arm and task.run is not None and task.run.optim.lr == rate)
                  for rate in protocol.rates}
        tuning[arm.name] = Tuning(errors, min(sorted(errors), key=lambda rate: sum(errors[rate])))
    return tuning


def _all(pool: Pool | None, tasks: Sequence[Task], what: str, tell: Tell) -> list[Done]:
    """Do the tasks that are not done yet, and say how far it is."""
    known = {task.key: found for task in tasks if (found := _known(task)) is not None}
    open_ = [task for task in tasks if task.key not in known]
    if known:
        tell(f"{len(known)} of {len(tasks)} {what} are done already.")
    began = time.monotonic()
    for count, (task, done) in enumerate(_doing(pool, open_), 1):
        known[task.key] = done
        left = (time.monotonic() - began) / count * (len(open_) - count)
        error = done.figures.get("test_error")
        tell(f"{len(known)} of {len(tasks)} {what}: {task.arm.name}, seed {task.seed}"
             + (f", test error {error:.2f} %" if error is not None else "")
             + (f"; about {math.ceil(left / 60)} min left" if left else ""))
    return [known[task.key] for task in tasks]


def _doing(pool: Pool | None, tasks: Sequence[Task]) -> Iterator[tuple[Task, Done]]:
    if pool is None:
        for task in tasks:
            yield task, _done(task)
        return
    coming = iter(tasks)
    waiting: dict[Future[Done], Task] = {}
    while True:
        for task in islice(coming, pool.processes - len(waiting)):      # no more, for what a pool has taken it does
            waiting[pool.executor.submit(_heeded, task)] = task
        if not waiting:
            return
        for future in wait(waiting, return_when="FIRST_COMPLETED").done:
            yield waiting.pop(future), future.result()


def _known(task: Task) -> Done | None:
    """The record that a finished trial left, if it was this one."""
    path = task.folder / DONE
    if not path.is_file():
        return None
    try:
        stored = json.loads(bounded.text(path))
    except ValueError:
        return None
    return Done(stored["figures"], stored["rows"], stored["cpu"]) if stored["key"] == task.key else None


def _done(task: Task) -> Done:
    """Do a trial: train it, or go on with it, and measure."""
    began = time.process_time()
    rows: list[dict[str, float]] = []
    spent = 0.0
    if task.run is not None:
        classes, resume = _trained(task)
        rows = [{name: float(f"{row[name]:.6g}") for name in KEPT if name in row}
                for row in read_rows(task.folder / METRICS)]
        if classes:
            rows.append(by_chance(classes, task.run.train.epochs, rows[-1]["seconds"] if rows else 0.0))
        spent = rows[-1]["seconds"] if resume else 0.0      # of the sessions before: their wall time, on one thread
    figures = {name: float(value) for name, value in
               task.measure(Trial(task.arm, task.seed, task.folder if task.run else None, rows)).items()}
    done = Done(figures, rows, max(time.process_time() - began, spent))
    put(task.folder / DONE, json.dumps({"format": 1, "key": task.key, **vars(done)}), parents=True)
    return done


def _trained(task: Task) -> tuple[int, bool]:
    """Train a task's run. Returns the number of classes where it diverged, else 0, and whether it was gone on with."""
    assert task.run is not None
    note = task.folder.with_suffix(".begun")    # beside the run folder, which keeps the run with all that was filled in
    begun = newest(task.folder) is not None and note.is_file() and bounded.text(note) == task.asked
    if not begun:
        note.unlink(missing_ok=True)
        shutil.rmtree(task.folder / "checkpoints", ignore_errors=True)    # before the note stands beside it
        put(note, task.asked, parents=True)
    try:
        trained = (train(run_of(task.folder), resume=task.folder) if begun else
                   train(task.run, out=task.folder, force=True))
    except DivergedError:
        with world(task.run.train.device) as here:
            return len(task_of(task.run.model.name).open(task.run, here).classes), begun
    if trained.outcome.interrupted:
        raise InterruptedTrialError
    return 0, begun


# -- processes -------------------------------------------------------------------------------------------------------

@contextmanager
def _pool(workers: int) -> Iterator[Pool | None]:
    """Processes that compute on one thread each; None: this one does."""
    if not workers:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield None
        finally:
            torch.set_num_threads(threads)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), partial(_begin, os.getpid()))
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)       # which processes that begin now inherit
    pool.submit(int)
    signal.signal(signal.SIGINT, heard)
    try:
        yield Pool(pool, workers)
    except (KeyboardInterrupt, InterruptedTrialError):
        for worker in active_children() if POSIX else ():
            os.kill(worker.pid or 0, signal.SIGINT)     # each writes a checkpoint and ends
        pool.shutdown(wait=True, cancel_futures=True)
        raise KeyboardInterrupt from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _heeded(task: Task) -> Done:
    """Do a trial in a worker, which heeds Ctrl-C while it lasts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return _done(task)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


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
