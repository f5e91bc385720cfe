"""Depthwise convolutions with very large kernels."""

from functools import partial

from torch import nn

from .conv import MakeNorm, conv_norm
from .rep import ConvSum


class LargeKernel(ConvSum):
    """A depthwise K×K convolution, with a small kernel beside it that helps training (Ding et al. 2022); all
    normalised.

    `strips` is SLaK's form (Liu et al. 2023): K×K is never built, K×small and small×K stand for it.
    `small` None takes the small kernel away. Input and output (N, channels, H, W).
    """

    def __init__(self, channels: int, kernel: int, small: int | None = 5, *, strips: bool = False,
                 dilation: int = 1, norm: MakeNorm = nn.BatchNorm2d) -> None:
        layer = partial(conv_norm, channels, channels, groups=channels, dilation=dilation, norm=norm, act=None)
        branches: dict[str, nn.Module]
        if strips and small is not None:
            branches = {"tall": layer((kernel, small)), "wide": layer((small, kernel))}
        else:
            branches = {"large": layer(kernel)}
        if small is not None and small < kernel:
            branches["small"] = layer(small)
        super().__init__(branches)
