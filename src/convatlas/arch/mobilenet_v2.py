"""MobileNetV2 — Sandler, Howard, Zhu, Zhmoginov & Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR
2018.

Idea    Shortcuts between thin layers: a block expands its few channels sixfold, filters them depthwise, and projects
        back linearly, since a ReLU on a thin layer destroys what it carries.
Mirrors Table 2, with its columns t, c, n and s, and the block of Figure 4d. Width multipliers below 1 leave the last
        convolution's 1280 channels (section 6.1).
Departs The classifier is a linear layer on the pooled vector, not a 1×1 convolution: the same function. Padding is
        symmetric unless `padding="same"`, TensorFlow's. Constants that the paper leaves out (initialisation, BatchNorm,
        dropout, rounding of widths) are TF-slim's.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from torch import nn

from ..errors import ConvatlasError
from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import (
    Act,
    Excite,
    PoolKind,
    conv_norm,
    dilate,
    inverted_residual,
    ramp,
    round_channels,
    slim_init_,
    slim_linear,
    with_act,
)


class Row(NamedTuple):
    t: int      # expansion factor
    c: int      # output channels
    n: int      # blocks
    s: int      # stride of the first


TABLE_2 = (     # t   c   n  s        input
    Row(1, 16,  1, 1),          # 112×112×32
    Row(6, 24,  2, 2),          # 112×112×16
    Row(6, 32,  3, 2),          # 56×56×24
    Row(6, 64,  4, 2),          # 28×28×32
    Row(6, 96,  3, 1),          # 14×14×64
    Row(6, 160, 3, 2),          # 14×14×96
    Row(6, 320, 1, 1),          # 7×7×160
)


@dataclass(frozen=True)
class MobileNetV2:
    """`width` multiplies every number of channels; `excite` weighs those that a block has expanded.

    `linear` False rectifies behind each bottleneck, `residual` False has no shortcuts: Figure 6's networks to compare with.
    """

    width: float = 1.0
    table: tuple[Row, ...] = TABLE_2
    excite: Excite | None = None
    act: Act = "relu6"
    linear: bool = True
    residual: bool = True
    stem: Literal["imagenet", "cifar"] = "imagenet"
    padding: Literal["symmetric", "same"] = "symmetric"
    output_stride: Literal[8, 16, 32] = 32
    global_pool: PoolKind = "avg"
    norm_eps: float = 1e-3
    norm_momentum: float = 0.003
    drop_rate: float = 0.2
    drop_path_rate: float = 0.0
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224), scores (N, 1000)."""
        if not self.residual and self.drop_path_rate:
            raise ConvatlasError(f"drop_path_rate = {self.drop_path_rate:g} drops what a shortcut passes by, and residual = "
                                 "False leaves none: give one of them up")
        norm = partial(nn.BatchNorm2d, eps=self.norm_eps, momentum=self.norm_momentum)
        block = partial(inverted_residual, padding=self.padding, norm=norm, act=nn.ReLU6, excite=self.excite,
                        linear=self.linear, residual=self.residual)
        drops = ramp(self.drop_path_rate, sum(row.n for row in self.table), reach=False)
        reduction = 2 if self.stem == "imagenet" else 1
        cin = round_channels(32 * self.width)
        stem = conv_norm(self.in_chans, cin, 3, reduction, padding=self.padding, norm=norm, act=nn.ReLU6)
        plan = dilate(tuple(row.s for row in self.table), self.output_stride, reduction)
        stages: list[nn.Module] = []
        for row, (stride, first, rest) in zip(self.table, plan, strict=True):
            cout = round_channels(row.c * self.width)
            blocks = [block(cin, row.t * cin, cout, 3, stride, dilation=first, drop=next(drops))]
            blocks += [block(cout, row.t * cout, cout, 3, 1, dilation=rest, drop=next(drops)) for _ in range(row.n - 1)]
            stages.append(nn.Sequential(*blocks))
            cin = cout
        wide = max(1280, round_channels(1280 * self.width))
        head = pooled(wide, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate, classifier=slim_linear,
                      before={"expand": conv_norm(cin, wide, 1, norm=norm, act=nn.ReLU6)})
        net = Convnet(self, stem, stages, head)
        slim_init_(net)
        return with_act(net, self.act, "relu6")


register("mobilenet_v2", MobileNetV2(), params=3_504_872, macs=300_774_272, aliases=("mobilenetv2_100",),
         recipe="mobilenet_v2")
register("mobilenet_v2_140", MobileNetV2(1.4), params=6_108_776, macs=582_195_824, aliases=("mobilenetv2_140",),
         recipe="mobilenet_v2")
register("mobilenet_v2_075", MobileNetV2(0.75), params=2_636_424, macs=209_069_792, aliases=("mobilenetv2_075",),
         recipe="mobilenet_v2")
register("mobilenet_v2_050", MobileNetV2(0.5), params=1_968_680, macs=97_131_840, aliases=("mobilenetv2_050",),
         recipe="mobilenet_v2")
register("mobilenet_v2_035", MobileNetV2(0.35), params=1_677_128, macs=59_285_808, aliases=("mobilenetv2_035",),
         recipe="mobilenet_v2")
