"""Optimisers by name, torch's where torch has them, with parameter groups that have rates of their own."""

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn

from .. import run
from ..errors import ConvatlasError
from .freeze import matching
from .optimizers import LevenbergMarquardt, RMSpropTF, SGDCaffe


def optimizer(model: nn.Module, optim: run.Optim, moving: Collection[str] | None = None, *,
              thaws: bool = False) -> torch.optim.Optimizer:
    """The optimiser that `optim` describes over the parameters of `model` named in `moving`.

    `moving` holds every parameter that moves at any time (`Freezing.moving`), None those that require a gradient now: a
    parameter without a gradient is left alone. `thaws` says that some begin to move later. Each group carries
    `lr_scale`, by which the loop multiplies the rate. Raises ConvatlasError where nothing can be trained, a pattern of
    `optim.groups` matches nothing, Nesterov has no momentum, or lm has one.
    """
    parameters = {
        name: parameter for name, parameter in model.named_parameters()
        if (parameter.requires_grad if moving is None else name in moving)
    }
    if not parameters:
        raise ConvatlasError("the network has no parameter that requires a gradient; unfreeze at least one layer")
    if optim.nesterov and (optim.name not in ("sgd", "sgd_caffe") or optim.momentum == 0):
        raise ConvatlasError(f"optim.nesterov needs sgd or sgd_caffe with momentum above 0, not {optim.name} with "
                             f"{optim.momentum}")
    if optim.name == "lm" and optim.momentum:
        raise ConvatlasError(f"optim.name = lm has no momentum, and optim.momentum is {optim.momentum}; set "
                             "optim.momentum=0")

    groups = _groups(model, parameters, optim)
    rho = {"adam": 0.999, "adamw": 0.999}.get(optim.name, 0.9) if optim.rho is None else optim.rho
    eps = {"rmsprop_tf": 1e-3}.get(optim.name, 1e-8) if optim.eps is None else optim.eps
    lr, momentum = optim.lr, optim.momentum
    # On the CPU the fused kernels take a quarter to a half of the time. Sharded parameters have none, and torch's SGD
    # stumbles over parameters that begin to move later than others.
    alike = all(type(p) is nn.Parameter and p.device.type == "cpu" and p.requires_grad for p in parameters.values())
    fused = (alike and not thaws) or None
    match optim.name:
        case "sgd":
            return torch.optim.SGD(groups, lr, momentum, nesterov=optim.nesterov, fused=fused)
        case "sgd_caffe":
            return SGDCaffe(groups, lr, momentum, nesterov=optim.nesterov)
        case "adam":
            return torch.optim.Adam(groups, lr, (momentum, rho), eps, fused=fused)
        case "adamw":
            return torch.optim.AdamW(groups, lr, (momentum, rho), eps, fused=fused)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr, rho, eps, momentum=momentum)
        case "rmsprop_tf":
            return RMSpropTF(groups, lr, rho, eps, momentum)
        case "lm":
            return LevenbergMarquardt(groups, lr, optim.mu)


def _groups(model: nn.Module, parameters: dict[str, nn.Parameter], optim: run.Optim) -> list[dict[str, Any]]:
    """Each parameter in the group of the first rule that matches its name and of its stage; spared ones (`decay_bias`)
    beside it.
    """
    rules = [(rule, matching(model, rule.names, "optim.groups")) for rule in optim.groups]
    rules.append((run.Group(names="*"), set(parameters)))
    scales = _by_stage(model, optim.layer_decay)
    groups: dict[tuple[int, float, bool], dict[str, Any]] = {}
    for name, parameter in parameters.items():
        number = next(number for number, (_, names) in enumerate(rules) if name in names)
        # LeCun's biases, one for every unit, have three dimensions
        bias = parameter.ndim <= 1 or name.rpartition(".")[2] == "bias"
        spared, rule, scale = not optim.decay_bias and bias, rules[number][0], scales(name)
        group = groups.setdefault((number, scale, spared), {
            "params": [],
            "lr": optim.lr * rule.lr * scale,
            "lr_scale": rule.lr * scale,
            "weight_decay": 0.0 if spared else optim.weight_decay * rule.weight_decay,
        })
        group["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def _by_stage(model: nn.Module, decay: float) -> Callable[[str], float]:
    """Layer-wise decay of the rate: each parameter's factor, 1 in the head, `decay` in the last stage, then `decay`², …
    """
    if decay == 1:
        return lambda name: 1.0
    stages = getattr(model, "stages", None)
    if not isinstance(stages, nn.ModuleList):
        raise ConvatlasError(f"optim.layer_decay = {decay} needs a network with stages, and {type(model).__name__} has "
                             "none: set it to 1")

    def scale(name: str) -> float:
        part, _, rest = name.partition(".")
        below = (len(stages) + 1 if part == "stem" else len(stages) - int(rest.partition(".")[0])
                 if part == "stages" else 0)
        return decay ** below

    return scale
