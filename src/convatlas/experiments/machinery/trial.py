"""Trials: one arm of an experiment with one seed, and the figures that are measured of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...run import Run
from ...runs.folder import run_of

if TYPE_CHECKING:
    from ...data import Source, Transform
    from ...net.model import Convnet

# what was measured of one arm with one seed: name → number; `gate/3` is one of a series, drawn but not tabulated
Figures = Mapping[str, float]
Rows = Sequence[Mapping[str, float]]    # of a metrics.csv


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: a name, and the fields of the run that differ from the base."""

    name: str
    changes: Mapping[str, Any]      # dotted field → value; `model.fields` is merged, not replaced


@dataclass(frozen=True)
class Trial:
    """One arm with one seed, trained where the protocol has a base: what `measure` is given."""

    arm: Arm
    seed: int
    folder: Path | None             # the run folder; None where nothing is trained
    rows: Rows = ()                 # its metrics.csv

    @property
    def run(self) -> Run:
        """The run that was trained."""
        assert self.folder is not None
        return run_of(self.folder)

    def network(self) -> "Convnet":
        """The network as its last epoch left it and judged it, with the average of the weights where the run keeps one:
        the run folder's own weights are those of its best epoch, which was chosen by the images that an experiment is
        judged by.
        """
        from ...engine.checkpoint import newest  # a plan needs no torch
        from ...weights.checkpoints import load  # a plan needs no torch

        assert self.folder is not None
        model, saved = load(self.folder), newest(self.folder)
        assert saved is not None
        model.load_state_dict(saved.extras("ema") or saved.extras("model"))
        return model

    def images(self, network: "Convnet") -> tuple["Source", "Transform"]:
        """The images that it was trained on and is judged by, and what makes them the network's input."""
        from ...data.source import open_data  # a plan needs no torch
        from ...zoo import transforms  # a plan needs no torch

        return open_data(self.run.data, seed=self.run.split_seed), transforms(network)


def final(trial: Trial) -> Figures:
    """Errors in per cent after the last epoch, which is fixed beforehand: nothing is chosen by them.

    `test_error` and `train_error` (a running mean over the last epoch, in training mode), the losses, `seconds` of
    training; `test_iou` in per cent of a network that segments.
    """
    last = trial.rows[-1]
    figures = {"test_error": 100 * (1 - last["val_top1"]), "train_error": 100 * (1 - last["train_top1"]),
               "test_loss": last["val_loss"], "train_loss": last["train_loss"], "seconds": last["seconds"]}
    return figures | ({"test_iou": 100 * last["val_iou"]} if "val_iou" in last else {})


def epochs_to(rows: Rows, column: str, error: float) -> float:
    """Epochs until the error of `column` (`train_top1`, `val_top1`) first was at most `error` per cent, interpolated
    between epochs; one more than there were where it never was.
    """
    before: float | None = None
    for row in rows:
        now = 100 * (1 - row[column])
        if now <= error:
            return row["epoch"] if before is None else row["epoch"] - (error - now) / (before - now)
        before = now
    return rows[-1]["epoch"] + 1


def by_chance(classes: int, epochs: int, seconds: float) -> dict[str, float]:
    """The row of a run that diverged: it knows no more than chance, which of even classes is right once in that many
    times, and of their pixels shares 1/K² of 2/K − 1/K² with the truth.
    """
    return {"epoch": epochs, "train_top1": 1 / classes, "val_top1": 1 / classes, "val_iou": 1 / (2 * classes - 1),
            "train_loss": math.log(classes), "val_loss": math.log(classes), "seconds": seconds}
