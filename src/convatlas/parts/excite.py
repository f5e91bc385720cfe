"""Squeeze-and-excitation: channels weighted by what the whole image shows (Hu et al. 2018)."""

from typing import Literal

from torch import Tensor, nn

from .conv import Make


class SqueezeExcite(nn.Module):
    """x · gate(expand(act(reduce(squeeze(x))))): one factor per channel and image (Hu et al. 2018, eq. 2 to 4).

    `squeeze` averages over the image or takes its maximum. `reduce` and `expand` are the paper's two fully connected layers
    as 1×1 convolutions. Input and output (N, channels, H, W).
    """

    def __init__(self, channels: int, squeezed: int, *, squeeze: Literal["avg", "max"] = "avg", act: Make = nn.ReLU,
                 gate: Make = nn.Sigmoid, bias: bool = True) -> None:
        super().__init__()
        self.squeeze: nn.Module = nn.AdaptiveAvgPool2d(1) if squeeze == "avg" else nn.AdaptiveMaxPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1, bias=bias)
        self.act = act()
        self.expand = nn.Conv2d(squeezed, channels, 1, bias=bias)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = self.gate(self.expand(self.act(self.reduce(self.squeeze(x)))))
        return x * scale
