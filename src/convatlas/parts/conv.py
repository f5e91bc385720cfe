"""Convolutions with the padding that papers and TensorFlow mean, and the two orders of convolution and normalisation.
"""

from collections import OrderedDict
from collections.abc import Callable
from math import isqrt
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Padding = Literal["symmetric", "same", "valid"]     # k//2 on both sides; TensorFlow's SAME; none
Make = Callable[[], nn.Module]                      # an activation
MakeNorm = Callable[[int], nn.Module]               # a normalisation of so many channels


class SameConv2d(nn.Conv2d):
    """A strided convolution padded as TensorFlow's SAME: ceil(size/stride) outputs, the odd pixel at the bottom and
    right.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(same_pad(x, _both(self.kernel_size), _both(self.stride), _both(self.dilation)))


class SameMaxPool2d(nn.MaxPool2d):
    """A max-pool padded as TensorFlow's SAME."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(same_pad(x, _both(self.kernel_size), _both(self.stride), (1, 1), float("-inf")))
        return y


def same_pad(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int] = (1, 1),
             value: float = 0.0) -> Tensor:
    """Padding of (N, C, H, W) such that a window of `kernel`, at least as large as `stride`, gives ceil(H/stride) rows.
    """
    high, wide = ((kernel[i] - 1) * dilation[i] - (x.shape[2 + i] - 1) % stride[i] for i in (0, 1))
    return F.pad(x, [wide // 2, wide - wide // 2, high // 2, high - high // 2], value=value)


def conv2d(cin: int, cout: int, kernel: int | tuple[int, int], stride: int = 1, *, padding: Padding = "symmetric",
           groups: int = 1, dilation: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution whose padding has a name. "same" and "symmetric" differ only where it strides."""
    size = _both(kernel)
    if padding == "same" and stride > 1 and max(size) > 1:
        return SameConv2d(cin, cout, size, stride, groups=groups, dilation=dilation, bias=bias)
    pad = (0, 0) if padding == "valid" else (dilation * (size[0] - 1) // 2, dilation * (size[1] - 1) // 2)
    return nn.Conv2d(cin, cout, size, stride, pad, groups=groups, dilation=dilation, bias=bias)


def conv_norm(cin: int, cout: int, kernel: int | tuple[int, int], stride: int = 1, *, padding: Padding = "symmetric",
              groups: int = 1, dilation: int = 1, norm: MakeNorm | None = nn.BatchNorm2d,
              act: Make | None = nn.ReLU) -> nn.Sequential:
    """Convolution → norm → act, named conv, norm, act; the convolution has a bias if nothing normalises it."""
    conv = conv2d(cin, cout, kernel, stride, padding=padding, groups=groups, dilation=dilation, bias=norm is None)
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
    if norm is not None:
        layers["norm"] = norm(cout)
    if act is not None:
        layers["act"] = act()
    return nn.Sequential(layers)


def norm_conv(cin: int, cout: int, kernel: int, stride: int = 1, *, number: int | str = "", dropout: float = 0.0,
              dilation: int = 1, groups: int = 1, norm: MakeNorm = nn.BatchNorm2d,
              act: Make = nn.ReLU) -> "OrderedDict[str, nn.Module]":
    """Norm → act → (dropout →) conv of a pre-activated network, as named layers `norm1`, `act1`, … to put into one
    Sequential.

    One flat Sequential, so that `fold` sees a convolution directly followed by the next unit's normalisation.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict({f"norm{number}": norm(cin), f"act{number}": act()})
    if dropout:
        layers[f"drop{number}"] = nn.Dropout(dropout)
    layers[f"conv{number}"] = conv2d(cin, cout, kernel, stride, dilation=dilation, groups=groups)
    return layers


def convolution(fc: nn.Linear, cin: int) -> nn.Conv2d:
    """The same weights as a convolution over the whole square map that the layer was made for (Long et al. 2015, Figure
    2).
    """
    side = isqrt(fc.in_features // cin)
    conv = nn.Conv2d(cin, fc.out_features, side, device="meta")
    conv.weight = nn.Parameter(torch.unflatten(fc.weight.detach(), 1, (cin, side, side)))
    conv.bias = fc.bias
    return conv


def _both(size: int | tuple[int, ...]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
