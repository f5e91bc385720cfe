"""Records of a run, written after each epoch: a row of metrics.csv and TensorBoard events. Both continue on resume."""

import csv
import io
import math
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Self

from .. import bounded
from ..errors import ConvatlasError
from ..files import whole_write, writing

COLUMNS = (
    "epoch",                # counted from 1
    "step",                 # optimiser steps since the first
    "lr",                   # at the last step of the epoch
    "train_loss",           # running mean, in training mode
    "train_top1",           # shares, 0 to 1
    "val_loss",
    "val_top1",
    "val_top5",
    "images_per_second",    # training, without the validation
    "seconds",              # since training began, without the time between sessions
)
TAGS = {    # TensorBoard's name of a column
    "lr": "lr",
    "train_loss": "train/loss",
    "train_top1": "train/top1",
    "val_loss": "val/loss",
    "val_top1": "val/top1",
    "val_top5": "val/top5",
    "val_iou": "val/iou",
}
ROWS = 2**22                        # bytes of a metrics.csv, in which an epoch takes about a hundred
BEST = ("val_iou", "val_top1")      # what the best epoch is chosen by: the first that a row has


def rank(row: Mapping[str, float]) -> tuple[float, float]:
    """The sort key of an epoch by its row: the best epoch has the largest."""
    return next(row[column] for column in BEST if column in row), -row["val_loss"]


class Records:
    """The writer of metrics.csv and tb/ in `folder`.

    Rows and events of the first `epochs` epochs (`steps` optimiser steps) stay. `more` are columns besides COLUMNS.
    Raises ConvatlasError where the folder cannot be written.
    """

    def __init__(self, folder: Path, epochs: int, steps: int, more: tuple[str, ...] = ()) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path, self._columns = folder / "metrics.csv", (*COLUMNS, *more)
        kept = [row for row in read_rows(self._path) if row["epoch"] <= epochs] if epochs else []
        with (whole_write(self._path, "choose another place with --out") as beside,
              beside.open("w", encoding="utf-8", newline="") as file):
            csv.writer(file).writerows([self._columns, *(self._text(row) for row in kept)])
        _hush_events()
        with writing(folder / "tb", "choose another place with --out"):
            self._board: Any = SummaryWriter(str(folder / "tb"), purge_step=steps + 1 if steps else None)

    def write(self, row: Mapping[str, float]) -> None:
        """Append one epoch's row; it is on disk when this returns."""
        with writing(self._path.parent, "make room there and go on with --resume"):
            with self._path.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file).writerow(self._text(row))
            for column, tag in ((column, TAGS[column]) for column in self._columns if column in TAGS):
                self._board.add_scalar(tag, row[column], int(row["step"]))
            self._board.flush()

    def _text(self, row: Mapping[str, float]) -> list[str]:
        return [str(int(row[column])) if column in ("epoch", "step") else f"{row[column]:.10g}"
                for column in self._columns]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        with suppress(OSError):         # has been told by what failed before
            self._board.close()


@cache
def _hush_events() -> None:
    """Let the thread that writes events say nothing when the disk refuses: it hands that to `Records.write`, which
    raises it.
    """
    before = threading.excepthook

    def raised(found: threading.ExceptHookArgs) -> None:
        if type(found.thread).__name__ != "_AsyncWriterThread":
            before(found)

    threading.excepthook = raised


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.csv, oldest first; none where there is no file. A row cut short by a crash is left out."""
    if not path.exists():
        return []
    try:
        lines = [line for line in io.StringIO(bounded.text(path, ROWS), newline="") if line.endswith("\n")]
        found = csv.DictReader(lines)
        rows = [row for row in found if all(row.get(column) for column in (*COLUMNS, *row))]
        numbers = [{column: float(value) for column, value in row.items()} for row in rows]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise ConvatlasError(f"the run's record {str(path)!r} cannot be read: {error}") from error
    if odd := next((row for row in numbers if not math.isfinite(row["epoch"]) or not math.isfinite(row["step"])), None):
        raise ConvatlasError(f"the run's record {str(path)!r} counts {odd['epoch']:g} epochs and {odd['step']:g} steps")
    return numbers
