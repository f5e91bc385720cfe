"""Progress displays: the engine reports to a `Watch`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ..run import Run


class Watch(Protocol):
    """A progress display, called on the first process only.

    In this order: start, (step …, validating …, epoch) …, close; tell at any time. Epochs and steps are
    counted from 1, as people do. `step` comes at most ten times a second.
    """

    def start(self, run: Run, folder: Path, first_epoch: int, steps: int) -> None:
        """Training begins (or goes on) with `first_epoch`, of `steps` optimiser steps each."""

    def step(self, epoch: int, step: int, images: int, loss: float, accuracy: float, images_per_second: float) -> None:
        """Optimiser step `step` of this epoch is done; `images` seen in this epoch; running means of this epoch."""

    def validating(self, done: int, steps: int) -> None:
        """`done` of `steps` validation batches are through."""

    def epoch(self, row: Mapping[str, float]) -> None:
        """An epoch is done; `row` is what metrics.csv got."""

    def tell(self, text: str) -> None:
        """A sentence the user should read."""

    def close(self) -> None:
        """Training has ended, well or not."""


class Silent:
    """A Watch that shows nothing."""

    def start(self, run: Run, folder: Path, first_epoch: int, steps: int) -> None:
        """Nothing."""

    def step(self, epoch: int, step: int, images: int, loss: float, accuracy: float, images_per_second: float) -> None:
        """Nothing."""

    def validating(self, done: int, steps: int) -> None:
        """Nothing."""

    def epoch(self, row: Mapping[str, float]) -> None:
        """Nothing."""

    def tell(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""
