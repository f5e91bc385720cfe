"""The blocks of residual networks after their addition's ReLU (He et al. 2016, Figure 5), and the stages made of them."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from .conv import MakeNorm, conv_norm
from .drop import ramp
from .excite import SqueezeExcite
from .init import uniform_linear
from .residual import Option, Residual, dilate, shortcut

StrideOn = Literal["1x1", "3x3"]
StemPool = Literal["symmetric", "ceil"]
Position = Literal["standard", "pre", "post", "identity", "3x3"]
Squeeze = Literal["avg", "max", "none"]
Gate = Literal["sigmoid", "relu", "tanh"]
GATES = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU, "tanh": nn.Tanh}


@dataclass(frozen=True)
class Excite:
    """Where and how a block weighs channels (Hu et al. 2020, section 6); `squeeze` none gives every pixel its own factors."""

    reduction: int = 16
    position: Position = "standard"
    squeeze: Squeeze = "avg"
    gate: Gate = "sigmoid"
    bias: bool = True
    stages: tuple[int, ...] = (0, 1, 2, 3)

    def layer(self, channels: int) -> nn.Module:
        """(N, channels, H, W) in, the same out."""
        pool: Literal["avg", "max"] = "max" if self.squeeze == "max" else "avg"
        layer = SqueezeExcite(channels, channels // self.reduction, squeeze=pool, gate=GATES[self.gate], bias=self.bias)
        if self.squeeze == "none":
            layer.squeeze = nn.Identity()
        return layer


@dataclass(frozen=True)
class Blocks:
    """What all blocks of a network have in common; a bottleneck has `groups` groups of planes · `width` / 64 channels."""

    kind: Literal["basic", "bottleneck"]
    shortcut: Option = "B"
    stride_on: StrideOn = "3x3"
    groups: int = 1
    width: int = 64
    excite: Excite | None = None
    halved: bool = False            # the first 1×1 gives half of what the 3×3 does (SENet-154)
    wide_projection: bool = False   # projections are 3×3 from the second stage on (SENet-154)
    norm: MakeNorm = nn.BatchNorm2d

    def expanded(self, planes: int) -> int:
        """Channels of a block's result."""
        return planes if self.kind == "basic" else 4 * planes

    def block(self, cin: int, planes: int, stride: int, dilation: tuple[int, int], drop: float, stage: int) -> nn.Module:
        """act(branch(x) + shortcut(x)), or without a shortcut act(branch(x)). `dilation`: of what strides, of the rest."""
        cout = self.expanded(planes)
        se = self.excite if self.excite and stage in self.excite.stages else None
        branch: OrderedDict[str, nn.Module] = OrderedDict()
        if se and se.position == "pre":
            branch["se"] = se.layer(cin)
        branch.update(self.basic(cin, planes, stride, dilation, se) if self.kind == "basic" else
                      self.bottleneck(cin, planes, stride, dilation[0], se))
        if se and se.position == "standard":
            branch["se"] = se.layer(cout)
        block: nn.Module = nn.Sequential(OrderedDict(branch=nn.Sequential(branch), act=nn.ReLU()))
        if self.shortcut != "none":
            block = Residual(nn.Sequential(branch), self.bypass(cin, cout, stride, stage, se), nn.ReLU(), drop)
        return nn.Sequential(OrderedDict(block=block, se=se.layer(cout))) if se and se.position == "post" else block

    def basic(self, cin: int, planes: int, stride: int, dilation: tuple[int, int], se: Excite | None) -> "OrderedDict[str, nn.Module]":
        """3×3, 3×3 (Figure 5, left)."""
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["conv1"] = conv_norm(cin, planes, 3, stride, dilation=dilation[0], norm=self.norm)
        if se and se.position == "3x3":
            layers["se"] = se.layer(planes)
        layers["conv2"] = conv_norm(planes, planes, 3, dilation=dilation[1], norm=self.norm, act=None)
        return layers

    def bottleneck(self, cin: int, planes: int, stride: int, dilation: int, se: Excite | None) -> "OrderedDict[str, nn.Module]":
        """1×1 down, 3×3 (in groups: Xie et al. 2017), 1×1 up (Figure 5, right)."""
        inner = planes * self.width // 64 * self.groups
        narrow = inner // 2 if self.halved else inner
        first, second = (stride, 1) if self.stride_on == "1x1" else (1, stride)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["reduce"] = conv_norm(cin, narrow, 1, first, norm=self.norm)
        layers["conv"] = conv_norm(narrow, inner, 3, second, groups=self.groups, dilation=dilation, norm=self.norm)
        if se and se.position == "3x3":
            layers["se"] = se.layer(inner)
        layers["expand"] = conv_norm(inner, self.expanded(planes), 1, norm=self.norm, act=None)
        return layers

    def bypass(self, cin: int, cout: int, stride: int, stage: int, se: Excite | None) -> nn.Module | None:
        """The shortcut, with the excitation behind it where that stands on the identity."""
        way = shortcut(self.shortcut, cin, cout, stride, self.norm)
        if way is not None and self.wide_projection and stage > 0:
            way = conv_norm(cin, cout, 3, stride, norm=self.norm, act=None)
        if se is None or se.position != "identity":
            return way
        return nn.Sequential(OrderedDict(way=nn.Identity() if way is None else way, se=se.layer(cout)))

    def stages(self, depths: Sequence[int], cin: int, *, before: int, pool: StemPool | None = None, output_stride: int = 32,
               drop_path_rate: float = 0.0) -> list[nn.Module]:
        """Stages of 64, 128, 256 … planes, each but the first of stride 2; `before` is the reduction when the first block begins.

        `pool` puts the stem's 3×3/2 max-pool before the blocks of the first stage, which so begins with its own reduction:
        "symmetric" pads a pixel on every side, "ceil" is Caffe's, without padding, the last window cut off by the border.
        """
        drops = ramp(drop_path_rate, sum(depths), reach=True)
        plan = dilate((1, *[2] * (len(depths) - 1)), output_stride, before)
        stages: list[nn.Module] = []
        for i, (depth, (stride, first, rest)) in enumerate(zip(depths, plan, strict=True)):
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            if pool is not None and i == 0:
                layers["pool"] = nn.MaxPool2d(3, 2, 1) if pool == "symmetric" else nn.MaxPool2d(3, 2, ceil_mode=True)
            for j in range(depth):
                layers[str(j)] = self.block(cin, 64 * 2**i, stride if j == 0 else 1, (first if j == 0 else rest, rest), next(drops), i)
                cin = self.expanded(64 * 2**i)
            stages.append(nn.Sequential(layers))
        return stages


def torch_linear(cin: int, cout: int) -> nn.Linear:
    """The classifier of Facebook's Torch releases: `uniform_linear` weights, no bias at first."""
    layer = uniform_linear(cin, cout)
    nn.init.zeros_(layer.bias)
    return layer
