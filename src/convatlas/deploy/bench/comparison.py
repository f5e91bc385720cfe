"""A network's speed beside its peers': the same weights, equal outputs, and turns in one interleaved run."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import IO, Any

from safetensors.torch import load_file
from torch import Tensor

from ...errors import ConvatlasError
from ..backends.base import Tell
from ..choose import CANDIDATES, TOLERANCE
from ..machine import OPERATIONS
from .sides import ENGINES, LIBRARIES, MATRIX, OURS, PLAIN

# what is compared unless told otherwise: torch.compile takes minutes to set up
AGAINST = (*LIBRARIES, "onnxruntime", "openvino")
LIMIT = 900.0                           # seconds in which one step of a process must be over


@dataclass(frozen=True)
class Side:
    """One side's figures; those that are None were not measured, and `refused` says why."""

    name: str
    latency: float | None = None            # seconds per call, the median over the rounds of each round's median
    best: float | None = None               # the shortest call
    spread: tuple[float, float] | None = None       # shortest and longest round
    throughput: float | None = None         # images per second
    # its time over ours, in the median of the rounds: how many times faster ours is
    ratio: float | None = None
    ratios: tuple[float, ...] = ()          # of each round
    share: float | None = None              # of the machine's measured matrix rate
    setup: float | None = None              # seconds from an idle process to the first scores
    memory: int | None = None               # most bytes held while answering
    idle: float | None = None               # share of a core that it used while others had their turn
    difference: float | None = None         # from ours, relative to the largest score
    # seconds of all cores for a call, and their ratio to ours: what other work on the machine hardly changes
    cpu: float | None = None
    cpu_ratio: float | None = None
    refused: str | None = None


@dataclass(frozen=True)
class Comparison:
    """One network at one batch. `peers` are the libraries' own names for it; engines run on the first one's model."""

    given: str                              # what was asked for: a name, a run folder, a file
    model: str                              # the network's name
    batch: int
    size: tuple[int, int]
    macs: int
    peers: Mapping[str, str]
    backend: str                            # which of ours was taken
    candidates: tuple[Mapping[str, Any], ...]       # what was measured for that
    matrix_rate: float                      # operations per second
    rounds: int
    sides: tuple[Side, ...]                 # ours first
    threads: int | None = None              # None: as many as torch took; before there was a choice
    load: tuple[float, float] | None = None # processes that wanted to run, over the last minute, before and after

    def side(self, name: str) -> Side | None:
        """The side of that name, if it was measured."""
        return next((side for side in self.sides if side.name == name and side.latency is not None), None)

    @property
    def eager(self) -> Side | None:
        """The first library's model as its user gets it."""
        return next((found for name in (*LIBRARIES, PLAIN) if (found := self.side(name))), None)

    @property
    def engines(self) -> list[Side]:
        """The engines on the library's own model, as far as they were measured."""
        return [found for name in ENGINES if (found := self.side(name))]

    @property
    def best_engine(self) -> Side | None:
        """The fastest of them."""
        return min(self.engines, key=lambda side: side.latency or 0.0, default=None)


def bench(model: str, batches: Sequence[int] = (1, 16), against: Sequence[str] = AGAINST, *,
          image_size: int | None = None, backend: str = "auto", rounds: int = 5,
          seconds: float = 0.7, threads: int | None = None, known: Sequence[Comparison] = (), tell: Tell = print,
          candidates: Sequence[str] = CANDIDATES, done: Callable[[Comparison], None] | None = None) -> list[Comparison]:
    """Compare a network (a name, a run folder, a file of weights) as deployed here with its peers, for each batch.

    In `against` a library stands for its own model as its user gets it, an engine for that model run by it; where no
    library has the network, engines run on ours as trained. Every side is a process of its own, with the allocator it
    comes with; in each of the `rounds` every one works for `seconds` while the others wait. A side whose scores differ
    from ours by more than fp32 allows is refused. Each takes `threads`, or as many as torch takes. `candidates` are
    what backend auto chooses from. Comparisons that `known` has are not made again; `done` is told each new one. Raises
    ConvatlasError for a network that cannot be deployed.
    """
    for name in against:
        if name not in (*LIBRARIES, *ENGINES):
            raise ConvatlasError(f"--against {name} is unknown: there are {', '.join((*LIBRARIES, *ENGINES))}")
    if rounds < 1 or seconds <= 0 or min(batches, default=1) < 1:
        raise ConvatlasError(f"rounds = {rounds}, seconds = {seconds:g}, batches = {tuple(batches)} are refused: each "
                             "must be positive")
    found: list[Comparison] = []
    open_ = [batch for batch in batches
             if not any(_covers(each, model, batch, image_size, against) and threads in (None, each.threads)
                        for each in known)]
    if not open_:
        return found
    with tempfile.TemporaryDirectory(prefix="convatlas-bench-") as folder:
        job: dict[str, Any] = {"do": "prepare", "model": model, "image_size": image_size, "folder": folder,
                               "threads": threads,
                               "libraries": [name for name in against if name in LIBRARIES] or list(LIBRARIES)}
        tell(f"{model}: weights")
        about = job | _once(job)
        about["of"] = next(iter(about["peers"]), PLAIN)
        for batch in open_:
            job = about | {"batch": batch, "backend": backend, "candidates": list(candidates)}
            compared = _compare(job, against, rounds, seconds, tell)
            found.append(compared)
            if done is not None:
                done(compared)
    return found


def _covers(known: Comparison, model: str, batch: int, image_size: int | None, against: Sequence[str]) -> bool:
    """True if this comparison is the one that is asked for, with all its contestants."""
    return (known.given == model and known.batch == batch
            and (image_size is None or known.size == (image_size, image_size))
            and {side.name for side in known.sides} >= set(against))


def _compare(job: dict[str, Any], against: Sequence[str], rounds: int, seconds: float, tell: Tell) -> Comparison:
    label = f"{job['name']}, batch {job['batch']}"
    tell(f"{label}: deployed by {job['backend']}")
    report = _once(job | {"do": "make"})
    libraries = [name for name in against if name in job["peers"]] or [job["of"]]
    names = [OURS, *libraries, *(name for name in against if name in ENGINES)]
    tell(f"{label}: {', '.join(names)} set up")
    workers, refused = _started(job, [MATRIX, *names])
    try:
        if OURS in refused:
            raise ConvatlasError(f"{label}: what was deployed does not run: {refused[OURS]}")
        differences = _differences(job, [name for name in names if name in workers])
        for name, off in differences.items():
            if not off <= TOLERANCE["fp32"]:
                refused[name] = (f"differs from ours by {off:.1e} of the largest score: what is not equal "
                                 "is not compared")
                workers.pop(name).close()
        busy = load()
        turns = _rounds(workers, rounds, seconds, lambda n: tell(f"{label}: round {n} of {rounds}"))
    finally:
        for worker in workers.values():
            worker.close()
    missing = {name: f"{name} has no model that is this network" for name in against
               if name in LIBRARIES and name not in job["peers"]}
    rate = OPERATIONS / median(median(each["times"]) for each in turns[MATRIX])
    names_there = {library: peer["name"] for library, peer in job["peers"].items()}
    sides = [_side(name, workers[name].setup, turns, job, differences.get(name)) if name in turns
             else Side(name, refused=refused[name]) for name in names]
    return Comparison(job["model"], job["name"], job["batch"], tuple(job["size"]), job["macs"],
                      names_there, report["chosen"], tuple(report["candidates"]), rate, rounds,
                      (*sides, *(Side(name, refused=why) for name, why in missing.items())), job["threads"],
                      None if busy is None else (busy, load() or 0.0))


def load() -> float | None:
    """Processes that wanted to run, in the mean of the last minute; None where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def _side(name: str, setup: float, turns: Mapping[str, Sequence[Mapping[str, Any]]], job: Mapping[str, Any],
          difference: float | None) -> Side:
    """A side's figures from its turns, those of ours and those of the matrix product."""
    mine, ours, matrix = ([median(each["times"]) for each in turns[which]] for which in (name, OURS, MATRIX))
    ratios = tuple(theirs / own for theirs, own in zip(mine, ours, strict=True))
    work = 2 * job["macs"] * job["batch"]
    share = median(work / time_ * product / OPERATIONS for time_, product in zip(mine, matrix, strict=True))
    last = turns[name][-1]
    cpu, ours_cpu = ([median(each["cpu"]) for each in turns[which]] for which in (name, OURS))
    return Side(name, median(mine), min(min(each["times"]) for each in turns[name]), (min(mine), max(mine)),
                job["batch"] / median(mine), median(ratios), ratios, share, setup, last["memory"],
                max(each["idle"] for each in turns[name]), difference, median(cpu),
                median(theirs / max(own, 1e-9) for theirs, own in zip(cpu, ours_cpu, strict=True)))


def _started(job: Mapping[str, Any], names: Sequence[str]) -> tuple[dict[str, "Worker"], dict[str, str]]:
    """The sides' processes, set up one after the other; and why some are not there."""
    started, refused = [Worker(dict(job) | {"do": "answer", "side": name}) for name in names], {}
    workers = {worker.name: worker for worker in started}
    for ask in (Worker.answer, Worker.set_up):          # all have imported what they need before the first is set up
        for name, worker in list(workers.items()):
            try:
                ask(worker)
            except ConvatlasError as problem:
                refused[name] = str(problem)
                workers.pop(name).close()
    return workers, refused


def _rounds(workers: Mapping[str, "Worker"], rounds: int, seconds: float,
            tell: Callable[[int], None]) -> dict[str, list[dict[str, Any]]]:
    """Each side's turns. The order differs from round to round, so that no side always follows the same one."""
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    names = list(workers)
    for number in range(rounds):
        tell(number + 1)
        start = number % len(names)
        for name in names[start:] + names[:start]:
            time.sleep(0.02)            # the threads of the one before spin for a moment
            turns[name].append(workers[name].work(seconds))
    return turns


def _differences(job: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """The largest difference of each side's scores from ours, relative to our largest."""
    def scores(name: str) -> Tensor:
        return load_file(Path(job["folder"]) / f"{name}-{job['batch']}.scores")["scores"]

    ours = scores(OURS)
    largest = float(ours.abs().max())
    if not 0 < largest < float("inf"):
        raise ConvatlasError(f"{job['name']}: the largest score is {largest:g}, and nothing can be compared with that")
    return {name: _off(scores(name), ours) / largest for name in names}


def _off(scores: Tensor, ours: Tensor) -> float:
    return float((scores - ours).abs().max()) if scores.shape == ours.shape else float("inf")


def _once(job: Mapping[str, Any]) -> dict[str, Any]:
    """One step in a process of its own."""
    worker = Worker(job)
    try:
        return worker.answer()
    finally:
        worker.close()


class Worker:
    """A process of `sides`, which works when told to."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.name, self.setup = str(job.get("side", job["do"])), 0.0
        # closed with the process
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen([sys.executable, "-m", f"{__package__}.sides", json.dumps(job)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
                                        encoding="utf-8")
        self.lines: queue.Queue[str] = queue.Queue()
        assert self.process.stdout is not None
        threading.Thread(target=_read, args=(self.process.stdout, self.lines), daemon=True).start()

    def set_up(self) -> None:
        """Let the side be made, and note how long that takes."""
        self._tell("set up")
        self.setup = self.answer()["setup"]

    def work(self, seconds: float) -> dict[str, Any]:
        """A turn: the seconds of each call, the memory, and what was used while waiting."""
        self._tell(str(seconds))
        return self.answer()

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):         # it has ended: `answer` finds out why
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The process's next answer; a ConvatlasError if that is a problem, or if it ends or takes longer than LIMIT.
        """
        try:
            line = self.lines.get(timeout=LIMIT)
        except queue.Empty:
            raise ConvatlasError(f"{self.name} was not ready within {LIMIT:g} s") from None
        if not line:
            self.errors.seek(0)
            said = " ".join(self.errors.read().split())[-300:]
            raise ConvatlasError(f"{self.name}'s process ended with code {self.process.wait()}: "
                                 f"{said or 'it said nothing'}")
        said_: dict[str, Any] = json.loads(line)
        if "problem" in said_:
            raise ConvatlasError(said_["problem"])
        return said_

    def close(self) -> None:
        """Let it end, and wait for that; one that does not is stopped."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()


def _read(stream: IO[str], lines: "queue.Queue[str]") -> None:
    """Every line, then an empty one."""
    for line in stream:
        lines.put(line)
    lines.put("")


# -- results as data and as a picture ----------------------------------------------------------------------------------


def plain(compared: Comparison) -> dict[str, Any]:
    """A comparison as JSON takes it."""
    return asdict(compared)


def again(tree: Mapping[str, Any]) -> Comparison:
    """The comparison that `plain` wrote; a ConvatlasError for anything else."""
    try:
        sides = tuple(Side(**side | {"spread": side["spread"] and tuple(side["spread"]),
                                     "ratios": tuple(side["ratios"])}) for side in tree["sides"])
        busy = tree.get("load")
        return Comparison(**{**tree, "sides": sides, "size": tuple(tree["size"]), "load": busy and tuple(busy),
                             "candidates": tuple(tree["candidates"])})
    except (KeyError, TypeError) as error:
        raise ConvatlasError("these are not the results of `convatlas bench`") from error
