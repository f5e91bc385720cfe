"""Frozen layers, which keep their weights for the whole run or until an epoch comes."""

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import ClassVar

from torch import nn

from .. import run
from ..errors import ConvatlasError, nearest
from .listener import Listener
from .step import Step


def matching(model: nn.Module, pattern: str, field: str) -> set[str]:
    """The names of the parameters that `pattern` stands for: a wildcard of their names, or of a module with all in it.

    `*.bias`, `stages.0`, `head`. One that stands for nothing is a ConvatlasError that says `field` and the nearest
    names.
    """
    names = [name for name, _ in model.named_parameters()]
    found = {name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")}
    if not found:
        modules = [name for name, _ in model.named_modules() if name]
        if any(fnmatchcase(name, pattern) for name in modules):
            raise ConvatlasError(f"{field}: {pattern!r} of this network has no parameters; leave it out")
        hint = (nearest(pattern, [*modules, *names])
                or "; there are " + ", ".join(name for name, _ in model.named_children()))
        raise ConvatlasError(f"{field}: no parameter of the network is named {pattern!r}{hint}")
    return found


def freeze(model: nn.Module, patterns: Iterable[str], field: str = "train.freeze") -> list[str]:
    """Freeze what the patterns stand for (`matching`) and return the names of these parameters, in the network's order.

    In training call `keep_still` too: it keeps frozen BatchNorm's running statistics, and dropout out of frozen parts.
    """
    frozen = set[str]().union(*(matching(model, pattern, field) for pattern in patterns))
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    return [name for name, _ in model.named_parameters() if name in frozen]


def keep_still(model: nn.Module) -> None:
    """Put frozen parts into evaluation mode, to be called after every `model.train()`.

    A frozen part gives the same output all through training, as one expects of a frozen backbone: BatchNorm normalises
    by its running statistics and leaves them as they are, dropout and stochastic depth let everything pass. A module is
    frozen where it, with all in it, has parameters and none moves.
    """
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


class Freezing:
    """The schedule of frozen layers by `train.freeze` and `train.unfreeze`: a function of the epoch alone.

    `moving` names the parameters that are trained at any time, for the optimiser. Parameters that the network itself
    holds fixed stay so.
    """

    def __init__(self, model: nn.Module, train: run.Train) -> None:
        self.model = model
        movable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        self.frozen = movable & set(freeze(model, train.freeze))
        self.thaws = [(epoch, movable & matching(model, pattern, "train.unfreeze"))
                      for epoch, pattern in train.unfreeze]
        self.moving = movable - self.frozen | set[str]().union(*(names for _, names in self.thaws))

    def at(self, epoch: float) -> list[str]:
        """Thaw and freeze as of `epoch` (counted from 0, may be a fraction); returns the names of what has thawed."""
        thawed = set[str]().union(*(names for start, names in self.thaws if start <= epoch))
        fresh = []
        for name, parameter in self.model.named_parameters():
            if name in self.frozen and parameter.requires_grad != (name in thawed):
                parameter.requires_grad_(name in thawed)
                if parameter.requires_grad:
                    fresh.append(name)
        return fresh


class Thawing(Listener):
    """Freezing in the loop: parameters thaw at their step, and frozen parts stay in evaluation mode.

    `steps` are those of an epoch. What thaws is told, and the network is wrapped anew, since DDP looks once.
    """

    name: ClassVar[str] = "freeze"

    def __init__(self, freezing: Freezing, move: Step, steps: int, tell: Callable[[str], None]) -> None:
        self.freezing, self.move, self.steps, self.tell = freezing, move, steps, tell

    def before_epoch(self, epoch: int, step: int) -> None:
        """Put frozen parts into evaluation mode."""
        keep_still(self.move.model)

    def before_step(self, epoch: int, step: int) -> None:
        """Thaw what is trained from this step on."""
        thawed = self.freezing.at(epoch + step / self.steps)
        if thawed:
            self.tell(f"From here on these move too: {', '.join(thawed)}.")
            self.move.wrap()
            self.move.network.train()
            keep_still(self.move.model)
