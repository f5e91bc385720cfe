"""Side classifiers in training: a network that has them gives their scores too, and the loss adds theirs."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import ConvatlasError
from ..net.model import Convnet
from .distributed import World


class WithSides(nn.Module):
    """`net` with its side classifiers: (N, C, H, W) → the scores of all, (1 + sides, N, classes), `net`'s own first."""

    def __init__(self, net: Convnet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """All scores."""
        scores, sides = self.net.forward_aux(x)
        return torch.stack([scores, *sides.values()])


def with_sides(model: nn.Module, world: World, parallel: str) -> nn.Module:
    """What training calls instead of `model`: `model` itself, unless it has side classifiers."""
    if not isinstance(model, Convnet) or not model.aux:
        return model
    if world.size > 1 and parallel == "fsdp":
        raise ConvatlasError(f"{model.name} has auxiliary classifiers, which parallel = 'fsdp' does not train: "
                             "use parallel = 'ddp', or build it with aux=False")
    return WithSides(model)


def losses_of(model: nn.Module, scores: Tensor, labels: Tensor, loss: Callable[[Tensor, Tensor], Tensor],
              aux_weight: float | None = None) -> tuple[Tensor, Tensor]:
    """(scores of the network itself, its loss per image plus those of its side classifiers times `aux_weight`, or the network's own)."""
    if not isinstance(model, Convnet) or not model.aux:
        return scores, loss(scores, labels)
    total = loss(scores[0], labels)
    for side in scores[1:]:
        total = total + (model.aux_weight if aux_weight is None else aux_weight) * loss(side, labels)
    return scores[0], total
