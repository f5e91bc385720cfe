"""MobileNet — Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
arXiv:1704.04861, 2017.

Idea    A convolution in two steps: depthwise (one filter per channel), then pointwise (1×1 over the channels), for an
        eighth of the cost; two numbers, width and resolution, trade accuracy for speed.
Mirrors Table 1, pairs of equal layers in one row; section 3.3's width multiplier; Table 4's full convolutions and Table
        5's shallow network; from Hu et al. 2018, Table 3, SE-MobileNet.
Departs The last depthwise layer strides by 1, as its printed 7×7 maps need, not by the printed 2. Multiplied widths are
        rounded as in MobileNetV2 (no difference at the published ones). Padding is symmetric unless `padding="same"`,
        TensorFlow's. Constants that the paper leaves out (initialisation, BatchNorm, dropout) are TF-slim's; its ReLU6
        is `act="relu6"`.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from torch import nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import (
    ACTS,
    Act,
    Excite,
    Make,
    MakeNorm,
    PoolKind,
    conv_norm,
    dilate,
    round_channels,
    slim_init_,
    slim_linear,
)


class Row(NamedTuple):
    channels: int
    layers: int     # separable convolutions, each of two layers
    stride: int     # of the first of them


TABLE_1 = (     # channels layers stride       input
    Row(64,   1, 1),                        # 112×112×32
    Row(128,  2, 2),                        # 112×112×64
    Row(256,  2, 2),                        # 56×56×128
    Row(512,  6, 2),                        # 28×28×256
    Row(1024, 2, 2),                        # 14×14×512
)
SHALLOW = (*TABLE_1[:3], Row(512, 1, 2), TABLE_1[4])       # section 4.1: without the five layers of 14×14×512


@dataclass(frozen=True)
class MobileNetV1:
    """`separable=False` has full convolutions; `excite` adds squeeze-and-excitation after each pair of layers."""

    width: float = 1.0
    table: tuple[Row, ...] = TABLE_1
    separable: bool = True
    excite: Excite | None = None
    act: Act = "relu"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    padding: Literal["symmetric", "same"] = "symmetric"
    output_stride: Literal[8, 16, 32] = 32
    global_pool: PoolKind = "avg"
    norm_eps: float = 1e-3
    norm_momentum: float = 0.0003
    drop_rate: float = 0.001
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224), scores (N, 1000)."""
        norm = partial(nn.BatchNorm2d, eps=self.norm_eps, momentum=self.norm_momentum)
        act = ACTS[self.act]
        reduction = 2 if self.stem == "imagenet" else 1
        cin = round_channels(32 * self.width)
        stem = conv_norm(self.in_chans, cin, 3, reduction, padding=self.padding, norm=norm, act=act)
        plan = dilate(tuple(row.stride for row in self.table), self.output_stride, reduction)
        stages: list[nn.Module] = []
        for row, (stride, first, rest) in zip(self.table, plan, strict=True):
            cout = round_channels(row.channels * self.width)
            blocks = [self.block(cin, cout, stride, first, norm, act)]
            blocks += [self.block(cout, cout, 1, rest, norm, act) for _ in range(row.layers - 1)]
            stages.append(nn.Sequential(*blocks))
            cin = cout
        head = pooled(cin, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate, classifier=slim_linear)
        net = Convnet(self, stem, stages, head)
        slim_init_(net)
        return net

    def block(self, cin: int, cout: int, stride: int, dilation: int, norm: MakeNorm, act: Make) -> nn.Module:
        """Figure 3, right: 3×3 depthwise, 1×1 pointwise, each with BatchNorm and ReLU; or one full 3×3 convolution."""
        same = partial(conv_norm, padding=self.padding, norm=norm, act=act)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if self.separable:
            layers["depthwise"] = same(cin, cin, 3, stride, groups=cin, dilation=dilation)
            layers["pointwise"] = same(cin, cout, 1)
        else:
            layers["full"] = same(cin, cout, 3, stride, dilation=dilation)
        if self.excite:
            layers["excite"] = self.excite.layer(cout)
        return nn.Sequential(layers)


register("mobilenet_v1", MobileNetV1(), params=4_231_976, macs=568_740_352, recipe="mobilenet_v1")
register("mobilenet_v1_075", MobileNetV1(0.75), params=2_585_560, macs=325_400_448, recipe="mobilenet_v1")
register("mobilenet_v1_050", MobileNetV1(0.5), params=1_331_592, macs=149_497_088, recipe="mobilenet_v1")
register("mobilenet_v1_025", MobileNetV1(0.25), params=470_072, macs=41_030_272, recipe="mobilenet_v1")
register("mobilenet_v1_full", MobileNetV1(separable=False), params=29_294_088, macs=4_867_293_184,
         recipe="mobilenet_v1")
register("mobilenet_v1_shallow", MobileNetV1(table=SHALLOW), params=2_887_976, macs=307_323_392, recipe="mobilenet_v1")
register("se_mobilenet_v1", MobileNetV1(excite=Excite()), params=4_718_044, macs=569_220_096, recipe="senet")
