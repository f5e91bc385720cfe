"""Dynamic sparsity: weights that stay zero, at places that training moves (Liu et al. 2023; SNIP: Lee et al. 2019).

After one batch's `backward`, `snip_densities` says how dense each tensor should be and `Masks` draws masks as dense as
that. Each step of the optimiser is followed by `apply` and `apply_to`, and every so many steps by `prune_and_grow`.
"""

from collections.abc import Mapping
from math import ceil, cos, pi

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def sparsifiable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Tensors that sparsity concerns: all of two or four dimensions, stem and classifier too; no norm, bias or layer
    scale.
    """
    return {name: parameter for name, parameter in model.named_parameters() if parameter.ndim in (2, 4)}


def snip_densities(model: nn.Module, sparsity: float) -> dict[str, float]:
    """SNIP's densities: the share of each tensor's weights that are among the most important of the whole network; call
    it after `backward`.

    A weight's importance is |weight · gradient|, how much the loss minds losing it; the first 1 − sparsity of all are
    kept.
    """
    weights = sparsifiable(model)
    without = [name for name, weight in weights.items() if weight.grad is None]
    if without:
        raise ValueError(f"{without[0]} has no gradient: densities follow from one batch's backward pass")
    scores = torch.cat([(w.detach() * w.grad).abs().flatten() for w in weights.values() if w.grad is not None])
    important = scores.topk(int((1 - sparsity) * len(scores)), sorted=False).indices
    ends = torch.tensor([w.numel() for w in weights.values()], device=scores.device).cumsum(0)
    counts = torch.bincount(torch.bucketize(important, ends, right=True), minlength=len(weights)).tolist()
    return {name: count / w.numel() for (name, w), count in zip(weights.items(), counts, strict=True)}


def cosine_rate(step: int, steps: int, start: float, end: float = 0.005) -> float:
    """Cosine rate: the share of weights to move at `step` of `steps`: from `start` to `end` along half a cosine."""
    return end + (start - end) * (1 + cos(pi * step / steps)) / 2


class Masks:
    """Masks of the weights that are not zero: at random, as many per tensor as its density says.

    Tensors of a density of at least 0.99 are left whole. The generator, on the CPU, makes every choice: the same
    generator state gives the same masks on every device.
    """

    whole = 0.99

    def __init__(self, model: nn.Module, densities: Mapping[str, float], generator: torch.Generator) -> None:
        weights = sparsifiable(model)
        self.generator = generator
        self.weights = {name: weights[name] for name, density in densities.items() if density < self.whole}
        self.dense = {name: weights[name] for name, density in densities.items() if density >= self.whole}
        self.masks = {name: self._random(weight, round(densities[name] * weight.numel()))
                      for name, weight in self.weights.items()}
        self.apply()

    @torch.no_grad()
    def apply(self) -> None:
        """Zero every masked weight: after each step of the optimiser."""
        for name, weight in self.weights.items():
            weight.masked_fill_(~self.masks[name], 0)

    @torch.no_grad()
    def apply_to(self, optimizer: Optimizer) -> None:
        """Zero the momentum of masked weights, SGD's only: the authors leave AdamW's averages as they are."""
        for name, weight in self.weights.items():
            momentum = optimizer.state[weight].get("momentum_buffer") if weight in optimizer.state else None
            if momentum is not None:
                momentum.masked_fill_(~self.masks[name], 0)

    @torch.no_grad()
    def prune_and_grow(self, rate: float) -> None:
        """In each tensor switch off the `rate` smallest of the weights that are on, and as many random ones on; then
        apply.

        What has just been switched off may come back, with its value; every other new weight starts from zero.
        """
        for name, weight in self.weights.items():
            mask = self.masks[name].flatten()
            kept = mask.nonzero().flatten()
            number = ceil(rate * len(kept))
            smallest = weight.flatten()[kept].abs().argsort(stable=True)[:number]
            mask[kept[smallest]] = False
            off = (~mask).nonzero().flatten()
            grown = torch.randperm(len(off), generator=self.generator, device="cpu")[:number]
            mask[off[grown.to(off.device)]] = True
            self.masks[name] = mask.view_as(weight)
        self.apply()

    def densities(self) -> dict[str, float]:
        """Share of weights that are on, tensor by tensor."""
        return {name: mask.sum().item() / mask.numel()
                for name, mask in self.masks.items()} | dict.fromkeys(self.dense, 1.0)

    def sparsity(self) -> float:
        """Share of all these tensors' weights that are off."""
        total = sum(weight.numel() for weight in (*self.weights.values(), *self.dense.values()))
        return sum(mask.numel() - int(mask.sum()) for mask in self.masks.values()) / total

    def state_dict(self) -> dict[str, Tensor]:
        """Masks and the generator's state, as tensors: what an interrupted run needs to go on as if it had not been."""
        return {"generator": self.generator.get_state()} | {f"mask.{name}": mask.clone()
                                                            for name, mask in self.masks.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`. Masks of other tensors, or of other shapes, are a ValueError."""
        saved = {name.removeprefix("mask."): mask for name, mask in state.items() if name.startswith("mask.")}
        shapes = {name: mask.shape for name, mask in saved.items()}
        known = {name: parameter.shape for name, parameter in (self.weights | self.dense).items() if name in saved}
        if shapes != known:
            raise ValueError("these masks belong to another network")
        every = self.weights | self.dense
        self.weights = {name: every[name] for name in every if name in saved}
        self.dense = {name: every[name] for name in every if name not in saved}
        self.masks = {name: saved[name].clone().to(weight.device) for name, weight in self.weights.items()}
        self.generator.set_state(state["generator"].cpu())
        self.apply()

    def _random(self, weight: Tensor, on: int) -> Tensor:
        mask = torch.zeros(weight.numel(), dtype=torch.bool)
        mask[torch.randperm(weight.numel(), generator=self.generator, device="cpu")[:on]] = True
        return mask.view(weight.shape).to(weight.device)
