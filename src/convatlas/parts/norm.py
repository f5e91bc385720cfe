"""Normalisations."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LocalResponseNorm(nn.Module):
    """Local response normalisation, b = a / (k + α Σ a²)^β over `size` neighbouring maps (Krizhevsky et al. 2012,
    section 3.3), the sum as printed.

    torch, Caffe and cuda-convnet divide α by `size`; pass α/size to have theirs. `groups` > 1 keeps the sum inside each
    group of maps, as on the paper's two GPUs. Input and output (N, C, H, W).
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, groups: int = 1) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k, self.groups = size, alpha, beta, k, groups

    def forward(self, x: Tensor) -> Tensor:
        if self.groups == 1:
            return self.normalize(x)
        halves = torch.unflatten(x, 1, (self.groups, -1)).flatten(0, 1)           # (N·groups, C/groups, H, W)
        return torch.unflatten(self.normalize(halves), 0, (-1, self.groups)).flatten(1, 2)

    def normalize(self, x: Tensor) -> Tensor:
        """The formula over all channels of x. (torch's own goes through a 3-d pooling that knows no bfloat16.)"""
        squares = F.pad(x.square(), (0, 0, 0, 0, self.size // 2, (self.size - 1) // 2))
        total = squares[:, : x.shape[1]]
        for i in range(1, self.size):
            total = total + squares[:, i : i + x.shape[1]]
        return x * (self.k + self.alpha * total).pow(-self.beta)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, groups={self.groups}"


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of each position of (N, C, H, W)."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class LayerScale(nn.Module):
    """Layer scale, x · γ with one trained factor per channel, `value` at first (Touvron et al. 2021). The last
    dimension is the channels'.
    """

    def __init__(self, channels: int, value: float = 1e-6) -> None:
        super().__init__()
        self.value = value
        self.gamma = nn.Parameter(torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma

    def extra_repr(self) -> str:
        return f"{len(self.gamma)}, {self.value:g}"
