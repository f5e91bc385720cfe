"""Optimisers from `torch.optim`, and the learning rate as a pure function of counters: resuming needs only those."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from .. import run
from ..errors import ConvatlasError


def optimizer(model: nn.Module, optim: run.Optim) -> torch.optim.Optimizer:
    """The optimiser that `optim` describes over the parameters of `model` that require gradients.

    `momentum` is beta1 for adam and adamw. With `decay_bias=False`, parameters of at most one dimension form a second
    group without weight decay. Raises ConvatlasError where nothing can be trained or Nesterov has no momentum.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ConvatlasError("the network has no parameter that requires a gradient; unfreeze at least one layer")
    if optim.nesterov and (optim.name != "sgd" or optim.momentum == 0):
        raise ConvatlasError(f"optim.nesterov needs sgd with momentum above 0, not {optim.name} with {optim.momentum}")
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if not optim.decay_bias:
        groups = [
            {"params": [parameter for parameter in parameters if parameter.ndim > 1]},
            {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
        ]
    shared: dict[str, Any] = {"lr": optim.lr, "weight_decay": optim.weight_decay}
    if optim.name == "sgd":
        return torch.optim.SGD(groups, momentum=optim.momentum, nesterov=optim.nesterov, **shared)
    if optim.name == "rmsprop":
        return torch.optim.RMSprop(groups, momentum=optim.momentum, **shared)
    adam = torch.optim.Adam if optim.name == "adam" else torch.optim.AdamW
    return adam(groups, betas=(optim.momentum, 0.999), **shared)


@dataclass(frozen=True)
class Plateau:
    """Where the plateau schedule stands; part of every checkpoint."""

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
    """The rate of one optimiser step.

    `epoch` and `step` are counted from 0: `schedule.steps = [(2, 0.1)]` acts once two epochs are done. `steps` is the
    number of optimiser steps in an epoch. Warm-up rises linearly to its full height at its last step; cosine starts
    where it ends and falls towards 0, which it would reach one step after the last.
    """
    done = epoch * steps + step
    warmup = round(schedule.warmup_epochs * steps)
    factor = 1.0
    if schedule.name == "steps":
        factor = ([1.0] + [value for start, value in schedule.steps if start <= epoch])[-1]
    elif schedule.name == "cosine":
        whole = max(epochs * steps - warmup, 1)
        factor = 0.5 * (1 + math.cos(math.pi * min(max(done - warmup, 0) / whole, 1.0)))
    elif schedule.name == "plateau":
        factor = schedule.factor**plateau.reductions
    return base * factor * min(1.0, (done + 1) / max(warmup, 1))
