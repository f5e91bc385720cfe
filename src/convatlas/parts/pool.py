"""Poolings that torch does not have."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .counted import Counted


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
        return F.avg_pool2d(x, 2, divisor_override=1) * self.weight + self.bias

    def macs(self, output: Tensor) -> int:
        return 0

    def connections(self, output: Tensor) -> int:
        return 5 * output[0].numel()

    def reach(self) -> tuple[int, int]:
        return 2, 2

    def extra_repr(self) -> str:
        return str(len(self.weight))
