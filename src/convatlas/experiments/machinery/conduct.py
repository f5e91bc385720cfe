"""The conduct of an experiment: its trials on several processes, resumable, each of them a run folder."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path

import torch

from ... import bounded
from ...data.images import ImageSet
from ...data.source import open_data
from ...data.split import stratified
from ...engine.records import read_rows
from ...errors import ConvatlasError
from ...files import put
from ...run import Data, Run
from ...runs.folder import METRICS
from ...trials import Part, Pool, attempt, heeded, pack, part, pooled
from .plan import TUNING, Experiment, Images, Protocol, Results
from .trial import Arm, Figures, Rows, Trial, by_chance, final

TUNED = 0.2                 # share of the training images that rates are judged on
NOTE = "images.json"        # beside the archives: which images they hold
DONE = "figures.json"       # of a trial, written last
KEPT = ("epoch", "train_loss", "train_top1", "val_loss", "val_top1", "val_iou", "seconds")     # of a row, in results


@dataclass(frozen=True)
class Task:
    """One trial to be done: `run` is None where nothing is trained."""

    arm: Arm
    seed: int
    run: Run | None
    folder: Path
    measure: Callable[[Trial], Figures]

    @property
    def key(self) -> str:
        """Twelve digits of what the trial is: a finished one with another key is done anew."""
        run = self.run and self.run.change("data.source", _what(self.run.data.source))
        text = f"{self.arm.name}\n{self.seed}\n{run and run.to_yaml()}"
        return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


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


Tell = Callable[[str], None]


def conduct(experiment: Experiment, protocol: Protocol, out: Path, *, seeds: int, workers: int, tell: Tell,
            data_dir: str | None = None, download: bool = False) -> Conducted:
    """Train and measure every arm with every seed below `out`; what is done there already stays.

    Each trial computes on one thread, so that neither their number nor that of the processes (`workers`; 0: this one)
    changes a figure. Raises KeyboardInterrupt when it is interrupted, after checkpoints are written.
    """
    with pooled(workers) as pool:
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
    train = _some(source.train, images.train, images.source)
    test = _some(source.val, images.test, images.source)
    pack(whole, {"train": train, "val": test}, source.classes)
    if protocol.rates:
        kept, held = (index.numpy() for index in stratified(torch.from_numpy(train[1]), TUNED, TUNING))
        pack(tuning, {"train": (train[0][kept], train[1][kept]), "val": (train[0][held], train[1][held])},
             source.classes)
    put(note, said)
    return Sources(str(whole), str(tuning))


def _some(images: ImageSet, count: int | None, source: str) -> Part:
    """That many of the images, stratified, and their labels."""
    chosen = torch.arange(len(images))
    if count is not None and count < len(images):
        chosen = stratified(images.labels, count / len(images), 0)[1]
    return part(images, chosen, source)


def _what(source: str) -> str:
    """A source by its content, wherever it lies: of an archive that was made here, which images it holds."""
    note = Path(source).with_name(NOTE)
    return f"{Path(source).name} {bounded.text(note)}" if source.endswith(".npz") and note.is_file() else source


# -- trials ----------------------------------------------------------------------------------------------------------

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
            waiting[pool.executor.submit(heeded, _done, task)] = task
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
        diverged, resumed = attempt(task.run, task.folder)
        rows = [{name: float(f"{row[name]:.6g}") for name in KEPT if name in row}
                for row in read_rows(task.folder / METRICS)]
        if diverged:
            classes = len(open_data(task.run.data).classes)
            rows.append(by_chance(classes, task.run.train.epochs, rows[-1]["seconds"] if rows else 0.0))
        spent = rows[-1]["seconds"] if resumed else 0.0     # of the sessions before: their wall time, on one thread
    figures = {name: float(value) for name, value in
               task.measure(Trial(task.arm, task.seed, task.folder if task.run else None, rows)).items()}
    done = Done(figures, rows, max(time.process_time() - began, spent))
    put(task.folder / DONE, json.dumps({"format": 1, "key": task.key, **vars(done)}), parents=True)
    return done
