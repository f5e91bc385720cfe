"""Residual blocks, basic and bottleneck (He et al. 2016, Figure 5), and stages of them."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Literal

from torch import nn

from .conv import MakeNorm, conv_norm
from .drop import ramp
from .excite import BlockExcite, excited
from .residual import Option, Residual, dilate, shortcut

Block = Callable[..., nn.Module]        # of (cin, planes, stride, dilation, drop), as `basic` and `bottleneck`
StrideOn = Literal["1x1", "3x3"]
StemPool = Literal["symmetric", "ceil"]


def basic(cin: int, planes: int, stride: int = 1, dilation: tuple[int, int] = (1, 1), drop: float = 0.0, *,
          option: Option = "B", norm: MakeNorm = nn.BatchNorm2d) -> nn.Module:
    """3×3, BN, ReLU, 3×3, BN; + shortcut, ReLU (Figure 5, left).

    Input (N, cin, H, W), output (N, planes, H/stride, W/stride); `dilation` is that of the first 3×3 and of the second.
    """
    branch: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=conv_norm(cin, planes, 3, stride, dilation=dilation[0], norm=norm),
        conv2=conv_norm(planes, planes, 3, dilation=dilation[1], norm=norm, act=None),
    )
    if option == "none":
        return plain(branch)
    return Residual(nn.Sequential(branch), shortcut(option, cin, planes, stride, norm), nn.ReLU(), drop)


def bottleneck(cin: int, planes: int, stride: int = 1, dilation: tuple[int, int] = (1, 1), drop: float = 0.0, *,
               option: Option = "B", stride_on: StrideOn = "3x3", groups: int = 1, width: int = 64,
               norm: MakeNorm = nn.BatchNorm2d) -> nn.Module:
    """1×1, BN, ReLU, 3×3, BN, ReLU, 1×1, BN; + shortcut, ReLU (Figure 5, right).

    The 3×3 has `groups` groups of `width` channels where `planes` is 64, and more in proportion (Xie et al. 2017).
    Input (N, cin, H, W), output (N, 4·planes, H/stride, W/stride).
    """
    inner, cout = planes * width // 64 * groups, 4 * planes
    first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
    branch: OrderedDict[str, nn.Module] = OrderedDict(
        reduce=conv_norm(cin, inner, 1, first, norm=norm),
        conv=conv_norm(inner, inner, 3, second, groups=groups, dilation=dilation[0], norm=norm),
        expand=conv_norm(inner, cout, 1, norm=norm, act=None),
    )
    if option == "none":
        return plain(branch)
    return Residual(nn.Sequential(branch), shortcut(option, cin, cout, stride, norm), nn.ReLU(), drop)


def plain(branch: "OrderedDict[str, nn.Module]") -> nn.Sequential:
    """The block of a network without shortcuts: branch, ReLU."""
    return nn.Sequential(OrderedDict(branch=nn.Sequential(branch), act=nn.ReLU()))


def residual_stages(block: Block, depths: Sequence[int], cin: int, *, expansion: int, before: int,
                    planes: int = 64, pool: StemPool | None = None, excite: BlockExcite | None = None,
                    output_stride: int = 32, drop_path_rate: float = 0.0) -> list[nn.Module]:
    """Stages of `planes`, of twice as many, and so on, each but the first of stride 2; a block gives `expansion` times
    its planes.

    `before` is the reduction when the first block begins. `pool` puts the stem's 3×3/2 max-pool before the blocks of
    the first stage, which so begins with its own reduction: "symmetric" pads a pixel on every side, "ceil" is Caffe's,
    without padding, the last window cut off by the border.
    """
    drops = ramp(drop_path_rate, sum(depths), reach=True)
    plan = dilate((1, *[2] * (len(depths) - 1)), output_stride, before)
    stages: list[nn.Module] = []
    for i, (depth, (stride, first, rest)) in enumerate(zip(depths, plan, strict=True)):
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if pool is not None and i == 0:
            layers["pool"] = nn.MaxPool2d(3, 2, 1) if pool == "symmetric" else nn.MaxPool2d(3, 2, ceil_mode=True)
        for j in range(depth):
            made = block(cin, planes * 2**i, stride if j == 0 else 1, (first if j == 0 else rest, rest), next(drops))
            layers[str(j)] = excited(made, excite) if excite and i in excite.stages else made
            cin = expansion * planes * 2**i
        stages.append(nn.Sequential(layers))
    return stages
