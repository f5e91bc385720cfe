"""Squashing functions."""

import torch
from torch import Tensor, nn


class ScaledTanh(nn.Module):
    """Scaled hyperbolic tangent, 1.7159 · tanh(2a/3): f(±1) = ±1, the curvature is largest there (LeCun 1989; LeCun et
    al. 1998, appendix A).
    """

    amplitude = 1.7159      # A
    slope = 2 / 3           # S

    def forward(self, a: Tensor) -> Tensor:
        """Any shape in, the same shape out."""
        return self.amplitude * torch.tanh(self.slope * a)
