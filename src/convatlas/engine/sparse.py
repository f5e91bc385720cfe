"""Sparse training in the loop (Liu et al. 2023, SLaK): masks from the first batch, kept after every step, moved every so many."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from .. import run
from ..errors import ConvatlasError
from ..parts import Masks, cosine_rate, snip_densities, sparsifiable
from .checkpoint import derived_seed


class Sparsity:
    """The masks of a run of `steps` optimiser steps in all: `start` or `load` once, then `after_step` each time.

    All processes make the same choices: densities follow from the averaged gradients, places from the run's seed alone.
    """

    def __init__(self, model: nn.Module, sparse: run.Sparse, *, steps: int, seed: int) -> None:
        if not sparsifiable(model):
            raise ConvatlasError("sparse.sparsity concerns weights of convolutions and linear layers, and this network has none")
        self.model, self.sparse, self.steps = model, sparse, steps
        self.generator = torch.Generator().manual_seed(derived_seed(seed, "sparse"))
        self.masks = Masks(model, dict.fromkeys(sparsifiable(model), 1.0), self.generator)       # dense

    def start(self, backward: Callable[[], None]) -> None:
        """Draw the first masks. `backward` leaves the gradients of one batch; SNIP reads them, and they are cleared again.

        What it changes besides, the buffers and torch's random state, is put back.
        """
        if self.sparse.densities == "uniform":
            densities = dict.fromkeys(sparsifiable(self.model), 1 - self.sparse.sparsity)
        else:
            buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
            with torch.random.fork_rng():
                backward()
            densities = snip_densities(self.model, self.sparse.sparsity)
            self.model.zero_grad(set_to_none=True)
            with torch.no_grad():
                for name, buffer in self.model.named_buffers():
                    buffer.copy_(buffers[name])
        self.masks = Masks(self.model, densities, self.generator)

    def after_step(self, optimizer: torch.optim.Optimizer, done: int) -> None:
        """`done` optimiser steps of the run are behind: zero what is masked, and every `sparse.every` steps move the masks."""
        self.masks.apply()
        if done % self.sparse.every == 0 and done < self.steps:
            self.masks.prune_and_grow(cosine_rate(done, self.steps, self.sparse.rate, self.sparse.final_rate))
        self.masks.apply_to(optimizer)

    def apply(self) -> None:
        """Zero what is masked in the weights that are in the network now (a running average, during validation)."""
        self.masks.apply()

    def tensors(self) -> dict[str, Tensor]:
        """The state, for a checkpoint."""
        return self.masks.state_dict()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint's `tensors`."""
        self.masks = Masks(self.model, dict.fromkeys(sparsifiable(self.model), 1.0), self.generator)
        self.masks.load_state_dict(tensors)

    def report(self) -> dict[str, float]:
        """Share of weights that are not zero: of each tensor, and of all together under `all`."""
        return {"all": 1 - self.masks.sparsity(), **self.masks.densities()}
