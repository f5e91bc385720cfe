"""Inception-ResNet-v1 — Szegedy, Ioffe, Vanhoucke & Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning", AAAI 2017.

Idea    Inception modules that learn residuals: cheaper paths, a linear 1×1 convolution back to the input's width, the
        sum rectified; at the cost of Inception-v3 it trains far faster.
Mirrors Figures 10 to 15 and Table 1 (k = 192, l = 192, m = 256, n = 384).
Departs The paper scales residuals by 0.1 to 0.3 and does not say where by which; the factors are those of the authors'
        code for version 2, whose initialisation and normalisation this has too. There is no `padding` field: whatever
        strides is unpadded in the paper too.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from torch import nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import (
    Act,
    Boxes,
    Conv,
    Excite,
    Figure,
    PoolKind,
    draw,
    drawn,
    every_conv_,
    figure_7,
    linear,
    ramp,
    scaled_residual,
    with_act,
)

FIGURE_14: tuple[Boxes, Boxes, Boxes] = (       # the stem, cut where it reduces
    (Conv(32, 3, 2, "valid"), Conv(32, 3, 1, "valid"), Conv(64, 3)),        # 299 → 147 pixels
    ("max", Conv(80, 1), Conv(192, 3, 1, "valid")),                         # → 71
    (Conv(256, 3, 2, "valid"),),                                            # → 35
)
FIGURE_10: Figure = {       # Inception-ResNet-A
    "one": (Conv(32, 1),),
    "three": (Conv(32, 1), Conv(32, 3)),
    "twice": (Conv(32, 1), Conv(32, 3), Conv(32, 3)),
}
FIGURE_11: Figure = {       # Inception-ResNet-B
    "one": (Conv(128, 1),),
    "seven": (Conv(128, 1), Conv(128, (1, 7)), Conv(128, (7, 1))),
}
FIGURE_12: Figure = {       # Reduction-B
    "wide": (Conv(256, 1), Conv(384, 3, 2, "valid")),
    "three": (Conv(256, 1), Conv(256, 3, 2, "valid")),
    "twice": (Conv(256, 1), Conv(256, 3), Conv(256, 3, 2, "valid")),
    "pool": ("max",),
}
FIGURE_13: Figure = {       # Inception-ResNet-C
    "one": (Conv(192, 1),),
    "three": (Conv(192, 1), Conv(192, (1, 3)), Conv(192, (3, 1))),
}


class Row(NamedTuple):
    reduce: Boxes
    module: Figure
    times: int


FIGURE_15 = (   # reduction                            module     times
    Row(FIGURE_14[2],                                  FIGURE_10, 5),       # 35 pixels, 256 maps
    Row((figure_7(k=192, l=192, m=256, n=384),),       FIGURE_11, 10),      # 17, 896
    Row((FIGURE_12,),                                  FIGURE_13, 5),       # 8, 1792
)


@dataclass(frozen=True)
class InceptionResNetV1:
    """`scales` are the factors of what the three kinds of modules add; `excite` weighs what they add."""

    scales: tuple[float, float, float] = (0.17, 0.10, 0.20)
    excite: Excite | None = None
    act: Act = "relu"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    norm_eps: float = 1e-3
    norm_momentum: float = 0.0003       # 1 − 0.9997, the authors' decay
    drop_rate: float = 0.2              # "keep 0.8"
    drop_path_rate: float = 0.0
    global_pool: PoolKind = "avg"
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 299

    def build(self) -> Convnet:
        """Input (N, 3, 299, 299), scores (N, 1000)."""
        norm = partial(nn.BatchNorm2d, eps=self.norm_eps, momentum=self.norm_momentum)
        cifar = self.stem == "cifar"
        first: Boxes = (Conv(256, 3),) if cifar else FIGURE_14[0]
        # nothing is left of it: stages.0 and the first reduction pass x on
        early: Boxes = () if cifar else FIGURE_14[1]
        cin = drawn(self.in_chans, first)
        stages: list[nn.Module] = [draw(cin, early, norm)]
        cin = drawn(cin, early)
        drops = ramp(self.drop_path_rate, sum(row.times for row in FIGURE_15), reach=True)
        for i, (row, scale) in enumerate(zip(FIGURE_15, self.scales, strict=True)):
            reduce: Boxes = () if cifar and i == 0 else row.reduce
            cin, wide = drawn(cin, reduce), cin
            blocks = [scaled_residual(cin, row.module, scale, norm=norm, excite=self.excite, drop=next(drops))
                      for _ in range(row.times)]
            stages.append(nn.Sequential(OrderedDict(reduce=draw(wide, reduce, norm), blocks=nn.Sequential(*blocks))))
        head = pooled(cin, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate,
                      classifier=linear(nn.init.xavier_uniform_))
        model = Convnet(self, draw(self.in_chans, first, norm), stages, head)
        every_conv_(model, nn.init.xavier_uniform_)     # tf-slim's default, which the authors left
        return with_act(model, self.act)


register("inception_resnet_v1", InceptionResNetV1(), params=22_756_328, macs=6_206_361_696, recipe="inception_v4")
