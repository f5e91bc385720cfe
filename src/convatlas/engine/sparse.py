"""Sparse training in the loop (Liu et al. 2023, SLaK): masks from the first batch, kept after every step, moved every
so many.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import bounded
from ..errors import ConvatlasError
from ..files import put
from ..parts import Masks, cosine_rate, snip_densities, sparsifiable
from .checkpoint import derived_seed
from .evaluate import Batches
from .listener import Listener
from .step import Step


class Sparsity(Listener):
    """The masks of a run of `steps` optimiser steps in all, by `run.sparse`; `path` is the file of their densities.

    All processes make the same choices: densities follow from the averaged gradients, places from the run's seed alone.
    """

    name: ClassVar[str] = "sparse"

    def __init__(self, move: Step, train: Batches, steps: int, path: Path) -> None:
        if not sparsifiable(move.model):
            raise ConvatlasError("sparse.sparsity concerns weights of convolutions and linear layers, and this "
                                 "network has none")
        self.move, self.train, self.sparse, self.steps, self.path = move, train, move.run.sparse, steps, path
        self.generator = torch.Generator().manual_seed(derived_seed(move.run.train.seed, "sparse"))
        self.masks = Masks(move.model, dict.fromkeys(sparsifiable(move.model), 1.0), self.generator)       # dense

    def start(self) -> None:
        """Draw the first masks, at the same density everywhere or at SNIP's, from the gradients of one batch."""
        model, sparse = self.move.model, self.sparse
        uniform = dict.fromkeys(sparsifiable(model), 1 - sparse.sparsity)
        self.masks = Masks(model, uniform if sparse.densities == "uniform" else self._snip(), self.generator)
        self._note("start")

    def _snip(self) -> dict[str, float]:
        """SNIP's densities; buffers, gradients, running sums and torch's random state are then as before."""
        model, tally = self.move.model, self.move.tally
        still = [name for name, weight in sparsifiable(model).items() if not weight.requires_grad]
        if still:
            raise ConvatlasError(f"sparse.densities = snip reads the gradient of every weight, "
                                 f"and {still[0]} is frozen; set sparse.densities=uniform")
        buffers, sums = {name: buffer.clone() for name, buffer in model.named_buffers()}, tally.sums.clone()
        self.move.network.train()
        with torch.random.fork_rng():
            self.move.backward(next(self.train.epoch(0)), 0, 0)
        densities = snip_densities(model, self.sparse.sparsity)
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
            tally.sums.copy_(sums)
        return densities

    def after_step(self, done: int) -> None:
        """Zero what is masked, and every `sparse.every` steps move the masks."""
        self.masks.apply()
        if done % self.sparse.every == 0 and done < self.steps:
            self.masks.prune_and_grow(cosine_rate(done, self.steps, self.sparse.rate, self.sparse.final_rate))
        self.masks.apply_to(self.move.optim)

    @contextmanager
    def validating(self) -> Iterator[None]:
        """The masks on what is in the network: an average over masks that moved has fewer zeros than each."""
        self.masks.apply()
        yield

    def tensors(self) -> dict[str, Tensor]:
        """The masks, and the state of the generator that moves them."""
        return self.masks.state_dict()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on with a checkpoint's masks."""
        self.masks.load_state_dict(tensors)

    def end(self) -> None:
        """Note the densities at the end beside those of the start."""
        self._note("end")

    def _noted(self) -> dict[str, Any]:
        try:
            found = bounded.read_json(self.path)
        except (OSError, ValueError):       # it only tells
            return {}
        return found if isinstance(found, dict) else {}

    def _note(self, when: str) -> None:
        """Write the share of weights that are not zero into `path`: of each tensor, and of all together under `all`."""
        if self.move.world.main:
            noted = self._noted() if when == "end" else {}
            noted[when] = {"all": 1 - self.masks.sparsity(), **self.masks.densities()}
            put(self.path, json.dumps(noted, indent=1) + "\n")
