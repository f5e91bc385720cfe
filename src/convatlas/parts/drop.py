"""Stochastic depth and its schedule over the blocks of a network."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Stochastic depth: drops a whole residual branch, per sample, with probability `rate` in training (Huang et al.
    2016).

    Survivors are divided by 1 − rate, so that the expectation is the input. Any shape (N, …) in, the same out.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = torch.full((x.shape[0], *[1] * (x.ndim - 1)), 1 - self.rate, device=x.device, dtype=x.dtype)
        return x * torch.bernoulli(keep) / (1 - self.rate)

    def extra_repr(self) -> str:
        return f"{self.rate:g}"


def ramp(peak: float, blocks: int, *, reach: bool) -> Iterator[float]:
    """Rates that rise linearly with depth: to `peak` (i/(n−1): ConvNeXt, RepLKNet, SLaK) or short of it (i/n:
    EfficientNet).
    """
    steps = max(blocks - 1, 1) if reach else blocks
    return (peak * i / steps for i in range(blocks))
