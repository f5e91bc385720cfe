"""Sessions: a run's progress, clocks and checkpoints, from its start or a resumption on."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from ..errors import DivergedError
from . import checkpoint
from .checkpoint import Progress, Saved
from .distributed import agree, local, share_buffers
from .evaluate import Batches, unreadable
from .listener import Listener
from .schedule import learning_rate
from .step import Step


@dataclass(frozen=True)
class Outcome:
    """The result of a run."""

    epochs: int                     # finished
    best_epoch: int                 # counted from 1; 0 before the first
    best: Mapping[str, float]       # its row of metrics.csv
    interrupted: bool               # stopped by a signal; resume goes on
    seconds: float                  # of training, all sessions together
    skipped: int                    # images that could not be read in this session


class Session:
    """The progress of a run since it was started or resumed, and its checkpoints in `folder`.

    All processes call each method together. A checkpoint holds what `move` and the listeners hold, and random states.
    """

    def __init__(
        self, move: Step, listeners: Sequence[Listener], train: Batches, val: Batches, folder: Path, progress: Progress
    ) -> None:
        self.move, self.listeners, self.train, self.val = move, listeners, train, val
        self.folder, self.progress = folder, progress
        # must be the same on resume
        self.facts = {"seed": move.run.train.seed, "steps_per_epoch": train.steps, "optim": move.run.optim.name}
        self.earlier, self.began = progress.seconds, time.perf_counter()        # seconds before this session; its start
        self.kept = self.began                                                  # when the last checkpoint was written

    def restore(self, saved: Saved) -> tuple[str, ...]:
        """Go on from a checkpoint; returns what to tell the user. Raises ConvatlasError where it does not fit."""
        move = self.move
        if isinstance(move.network, nn.parallel.DistributedDataParallel):
            _rehearse(move.network, next(self.train.epoch(self.progress.epoch)).images.to(move.world.device))
        told = checkpoint.restore(saved, move.world, move.model, move.optim, move.tally.sums, self.facts)
        for listener in self.listeners:
            listener.load(saved.extras(listener.name))
        return *saved.complaints, *told

    def keep(self, progress: Progress) -> None:
        """Write a checkpoint of `progress`; raises ConvatlasError for weights that are not finite, or a full disk."""
        move, world, epoch, step = self.move, self.move.world, progress.epoch, progress.step
        self.progress = replace(progress, seconds=self.seconds())
        if agree(world, not _finite(move.model))[0]:
            raise diverged("a weight", epoch, step, self.train.steps, self.rate(epoch, step))
        share_buffers(world, move.model)
        extras = {listener.name: listener.tensors() for listener in self.listeners}
        checkpoint.save(self.folder, world, move.model, move.optim, move.tally.sums, self.progress, self.facts,
                        move.run.train.keep, extras)
        self.kept = time.perf_counter()

    def seconds(self) -> float:
        """Seconds of training so far, all sessions together."""
        return self.earlier + time.perf_counter() - self.began

    def rate(self, epoch: int, step: int) -> float:
        """The learning rate of a step: the schedule's, halved for each step that was left out."""
        run, progress = self.move.run, self.progress
        scheduled = learning_rate(run.schedule, run.optim.lr, epoch=epoch, step=step, steps=self.train.steps,
                                  epochs=run.train.epochs, plateau=progress.plateau)
        return scheduled * 0.5**progress.left_out

    def leave_out(self, epoch: int, step: int, lr: float, tell: Callable[[str], None]) -> None:
        """Count a step whose loss was not finite, and tell; one more than `train.nan_limit` is a ConvatlasError."""
        number, most = self.progress.left_out + 1, self.move.run.train.nan_limit
        self.progress = replace(self.progress, left_out=number)
        tell(f"The loss of step {step + 1} in epoch {epoch + 1} is not finite: the step is left out and the rate "
             f"halved, for the {_ordinal(number)} time of at most {most}.")
        if number > most:
            raise diverged("the loss", epoch, step + 1, self.train.steps, lr)

    def outcome(self, interrupted: bool) -> Outcome:
        """The result so far."""
        world, progress = self.move.world, self.progress
        skipped, best = len(unreadable(world, self.train)) + len(unreadable(world, self.val)), progress.best
        return Outcome(progress.epoch, int(best.get("epoch", 0)), best, interrupted, progress.seconds, skipped)


def diverged(what: str, epoch: int, step: int, steps: int, lr: float) -> DivergedError:
    """The error for a loss or weight that is not finite, with what helps; `epoch` is counted from 0, `step` from 1."""
    return DivergedError(
        f"{what} is not a finite number in epoch {epoch + 1}, step {step} of {steps}, at learning rate {lr:.3g}; "
        "lower --lr, lengthen schedule.warmup_epochs, set optim.clip_grad or --set train.on_nan=skip "
        "(checkpoints from before are kept)"
    )


def _finite(model: nn.Module) -> bool:
    """True where every weight that this process holds is a finite number."""
    return all(bool(local(parameter).isfinite().all()) for parameter in model.parameters())


def _rehearse(network: nn.Module, images: Tensor) -> None:
    """One step without an effect, before the state is restored.

    DDP adds up its first gradients in one layout and all later ones in another, which follows the order in which the
    first came; from three processes on, sums differ in the last bit between the two. So a resumed run gets its first
    step behind it.
    """
    network(images).sum().backward()
    network.zero_grad(set_to_none=True)


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")
