"""Learning-rate schedules, as pure functions of counters: resuming needs only those."""

import math
from dataclasses import dataclass, replace

from .. import run


@dataclass(frozen=True)
class Plateau:
    """The state of the plateau schedule; part of every checkpoint."""

    best: float = -1.0      # validation accuracy, a share; below any
    waited: int = 0         # epochs since
    reductions: int = 0     # times the rate has been multiplied by `factor`

    def after(self, accuracy: float, schedule: run.Schedule) -> "Plateau":
        """The state after an epoch that reached `accuracy`."""
        if accuracy > self.best:
            return replace(self, best=accuracy, waited=0)
        if self.waited + 1 < schedule.patience or self.reductions >= schedule.reductions:
            return replace(self, waited=self.waited + 1)
        return replace(self, waited=0, reductions=self.reductions + 1)


def learning_rate(
    schedule: run.Schedule, base: float, *, epoch: int, step: int, steps: int, epochs: int, plateau: Plateau
) -> float:
    """The learning rate of one optimiser step: warm-up times schedule.

    `epoch` and `step` are counted from 0: `schedule.steps = [(2, 0.1)]` acts once two epochs are done. `steps` is the
    number of optimiser steps in an epoch. Epochs of `steps` and `exponential` count from the beginning of the run,
    warm-up included; cosine, linear and poly start where warm-up ends and fall towards `final`, which they would reach
    one step after the last. Linear warm-up reaches its full height at its last step.
    """
    done = epoch * steps + step
    warmup = round(schedule.warmup_epochs * steps)
    share = min(max(done - warmup, 0) / max(epochs * steps - warmup, 1), 1.0)
    return base * _factor(schedule, done, steps, share, plateau) * _warmth(schedule, done, warmup)


def _factor(schedule: run.Schedule, done: int, steps: int, share: float, plateau: Plateau) -> float:
    """The schedule's factor after `done` steps; `share` is the share of the steps after warm-up that is behind."""
    final = schedule.final
    match schedule.name:
        case "steps":
            return ([1.0] + [factor for start, factor in schedule.steps if round(start * steps) <= done])[-1]
        case "exponential":
            falls = done / (schedule.every * steps)
            # a hair more, since 0.1 · 30 is not quite 3
            return float(schedule.factor ** (math.floor(falls + 1e-9) if schedule.staircase else falls))
        case "cosine":
            return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * share))
        case "linear":
            return final + (1 - final) * (1 - share)
        case "poly":
            return float(final + (1 - final) * (1 - share) ** schedule.power)
        case "plateau":
            return float(schedule.factor**plateau.reductions)
        case "constant":
            return 1.0


def _warmth(schedule: run.Schedule, done: int, warmup: int) -> float:
    """Warm-up's factor after `done` steps; warm-up is the first `warmup` of the run."""
    if done >= warmup:
        return 1.0
    if schedule.warmup == "constant":
        return schedule.warmup_from
    return schedule.warmup_from + (1 - schedule.warmup_from) * (done + 1) / warmup
