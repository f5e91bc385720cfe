"""Running averages of the weights, which often predict better than the last ones (Polyak; Szegedy et al. 2016)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from .distributed import placed
from .listener import Listener


class Average(Listener):
    """Exponential moving average a ← d·a + (1 − d)·w of the parameters and floating buffers of `model`.

    Other buffers are copied. It starts as a copy of what the network holds. `decay` is d, in (0, 1); with `warmup`
    it is at most (1 + t)/(10 + t) at step t, counted from 0, so that the first weights are soon forgotten. Sharded
    networks (FSDP2) have sharded averages.
    """

    name: ClassVar[str] = "ema"

    def __init__(self, model: nn.Module, decay: float, warmup: bool = True) -> None:
        self.model, self.decay, self.warmup = model, decay, warmup
        self.averages: dict[str, Tensor] = {}

    def start(self) -> None:
        """Begin with the network's weights."""
        self.averages = _copy(self.model.state_dict())

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from whole tensors as a checkpoint holds them."""
        self.averages = {name: placed(tensors[name], like=value) for name, value in self.model.state_dict().items()}

    def tensors(self) -> Mapping[str, Tensor]:
        """The averages by the names of `model.state_dict()`."""
        return self.averages

    def after_step(self, done: int) -> None:
        """Take in the weights after optimiser step `done` of the run, counted from 1."""
        decay = min(self.decay, done / (9 + done)) if self.warmup else self.decay
        # under FSDP2 buffers are not sharded: one call for each kind
        kinds: dict[type, tuple[list[Tensor], list[Tensor]]] = {}
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                averages, weights = kinds.setdefault(type(value), ([], []))
                averages.append(self.averages[name])
                weights.append(value)
            else:
                self.averages[name].copy_(value)
        for averages, weights in kinds.values():
            torch._foreach_lerp_(averages, weights, 1 - decay)

    @contextmanager
    def validating(self) -> Iterator[None]:
        """The averages in the network; the weights are back afterwards, to the bit, whatever happens."""
        weights = _copy(self.model.state_dict())
        self._put(self.averages)
        try:
            yield
        finally:
            self._put(weights)

    def _put(self, values: Mapping[str, Tensor]) -> None:
        # Asked for anew each time: under FSDP2 this also drops what a forward pass has gathered of the weights before.
        for name, place in self.model.state_dict().items():
            place.copy_(values[name])


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}
