"""EfficientNet — Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019.

Idea    Scale depth, width and resolution together (d = α^φ, w = β^φ, r = γ^φ with α·β²·γ² ≈ 2, eq. 3), starting from a
        small searched network of inverted residuals with squeeze-and-excitation.
Mirrors Table 1 row by row, resolutions included: a stage's stride is its resolution over the next row's.
Departs B1 to B7 have the authors' published coefficients, which no common φ gives (B7 is 2.0, 3.1 and 600, not 1.95,
        3.58 and 596). Channels that are squeezed are a quarter of a block's input, not of its expanded map, as in the
        authors' code. Padding is symmetric unless `padding="same"`, TensorFlow's.
"""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import ceil, sqrt
from typing import Literal, NamedTuple

from torch import Tensor, nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import (
    Act,
    PoolKind,
    conv_norm,
    dilate,
    fan_out_init_,
    inverted_residual,
    linear,
    ramp,
    round_channels,
    with_act,
)


class Row(NamedTuple):
    expand: int         # t of MBConv-t; 0 marks the plain convolutions of stages 1 and 9
    kernel: int
    resolution: int     # of the stage's input
    channels: int
    layers: int
    se: bool = True     # its blocks squeeze and excite, where `se_ratio` is not 0


TABLE_1 = (     # expand k res channels layers      stage
    Row(0, 3, 224, 32,   1),                    # 1  Conv3x3
    Row(1, 3, 112, 16,   1),                    # 2  MBConv1, k3x3
    Row(6, 3, 112, 24,   2),                    # 3  MBConv6, k3x3
    Row(6, 5, 56,  40,   2),                    # 4  MBConv6, k5x5
    Row(6, 3, 28,  80,   3),                    # 5  MBConv6, k3x3
    Row(6, 5, 14,  112,  3),                    # 6  MBConv6, k5x5
    Row(6, 5, 14,  192,  4),                    # 7  MBConv6, k5x5
    Row(6, 3, 7,   320,  1),                    # 8  MBConv6, k3x3
    Row(0, 1, 7,   1280, 1),                    # 9  Conv1x1 & Pooling & FC
)


def fan_out_uniform_(weight: Tensor) -> Tensor:
    """U(−1/√n, 1/√n) with n the number of classes, as the authors begin the classifier."""
    return nn.init.uniform_(weight, -1 / sqrt(len(weight)), 1 / sqrt(len(weight)))


@dataclass(frozen=True)
class EfficientNet:
    """`width` and `depth` multiply Table 1's channels and layers; a resolution is `image_size`.

    `se_ratio` is the share of a block's input channels that its gate has inside; 0 takes the gates away.
    """

    width: float = 1.0
    depth: float = 1.0
    image_size: int | tuple[int, int] = 224
    drop_rate: float = 0.2
    act: Act = "silu"
    drop_path_rate: float = 0.2
    se_ratio: float = 0.25
    table: tuple[Row, ...] = TABLE_1
    stem: Literal["imagenet", "cifar"] = "imagenet"
    padding: Literal["symmetric", "same"] = "symmetric"
    output_stride: Literal[8, 16, 32] = 32
    global_pool: PoolKind = "avg"
    norm_eps: float = 1e-3
    norm_momentum: float = 0.01
    num_classes: int = 1000
    in_chans: int = 3

    def build(self) -> Convnet:
        """Input (N, 3, image_size, image_size), scores (N, 1000)."""
        norm = partial(nn.BatchNorm2d, eps=self.norm_eps, momentum=self.norm_momentum)
        block = partial(inverted_residual, padding=self.padding, norm=norm, act=nn.SiLU, excite_act=nn.SiLU)
        begin, *middle, end = self.table
        strides = [here.resolution // there.resolution for here, there in pairwise(self.table)]
        reduction = strides[0] if self.stem == "imagenet" else 1
        cin = round_channels(begin.channels * self.width)
        stem = conv_norm(self.in_chans, cin, begin.kernel, reduction, padding=self.padding, norm=norm, act=nn.SiLU)
        plan = dilate(tuple(strides[1:]), self.output_stride, reduction)
        depths = [ceil(row.layers * self.depth) for row in middle]
        drops = ramp(self.drop_path_rate, sum(depths), reach=False)
        stages: list[nn.Module] = []
        for row, layers, (stride, first, rest) in zip(middle, depths, plan, strict=True):
            cout = round_channels(row.channels * self.width)
            blocks: list[nn.Module] = []
            for _ in range(layers):
                squeezed = max(1, int(cin * self.se_ratio)) if self.se_ratio and row.se else 0
                blocks.append(block(cin, row.expand * cin, cout, row.kernel, 1 if blocks else stride,
                                    dilation=rest if blocks else first, squeezed=squeezed, drop=next(drops)))
                cin = cout
            stages.append(nn.Sequential(*blocks))
        wide = round_channels(end.channels * self.width)
        head = pooled(wide, self.num_classes, pool=self.global_pool,
                      drop_rate=self.drop_rate, classifier=linear(fan_out_uniform_),
                      before={"expand": conv_norm(cin, wide, end.kernel, norm=norm, act=nn.SiLU)})
        net = Convnet(self, stem, stages, head)
        fan_out_init_(net)
        return with_act(net, self.act, "silu")


#                         width depth image dropout
register("efficientnet_b0", EfficientNet(1.0, 1.0, 224, 0.2), params=5_288_548, macs=385_814_752, recipe="efficientnet")
register("efficientnet_b1", EfficientNet(1.0, 1.1, 240, 0.2), params=7_794_184, macs=686_802_832, recipe="efficientnet")
register("efficientnet_b2", EfficientNet(1.1, 1.2, 260, 0.3), params=9_109_994, macs=993_561_872, recipe="efficientnet")
register("efficientnet_b3", EfficientNet(1.2, 1.4, 300, 0.3), params=12_233_232, macs=1_827_141_392,
         recipe="efficientnet")
register("efficientnet_b4", EfficientNet(1.4, 1.8, 380, 0.4), params=19_341_616, macs=4_393_771_024,
         recipe="efficientnet")
register("efficientnet_b5", EfficientNet(1.6, 2.2, 456, 0.4), params=30_389_784, macs=10_266_384_752,
         recipe="efficientnet")
register("efficientnet_b6", EfficientNet(1.8, 2.6, 528, 0.5), params=43_040_704, macs=19_067_593_536,
         recipe="efficientnet")
register("efficientnet_b7", EfficientNet(2.0, 3.1, 600, 0.5), params=66_347_960, macs=37_745_884_192,
         recipe="efficientnet")
