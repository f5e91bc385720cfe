"""Euclidean radial basis function units."""

import torch
from torch import Tensor

from .counted import Counted


class RBF(Counted):
    """Radial basis function units: scores −Σ_j (x_j − w_ij)², higher is better (LeCun et al. 1998, eq. 7 with the sign
    turned).

    The centres w, (classes, width) of ±1, are fixed: a buffer, not a parameter. Input (N, width), output (N, classes).
    """

    def __init__(self, centres: Tensor) -> None:
        super().__init__()
        self.centres: Tensor
        self.register_buffer("centres", centres)

    def forward(self, x: Tensor) -> Tensor:
        return -(x[:, None, :] - self.centres).square().sum(dim=2)

    def macs(self, output: Tensor) -> int:
        return 0        # papers count multiply-adds of convolutions and products only

    def connections(self, output: Tensor) -> int:
        return self.centres.numel()

    def extra_repr(self) -> str:
        classes, width = self.centres.shape
        return f"{width}, {classes}, centres fixed"


def random_codes(classes: int, width: int, seed: int = 0) -> Tensor:
    """Random codes, (classes, width) of ±1, the same for the same seed."""
    dice = torch.Generator().manual_seed(seed)
    return 2.0 * torch.randint(2, (classes, width), generator=dice, device="cpu") - 1
