"""Pre-activated residual units: norm and act come before each convolution (He et al. 2016, "Identity Mappings", Figure
4e).
"""

from collections import OrderedDict

from torch import Tensor, nn

from .conv import MakeNorm, norm_conv
from .residual import Residual

Layers = OrderedDict[str, nn.Module]


class SharedPreact(Residual):
    """Pre-activated unit branch(pre(x)) + shortcut(pre(x)), whose shortcut too reads the activated map, as where shapes
    change.

    Elsewhere the shortcut is the untouched x, and `pre` is simply the start of a Residual's branch.
    """

    def __init__(self, pre: nn.Module, branch: nn.Module, shortcut: nn.Module | None = None, drop: float = 0.0) -> None:
        super().__init__(branch, shortcut, drop=drop)
        self.pre = pre

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.pre(x))


def preact_unit(layers: Layers, shortcut: nn.Module | None = None, *, shared: bool, drop: float = 0.0) -> Residual:
    """Pre-activated unit of flat layers `norm1`, `act1`, `conv1`, `norm2`, …; the first two are the shortcut's as well
    if `shared`.
    """
    if not shared:
        return Residual(nn.Sequential(layers), shortcut, drop=drop)
    pre = nn.Sequential(OrderedDict(norm=layers.pop("norm1"), act=layers.pop("act1")))
    return SharedPreact(pre, nn.Sequential(layers), shortcut, drop)


def preact_basic(cin: int, cout: int, stride: int = 1, *, dilation: tuple[int, int] = (1, 1), dropout: float = 0.0,
                 norm: MakeNorm = nn.BatchNorm2d) -> Layers:
    """Basic pre-activated branch: 3×3, 3×3, each after norm and act; `dropout` between the two (Zagoruyko & Komodakis
    2016, Figure 1d).
    """
    return (norm_conv(cin, cout, 3, stride, number=1, dilation=dilation[0], norm=norm)
            | norm_conv(cout, cout, 3, number=2, dilation=dilation[1], dropout=dropout, norm=norm))


def preact_bottleneck(cin: int, cout: int, strides: tuple[int, int] = (1, 1), *, dilation: int = 1,
                      norm: MakeNorm = nn.BatchNorm2d) -> Layers:
    """Pre-activated bottleneck: 1×1 to a quarter of `cout`, 3×3, 1×1 up, each after norm and act; `strides` are those
    of the first two.
    """
    mid = cout // 4
    return (norm_conv(cin, mid, 1, strides[0], number=1, norm=norm)
            | norm_conv(mid, mid, 3, strides[1], number=2, dilation=dilation, norm=norm)
            | norm_conv(mid, cout, 1, number=3, norm=norm))
