"""Auxiliary classifiers in training (Szegedy et al. 2015): their scores beside the network's, and in the loss."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import ConvatlasError
from ..net.model import Convnet
from .distributed import World


class WithAuxiliary(nn.Module):
    """`net` with its auxiliary classifiers: (N, C, H, W) → scores (1 + classifiers, N, classes), `net`'s own first."""

    def __init__(self, net: Convnet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """All scores."""
        scores, others = self.net.forward_aux(x)
        return torch.stack([scores, *others.values()])


def with_auxiliary(model: nn.Module, world: World, parallel: str) -> nn.Module:
    """The module that training calls: `model` itself, unless it has auxiliary classifiers."""
    if not isinstance(model, Convnet) or not model.aux:
        return model
    if world.size > 1 and parallel == "fsdp":
        raise ConvatlasError(f"{model.name} has auxiliary classifiers, which parallel = 'fsdp' does not train: "
                             "use parallel = 'ddp', or build it with aux=False")
    return WithAuxiliary(model)


def losses_of(model: nn.Module, scores: Tensor, labels: Tensor, loss: Callable[[Tensor, Tensor], Tensor],
              aux_weight: float | None = None) -> tuple[Tensor, Tensor]:
    """The network's own scores, and each image's loss with the auxiliary ones times `aux_weight`, or the network's."""
    if not isinstance(model, Convnet) or not model.aux:
        return scores, loss(scores, labels)
    total = loss(scores[0], labels)
    for other in scores[1:]:
        total = total + (model.aux_weight if aux_weight is None else aux_weight) * loss(other, labels)
    return scores[0], total
