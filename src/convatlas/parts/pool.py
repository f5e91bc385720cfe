"""Poolings that torch does not have."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .counted import Counted

PoolKind = Literal["avg", "max", "avgmax", "catavgmax", "none"]


class Subsample2d(Counted):
    """LeNet's trainable subsampling: the sum of each 2×2 window times a coefficient plus a bias, one pair per map.

    LeCun et al. 1998, section II-B. The squashing function follows as a layer of its own. Input (N, C, H, W), output
    (N, C, H/2, W/2), odd rows and columns at the end dropped.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        nn.init.uniform_(self.weight, -2.4 / 4, 2.4 / 4)

    def forward(self, x: Tensor) -> Tensor:
        return 4 * F.avg_pool2d(x, 2) * self.weight + self.bias       # ONNX knows no sum-pooling

    def macs(self, output: Tensor) -> int:
        return 0

    def connections(self, output: Tensor) -> int:
        return 5 * output[0].numel()

    def reach(self) -> tuple[int, int]:
        return 2, 2

    def extra_repr(self) -> str:
        return str(len(self.weight))


class GlobalPool(nn.Module):
    """Global pooling, (N, C, H, W) → (N, C): the map's mean, its maximum, the mean of both, or both concatenated (N,
    2C).

    "none" leaves the map as it is. The names are timm's.
    """

    def __init__(self, kind: PoolKind = "avg") -> None:
        super().__init__()
        self.kind = kind

    def width(self, channels: int) -> int:
        """Width of the result where `channels` go in."""
        return 2 * channels if self.kind == "catavgmax" else channels

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "none":
            return x
        if self.kind == "avg":
            return x.mean((2, 3))
        if self.kind == "max":
            return x.amax((2, 3))
        mean, top = x.mean((2, 3)), x.amax((2, 3))
        return 0.5 * (mean + top) if self.kind == "avgmax" else torch.cat([mean, top], dim=1)

    def extra_repr(self) -> str:
        return self.kind
