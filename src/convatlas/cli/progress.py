"""Training progress: one lasting line per epoch, and a live line below it, or plain ones where nothing can move."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Live
from rich.table import Column

from ..run import Run
from .console import duration, percent

QUIET = 10.0        # seconds between two lines about the same epoch where there is no terminal
MEMORY = 30.0       # seconds over which the rate is smoothed


class Pace:
    """Seconds per step, over about the last `MEMORY` seconds."""

    def __init__(self) -> None:
        self.steps = self.seconds = 0.0

    def add(self, steps: int, seconds: float) -> None:
        """`steps` more took `seconds`; what is older fades."""
        keep = math.exp(-seconds / MEMORY)
        self.steps, self.seconds = self.steps * keep + steps, self.seconds * keep + seconds

    @property
    def per_step(self) -> float:
        """Seconds; nan before anything is known."""
        return self.seconds / self.steps if self.steps else math.nan


class Progress:
    """A `Watch` for people. Time left includes validation and checkpoints, once an epoch has shown what they take."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.clock = console, clock
        self.live: Live | None = None           # while something moves on a terminal
        self.run: Run | None = None             # while training
        self.folder: Path | None = None         # of the run, from its beginning on
        self.epochs = self.steps = self.now = 0
        self.pace, self.tail = Pace(), 0.0      # tail: seconds that an epoch takes besides its steps
        self.last: tuple[int, int, float] | None = None     # epoch, step, and when
        self.ended = self.spoken = -math.inf    # when the epoch's last step was done; when a plain line was written
        self.best = (-math.inf, -math.inf)
        self.column = "val_top1"                # of metrics.csv, shown after each epoch

    def start(self, run: Run, folder: Path, first_epoch: int, steps: int) -> None:
        """Say what begins, and read from metrics.csv what was the best so far."""
        from ..engine.records import rank, read_rows
        from ..tasks import task_of

        self.run, self.folder, self.epochs, self.steps, self.spoken = run, folder, run.train.epochs, steps, self.clock()
        earlier = [rank(row) for row in read_rows(folder / "metrics.csv") if row["epoch"] < first_epoch]
        self.best = max(earlier, default=self.best)
        count = f"{self.epochs} epoch{'s' * (self.epochs > 1)}"
        if first_epoch > self.epochs:
            self._say(f"[bold]{escape(run.model.name)}[/] on {escape(run.data.source)}: all of its {count} are done "
                      f"already, in {escape(str(folder))} (--epochs trains further)")
            return
        goes = f"epochs {first_epoch} to {self.epochs}" if first_epoch > 1 else count
        self._say(f"[bold]{escape(run.model.name)}[/] on {escape(run.data.source)}: {goes} of {steps} steps, "
                  f"{run.data.batch_size} images each, in {escape(str(folder))}")
        self.column, heading = task_of(run.model.name).column
        self._say(f"[bold]{self._cells('epoch', 'loss', 'acc', 'val loss', heading, 'images/s', 'time')}[/]")

    def step(self, epoch: int, step: int, images: int, loss: float, accuracy: float, images_per_second: float) -> None:
        """Move the bar."""
        now = self.clock()
        if self.last is not None and self.last[0] == epoch:
            self.pace.add(step - self.last[1], now - self.last[2])
        self.last, self.now = (epoch, step, now), epoch
        if step == self.steps:
            self.ended = now
        here = (self.steps - step) * self.pace.per_step + self.tail
        text = f"loss {loss:.4f}  acc {percent(accuracy)}  {images_per_second:.0f} images/s"
        self._show(step, self.steps, text, here)

    def validating(self, done: int, steps: int) -> None:
        """Move the bar of the validation, in training or by itself."""
        now = self.clock()
        known = done if self.run else done - 1          # batches since `ended`
        if not known:
            self.ended = self.spoken = now
        here = (now - self.ended) / known * (steps - done) if known else math.nan
        self._show(done, steps, "validating" if self.run else "evaluating", here)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Write the epoch's lasting line."""
        from ..engine.records import rank

        now, epoch = self.clock(), int(row["epoch"])
        if math.isfinite(self.ended):
            self.tail = now - self.ended
        self.last, self.spoken = (epoch + 1, 0, now), now
        better = rank(row) > self.best
        self.best = max(self.best, rank(row))
        cells = (f"{row['train_loss']:.4f}", percent(row["train_top1"]), f"{row['val_loss']:.4f}",
                 percent(row[self.column]), f"{row['images_per_second']:.0f}", duration(row["seconds"]))
        self._say(self._cells(f"{epoch}/{self.epochs}", *cells) + ("  [green]best[/]" if better else ""))

    def tell(self, text: str) -> None:
        """Write a sentence that stays."""
        self._say(f"[yellow]note:[/] {escape(text)}")

    def close(self) -> None:
        """Give the terminal back. Closing twice does no harm."""
        self.run = None
        if self.live is not None:
            self.live.stop()
            self.live = None

    def _cells(self, epoch: str, *cells: str) -> str:
        """One line of the table; at most 78 columns."""
        return f"{epoch:>{max(5, 2 * len(str(self.epochs)) + 1)}}" + "".join(f"{cell:>11}" for cell in cells)

    def _say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True)

    def _left(self, here: float) -> str:
        """`here` seconds of this epoch are left; the run's time follows from it."""
        if math.isnan(here):
            return ""
        rest = (self.epochs - self.now) * (self.steps * self.pace.per_step + self.tail) if self.run else 0.0
        return f"{duration(here)} left" + (f", run {duration(here + rest)}" if rest > 0 else "")

    def _show(self, done: int, steps: int, text: str, here: float) -> None:
        label = f"epoch {self.now}/{self.epochs}" if self.run else ""
        parts = [text, self._left(here)]
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            live = self.live or _bar(self.console)
            text = "  ".join(parts).rstrip()
            live.update(live.task_ids[0], description=label, completed=done, total=steps, text=text)
            if self.live is None:
                self.live = live
                live.start()
        elif self.clock() - self.spoken >= QUIET and done < steps:
            self.spoken = self.clock()
            self._say("  ".join(part for part in (label, f"{done} of {steps}", *parts) if part))


def _bar(console: Console) -> Live:
    text = TextColumn("{task.fields[text]}", table_column=Column(no_wrap=True), markup=False)
    label = TextColumn("{task.description}", table_column=Column(no_wrap=True), style="bold", markup=False)
    live = Live(label, BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=6)), text,
                console=console, transient=True, expand=True)
    live.add_task("", text="")
    return live
