"""Runs on disk: found, listed, filtered, compared. Imports no torch.

A run folder is the truth. `.index.sqlite` beside the runs only remembers what was read from each, until its files
change: of 5 000 runs, one core of a Xeon reads all anew in 6.5 s (4 of them libyaml's) and lists them through the index
in 1.0 s. It may be deleted at any time.
"""

import csv
import json
import logging
import math
import operator
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from .. import bounded
from ..errors import ConvatlasError, nearest
from ..recipes import names, recipe
from ..run import MALFORMED, Run, build, parse_yaml, read_yaml
from ..version import __version__
from .folder import CONFIG, METRICS, OURS

INDEX = ".index.sqlite"
ROWS = 2**22        # bytes of a metrics.csv, in which an epoch takes about a hundred
TABLE = "CREATE TABLE runs (place TEXT PRIMARY KEY, stamp TEXT, stored TEXT)"
DEPTH = 3           # how deep below a folder runs are looked for
# seconds beyond twice checkpoint_minutes in which an unfinished run writes nothing before it counts as stopped
QUIET = 60.0
log = logging.getLogger("convatlas")

Row = Mapping[str, float]


@dataclass(frozen=True)
class Stored:
    """A run as its files describe it: all of it plain values."""

    folder: str
    config: dict[str, Any]                          # config.yaml as a tree; empty where it cannot be read
    last: dict[str, float] = field(default_factory=dict)       # the last row of metrics.csv
    best: dict[str, float] = field(default_factory=dict)       # the row whose weights were kept
    rate: float = math.nan                          # images/s of training, the median of the epochs
    checkpoint: int = 0                             # optimiser steps at the newest checkpoint; 0: there is none
    began: float = 0.0                              # Unix times: the first session's beginning,
    recorded: float = 0.0                           # metrics.csv last written,
    saved: float = 0.0                              # newest checkpoint written
    problem: str = ""                               # what could not be read

    @property
    def name(self) -> str:
        """The folder's name."""
        return Path(self.folder).name

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return int(self.last.get("epoch", 0))

    @property
    def wanted(self) -> int:
        """Epochs the run was asked for; 0 where its configuration cannot be read."""
        return int(_number(at(self.config, "train.epochs")))

    def state(self, now: float | None = None) -> str:
        """done, running?, interrupted (a checkpoint is there to go on from), failed (none is), or unreadable.

        Nothing but the files is looked at, so a process that was killed counts as running until it has been quiet for
        twice `train.checkpoint_minutes`.
        """
        if not self.wanted:
            return "unreadable"
        if self.epochs >= self.wanted:
            return "done"
        pause = 60 * _number(at(self.config, "train.checkpoint_minutes"))
        # Within an epoch, a checkpoint sooner than the pause after the last record was written because somebody stopped
        # it. A resumed run writes metrics.csv anew, and is the younger of the two.
        stopped = self.checkpoint > self.last.get("step", 0) and 0 <= self.saved - self.recorded < pause
        here = time.time() if now is None else now
        # a clock may have been set back since
        quiet = min(abs(here - when) for when in (self.began, self.recorded, self.saved))
        if not stopped and quiet < 2 * pause + QUIET:
            return "running?"
        return "interrupted" if self.checkpoint else "failed"


#   the fields of a listing that are not columns of metrics.csv and not fields of the configuration
SHORT: dict[str, Callable[[Stored], Any]] = {
    "name": lambda run: run.name,
    "folder": lambda run: run.folder,
    "model": lambda run: at(run.config, "model.name"),
    "data": lambda run: at(run.config, "data.source"),
    "recipe": lambda run: at(run.config, "recipe"),
    "epochs": lambda run: run.epochs,
    "of": lambda run: run.wanted,
    "best_epoch": lambda run: run.best.get("epoch"),
    "seconds": lambda run: run.last.get("seconds"),
    "images_per_second": lambda run: None if math.isnan(run.rate) else run.rate,
    "state": lambda run: run.state(),
    "started": lambda run: run.began,
}
FIGURES = ("best_epoch", "epochs", "seconds", "images_per_second")     # compared beside the best row's columns
CLOCKS = ("epoch", "step", "lr", "seconds", "images_per_second")       # columns that say when, not how good


def at(tree: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path of nested mappings; None where there is none."""
    value: Any = tree
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _number(value: Any) -> float:
    """A value of a configuration that may be no valid one; 0 for what is no number."""
    return value if isinstance(value, int | float) and math.isfinite(value) else 0


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by dotted path; lists are leaves."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def less_is_better(column: str) -> bool:
    """True for a figure that is the better the lower it is: losses, errors and times."""
    return any(word in column for word in ("loss", "error", "seconds"))


def value_of(run: Stored, name: str) -> Any:
    """A run's value of a field: of `SHORT`, a column of metrics.csv (in its best epoch), or a dotted path of its
    configuration.
    """
    if name in SHORT:
        return SHORT[name](run)
    return run.best[name] if name in run.best else at(run.config, name)


# -- reading a folder ------------------------------------------------------------------------------------------------

def rows_of(folder: Path) -> list[dict[str, float]]:
    """The rows of a folder's metrics.csv, whichever columns it has; none where there is no file.

    A last line that is still being written, and a line that is damaged, are left out.
    """
    try:
        text = bounded.content(folder / METRICS, ROWS).decode("utf-8", "replace")
    except (OSError, ValueError):
        return []
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    rows = []
    with suppress(csv.Error):       # a cell of more than 128 KiB: what came before is kept
        table = csv.reader(lines)
        header = next(table, [])
        for cells in table:
            with suppress(ValueError):
                rows.append(dict(zip(header, map(float, cells), strict=True)))
    return [row for row in rows if math.isfinite(row.get("epoch", math.nan)) and math.isfinite(row.get("step", 0))]


def best_of(rows: Sequence[Row]) -> dict[str, float]:
    """The row whose weights were kept: the highest val_iou or val_top1, then the least val_loss, then the earliest; {}
    of none.
    """
    best = max(rows, key=lambda row: (row.get("val_iou", row.get("val_top1", 0)), -row.get("val_loss", 0)),
               default=None)
    return dict(best) if best is not None else {}


def read(folder: Path) -> Stored:
    """A run folder's files, read; half-written and damaged ones give a `problem`, never an error."""
    config, problem = _config(folder / CONFIG)
    rows = rows_of(folder)
    rates = sorted(row["images_per_second"] for row in rows if "images_per_second" in row)
    checkpoint = _newest_checkpoint(folder)
    return Stored(
        folder=str(folder),
        config=config,
        last=dict(rows[-1]) if rows else {},
        best=best_of(rows),
        rate=rates[len(rates) // 2] if rates else math.nan,
        checkpoint=int(checkpoint.name.removeprefix("step-")) if checkpoint else 0,
        began=_began(folder),
        recorded=_time(folder / METRICS),
        saved=_time(checkpoint) if checkpoint else 0.0,
        problem=problem,
    )


def _config(path: Path) -> tuple[dict[str, Any], str]:
    """config.yaml as a whole tree, and what is wrong with it; one of another version stays as it is written."""
    try:
        tree = parse_yaml(bounded.text(path), str(path))
    except (OSError, ValueError, ConvatlasError) as error:
        return {}, str(error)
    try:
        return build(tree, str(path)).model_dump(mode="json"), ""
    except ConvatlasError as error:
        return tree, str(error)


def _newest_checkpoint(folder: Path) -> Path | None:
    found = [path for path in (folder / "checkpoints").glob("step-*") if path.name.removeprefix("step-").isdecimal()]
    return max(found, key=lambda path: path.name, default=None)


def _began(folder: Path) -> float:
    """Beginning of the first session: TensorBoard's file names say it, also after the folder was copied."""
    times = [float(found[1]) for path in (folder / "tb").glob("events.out.tfevents.*")
             if (found := re.search(r"tfevents\.(\d+)\.", path.name))]
    return min(times, default=_time(folder / CONFIG))


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _stamp(folder: Path) -> str:
    """Changes whenever a file changes that `read` looks at, and with the version that looks."""
    marks = [__version__]
    for name in (CONFIG, METRICS, "checkpoints", "tb"):
        try:
            found = (folder / name).stat()
            marks.append(f"{found.st_mtime_ns}:{found.st_size}")
        except OSError:
            marks.append("-")
    return " ".join(marks)


# -- the index -------------------------------------------------------------------------------------------------------

def list_runs(places: Iterable[str | Path] = ("runs",), *, where: Sequence[str] = (), sort: str = "started",
              reverse: bool = False) -> list[Stored]:
    """The runs in or below folders: those that fit every condition of `where`, the best or the latest first.

    `where` holds conditions such as `optim.lr=0.1`, `val_top1>=0.9` or `model=resnet*`; `sort` is a field. Raises
    ConvatlasError for a folder that is not there, and for a field that no run has.
    """
    found = {run.folder: run for place in places for run in _below(Path(place))}
    runs = list(found.values())
    for text in where:
        runs = [run for run in runs if _fits(run, *_condition(text, runs))]
    return sort_runs(runs, sort, reverse=reverse)


def find(place: str | Path) -> Stored:
    """The one run at `place`: its folder, or its name below runs/."""
    for folder in (Path(place), Path("runs") / place):
        if (folder / CONFIG).is_file():
            return read(folder)
    beside = [path.name for path in _folders(Path("runs"))]
    raise ConvatlasError(f"{str(place)!r} is not a run folder: there is no {CONFIG}"
                         + (nearest(Path(place).name, beside) or "; `convatlas runs` lists them"))


def sort_runs(runs: Iterable[Stored], by: str = "started", *, reverse: bool = False) -> list[Stored]:
    """The runs in the order of a field: numbers best first (the latest, the most accurate, the least loss), text from a
    to z.

    Runs without a value come last, `reverse` or not.
    """
    runs = list(runs)
    _known(by, runs)
    having = [run for run in runs if _ordered(value_of(run, by))]
    number = all(isinstance(value_of(run, by), int | float) for run in having)
    down = (number and not less_is_better(by)) != reverse
    having.sort(key=lambda run: value_of(run, by) if number else str(value_of(run, by)), reverse=down)
    return having + [run for run in runs if not _ordered(value_of(run, by))]


def _ordered(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _below(place: Path) -> Iterator[Stored]:
    """The runs in `place`, through its index; `place` may be one run."""
    if not place.is_dir():
        raise ConvatlasError(f"there is no folder {str(place)!r} to look for runs in; `convatlas train` makes runs/")
    if (place / CONFIG).is_file():
        yield read(place)
        return
    folders = list(_folders(place))
    try:
        yield from _through_index(place, folders)
    except sqlite3.Error as error:
        log.warning("the index %s cannot be used (%s): every run is read anew", place / INDEX, error)
        yield from map(read, folders)


def _folders(place: Path) -> Iterator[Path]:
    """Run folders below `place`, which need not exist; nothing is looked for inside a run."""
    for at_, inside, files in os.walk(place):
        folder = Path(at_)
        if CONFIG in files:
            yield folder
        deep = len(folder.relative_to(place).parts) >= DEPTH
        inside[:] = [] if deep or CONFIG in files else sorted(name for name in inside if not name.startswith("."))


def _through_index(place: Path, folders: Sequence[Path]) -> list[Stored]:
    """`read` of each folder, remembered in the index of `place`. A damaged index is made anew."""
    if not folders:
        return []
    try:
        return _remembered(place / INDEX, place, folders)
    except sqlite3.OperationalError:        # locked, or nowhere to write: not damaged
        raise
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        log.warning("the index %s is damaged (%s): it is made anew", place / INDEX, error)
        for ending in ("", "-wal", "-shm"):
            (place / f"{INDEX}{ending}").unlink(missing_ok=True)
        return _remembered(place / INDEX, place, folders)


def _remembered(path: Path, place: Path, folders: Sequence[Path]) -> list[Stored]:
    with closing(sqlite3.connect(path, timeout=2)) as book, book:
        book.execute("PRAGMA journal_mode = WAL")       # others may list while this one writes
        # before anything is asked of it: a view or a trigger of somebody else's would run
        if (made := {sql for sql, in book.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}) - {TABLE}:
            raise sqlite3.DatabaseError(f"it holds {min(made - {TABLE})[:80]!r}")
        if not made:
            book.execute(TABLE.replace("TABLE", "TABLE IF NOT EXISTS"))     # another process may have been faster
        known = {at_: (stamp, stored) for at_, stamp, stored in book.execute("SELECT place, stamp, stored FROM runs")}
        runs, fresh, remembered = list[Stored](), [], TypeAdapter(Stored)
        for folder in folders:
            at_, stamp = str(folder.relative_to(place)), _stamp(folder)
            old = known.pop(at_, ("", ""))
            if old[0] == stamp:
                run = replace(remembered.validate_json(old[1]), folder=str(folder))         # `place` may have moved
            else:
                run = read(folder)
                fresh.append((at_, stamp, json.dumps(asdict(run))))
            runs.append(run)
        book.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", fresh)
        book.executemany("DELETE FROM runs WHERE place = ?", [(gone,) for gone in known])
    return runs


# -- conditions ------------------------------------------------------------------------------------------------------

SIGNS = {"!=": operator.ne, ">=": operator.ge, "<=": operator.le, "=": operator.eq, ">": operator.gt, "<": operator.lt}


def _condition(text: str, runs: Sequence[Stored]) -> tuple[str, str, Any]:
    """`optim.lr>=0.1` as its field, sign and value."""
    found = re.fullmatch(r"\s*([\w.]+)\s*(!=|>=|<=|=|>|<)\s*(.*)", text)
    if found is None:
        raise ConvatlasError(f"--where takes FIELD=VALUE (or !=, <, <=, >, >=), for example optim.lr=0.1, not {text!r}")
    name, sign, word = found.groups()
    _known(name, runs)
    try:
        return name, sign, float(word)      # YAML 1.1 reads 1e-3 as text
    except ValueError:
        pass
    try:
        value = read_yaml(word)
    except MALFORMED as error:
        raise ConvatlasError(f"--where {text!r}: {word!r} is not valid YAML") from error
    if sign not in ("=", "!="):
        raise ConvatlasError(f"--where {text!r}: {sign} compares numbers, and {word!r} is none")
    return name, sign, value


def _known(name: str, runs: Sequence[Stored]) -> None:
    """Refuse a field that no run has; of no runs nothing is known."""
    fields = dict.fromkeys([*SHORT, *(key for run in runs for key in (*run.best, *flat(run.config)))])
    if runs and name not in fields:
        raise ConvatlasError(f"no run has a field {name!r}"
                             + (nearest(name, fields) or "; there are for example val_top1, model and optim.lr"))


def _fits(run: Stored, name: str, sign: str, wanted: Any) -> bool:
    value = value_of(run, name)
    if isinstance(value, str) and isinstance(wanted, str):
        return fnmatchcase(value, wanted) == (sign == "=")
    if sign in ("=", "!="):
        return bool(SIGNS[sign](value, wanted))
    return isinstance(value, int | float) and bool(SIGNS[sign](value, wanted))


# -- side by side ----------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Comparison:
    """Runs side by side: values in the order of the runs, None where a run has none."""

    runs: tuple[Stored, ...]
    fields: dict[str, list[Any]]                # fields of the configuration in which the runs differ
    figures: dict[str, list[float | None]]      # of the best epoch, and `FIGURES`
    best: dict[str, list[int]]                  # for a figure that can be better: the runs that have the best


def compare(runs: Sequence[Stored]) -> Comparison:
    """Differences between runs, and what came of them."""
    configs = [flat(run.config) for run in runs]
    fields = {name: [config.get(name) for config in configs]
              for name in dict.fromkeys(key for config in configs for key in config)}
    columns = dict.fromkeys(column for run in runs for column in run.best
                            if column not in CLOCKS and not (column == "val_top5" and all(map(_trivial, runs))))
    figures = {name: [value_of(run, name) for run in runs] for name in (*columns, *FIGURES)}
    return Comparison(
        runs=tuple(runs),
        fields={name: values for name, values in fields.items() if any(value != values[0] for value in values)},
        figures=figures,
        best={name: best for name, values in figures.items()
              if name not in ("best_epoch", "epochs", "seconds") and (best := _best(name, values))},
    )


def _trivial(run: Stored) -> bool:
    """True where val_top5 says nothing: with five classes or fewer, and of pixels, for which it repeats val_top1."""
    classes = flat(run.config).get("model.fields.num_classes")
    return "val_iou" in run.best or (isinstance(classes, int) and classes <= 5)


def _best(name: str, values: Sequence[float | None]) -> list[int]:
    """Position of the best value; nowhere if all are the same."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(set(known)) < 2:
        return []
    best = min(known) if less_is_better(name) else max(known)
    return [i for i, value in enumerate(values) if value == best]


def changes(run: Stored) -> tuple[str, dict[str, tuple[Any, Any]]]:
    """The run that a configuration is measured against, and the differences: {field: (there, in the run)}.

    That is its recipe, or the defaults where it has none that is known here.
    """
    named = at(run.config, "recipe")
    base, what = (recipe(named), f"the recipe {named}") if named in names() else (Run(), "the defaults")
    before, after = flat(base.model_dump(mode="json")), flat(run.config)
    fields = dict.fromkeys([*before, *after])
    return what, {name: (before.get(name), after.get(name)) for name in fields if before.get(name) != after.get(name)}


def files(run: Stored) -> dict[str, int]:
    """The files and folders of a run that are there, and the bytes that each takes."""
    found = {name: Path(run.folder) / name for name in OURS}
    return {name: _size(path) for name, path in found.items() if path.exists()}


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in (path.rglob("*") if path.is_dir() else (path,)) if each.is_file())
