"""MobileNetV3 — Howard et al., "Searching for MobileNetV3", ICCV 2019.

Idea    Layers found by search on a phone's measured latency, then cut by hand: squeeze-and-excitation on the expanded
        channels, the cheap hard-swish in the deep half, and a last stage that pools before it widens.
Mirrors Tables 1 and 2, a block per row; the authors' minimalistic models, without squeeze-and-excitation, hard-swish
        and 5×5 kernels (`minimal`).
Departs The small network is the released one: 1024 units before the classifier and no squeeze-and-excitation on the
        last convolution. Table 2's tick is `head_se=True`, its first version's width `head=1280`. A width multiplier
        scales a block's expansion with its input, and leaves `head` if below 1, as the released code does. Padding is
        symmetric unless `padding="same"`, TensorFlow's. The initialisation is TF-slim's.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from torch import nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import (
    GlobalPool,
    PoolKind,
    SqueezeExcite,
    conv_norm,
    dilate,
    inverted_residual,
    ramp,
    round_channels,
    slim_init_,
    slim_linear,
)


class Row(NamedTuple):
    kernel: int
    exp: int        # channels of the depthwise layer
    out: int
    se: bool
    nl: Literal["RE", "HS"]
    s: int


LARGE = (       # kernel exp out SE     NL  s     Table 1, bneck
    Row(3, 16,  16,  False, "RE", 1),           # 112×112×16
    Row(3, 64,  24,  False, "RE", 2),           # 112×112×16
    Row(3, 72,  24,  False, "RE", 1),           # 56×56×24
    Row(5, 72,  40,  True,  "RE", 2),           # 56×56×24
    Row(5, 120, 40,  True,  "RE", 1),           # 28×28×40
    Row(5, 120, 40,  True,  "RE", 1),           # 28×28×40
    Row(3, 240, 80,  False, "HS", 2),           # 28×28×40
    Row(3, 200, 80,  False, "HS", 1),           # 14×14×80
    Row(3, 184, 80,  False, "HS", 1),           # 14×14×80
    Row(3, 184, 80,  False, "HS", 1),           # 14×14×80
    Row(3, 480, 112, True,  "HS", 1),           # 14×14×80
    Row(3, 672, 112, True,  "HS", 1),           # 14×14×112
    Row(5, 672, 160, True,  "HS", 2),           # 14×14×112
    Row(5, 960, 160, True,  "HS", 1),           # 7×7×160
    Row(5, 960, 160, True,  "HS", 1),           # 7×7×160
)
SMALL = (       # kernel exp out SE     NL  s     Table 2, bneck
    Row(3, 16,  16,  True,  "RE", 2),           # 112×112×16
    Row(3, 72,  24,  False, "RE", 2),           # 56×56×16
    Row(3, 88,  24,  False, "RE", 1),           # 28×28×24
    Row(5, 96,  40,  True,  "HS", 2),           # 28×28×24
    Row(5, 240, 40,  True,  "HS", 1),           # 14×14×40
    Row(5, 240, 40,  True,  "HS", 1),           # 14×14×40
    Row(5, 120, 48,  True,  "HS", 1),           # 14×14×40
    Row(5, 144, 48,  True,  "HS", 1),           # 14×14×48
    Row(5, 288, 96,  True,  "HS", 2),           # 14×14×48
    Row(5, 576, 96,  True,  "HS", 1),           # 7×7×96
    Row(5, 576, 96,  True,  "HS", 1),           # 7×7×96
)


@dataclass(frozen=True)
class MobileNetV3:
    """`last` and `head` are the channels of the last convolution and of the layer after pooling.

    `se_ratio` is the share of a block's channels that its gate has inside; 0 takes the gates away.
    """

    table: tuple[Row, ...] = LARGE
    last: int = 960
    head: int = 1280
    head_se: bool = False
    width: float = 1.0
    minimal: bool = False
    se_ratio: float = 0.25
    stem: Literal["imagenet", "cifar"] = "imagenet"
    padding: Literal["symmetric", "same"] = "symmetric"
    output_stride: Literal[8, 16, 32] = 32
    global_pool: PoolKind = "avg"
    norm_eps: float = 1e-3
    norm_momentum: float = 0.01
    drop_rate: float = 0.2
    drop_path_rate: float = 0.0
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224), scores (N, 1000)."""
        norm = partial(nn.BatchNorm2d, eps=self.norm_eps, momentum=self.norm_momentum)
        swish = nn.ReLU if self.minimal else nn.Hardswish
        block = partial(inverted_residual, padding=self.padding, norm=norm, gate=nn.Hardsigmoid)
        reduction = 2 if self.stem == "imagenet" else 1
        base, cin = 16, round_channels(16 * self.width)
        stem = conv_norm(self.in_chans, cin, 3, reduction, padding=self.padding, norm=norm, act=swish)
        stages: list[nn.Module] = []
        groups = self.groups()
        drops = ramp(self.drop_path_rate, len(self.table), reach=False)
        plan = dilate(tuple(rows[0].s for rows in groups), self.output_stride, reduction)
        for rows, (stride, first, rest) in zip(groups, plan, strict=True):
            blocks: list[nn.Module] = []
            for row in rows:
                mid, cout = round_channels(cin * row.exp / base), round_channels(row.out * self.width)
                blocks.append(block(cin, mid, cout, 3 if self.minimal else row.kernel, 1 if blocks else stride,
                                    dilation=rest if blocks else first, act=swish if row.nl == "HS" else nn.ReLU,
                                    drop=next(drops), squeezed=self.squeezed(mid) if row.se and not self.minimal else 0))
                base, cin = row.out, cout
            stages.append(nn.Sequential(*blocks))
        wide = round_channels(self.last * self.width)
        layers: OrderedDict[str, nn.Module] = OrderedDict(expand=conv_norm(cin, wide, 1, norm=norm, act=swish))
        if self.head_se and self.se_ratio:
            layers["excite"] = SqueezeExcite(wide, self.squeezed(wide), gate=nn.Hardsigmoid)
        stages.append(nn.Sequential(layers))
        units = max(self.head, round_channels(self.head * self.width))
        reads = GlobalPool(self.global_pool).width(wide)
        after = {} if self.global_pool == "none" else {"fc": slim_linear(reads, units), "act": swish()}
        head = pooled(wide, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate,
                      classifier=slim_linear, after=after, after_width=units if after else None)
        net = Convnet(self, stem, stages, head)
        slim_init_(net)
        return net

    def squeezed(self, channels: int) -> int:
        """Channels inside the gate of so many; 0: there is no gate."""
        return round_channels(channels * self.se_ratio) if self.se_ratio else 0

    def groups(self) -> list[list[Row]]:
        """The table's rows cut before every one that strides."""
        starts = [i for i, row in enumerate(self.table) if i == 0 or row.s > 1]
        return [list(self.table[i:j]) for i, j in zip(starts, [*starts[1:], None], strict=True)]


register("mobilenet_v3_large", MobileNetV3(), params=5_483_032, macs=216_589_760, aliases=("mobilenetv3_large_100",),
         recipe="mobilenet_v3")
register("mobilenet_v3_large_075", MobileNetV3(width=0.75),
         params=3_993_528, macs=154_560_624, aliases=("mobilenetv3_large_075",), recipe="mobilenet_v3")
register("mobilenet_v3_large_minimal", MobileNetV3(minimal=True),
         params=3_924_288, macs=209_136_704, fidelity="authors", recipe="mobilenet_v3")
register("mobilenet_v3_small", MobileNetV3(SMALL, 576, 1024),
         params=2_542_856, macs=56_510_400, aliases=("mobilenetv3_small_100",), recipe="mobilenet_v3")
register("mobilenet_v3_small_075", MobileNetV3(SMALL, 576, 1024, width=0.75), params=2_041_872, macs=43_399_344,
         aliases=("mobilenetv3_small_075",), recipe="mobilenet_v3")
register("mobilenet_v3_small_minimal", MobileNetV3(SMALL, 576, 1024, minimal=True),
         params=2_044_736, macs=52_288_448, fidelity="authors", recipe="mobilenet_v3")
