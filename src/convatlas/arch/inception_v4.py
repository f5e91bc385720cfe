"""Inception-v4 — Szegedy, Ioffe, Vanhoucke & Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual Connections
on Learning", AAAI 2017.

Idea    A uniform Inception, freed of what the earlier ones owed to training on many machines: a deeper stem with
        parallel reductions, then three kinds of modules, each with a reduction of its own in between.
Mirrors Figures 3 to 9 and Table 1 (k = 192, l = 224, m = 256, n = 384).
Departs Where a pair of 1×7 and 7×1 (1×3 and 3×1) kernels may stand in either order, it is the released code's. That
        code gives its normalisations no scale γ and adds a side classifier; here, as in the field, there is γ and no
        side classifier. There is no `padding` field: whatever strides is unpadded in the paper too.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from torch import nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import (
    FIGURE_3,
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
    gated,
    linear,
    parallel,
    variance_scaling_,
    with_act,
)

FIGURE_4: Figure = {        # Inception-A
    "one": (Conv(96, 1),),
    "three": (Conv(64, 1), Conv(96, 3)),
    "twice": (Conv(64, 1), Conv(96, 3), Conv(96, 3)),
    "pool": ("avg", Conv(96, 1)),
}
FIGURE_5: Figure = {        # Inception-B
    "one": (Conv(384, 1),),
    "seven": (Conv(192, 1), Conv(224, (1, 7)), Conv(256, (7, 1))),
    "twice": (Conv(192, 1), Conv(192, (7, 1)), Conv(224, (1, 7)), Conv(224, (7, 1)), Conv(256, (1, 7))),
    "pool": ("avg", Conv(128, 1)),
}
FIGURE_6: Figure = {        # Inception-C
    "one": (Conv(256, 1),),
    "three": (Conv(384, 1), {"wide": (Conv(256, (1, 3)),), "high": (Conv(256, (3, 1)),)}),
    "twice": (Conv(384, 1), Conv(448, (3, 1)), Conv(512, (1, 3)),
              {"wide": (Conv(256, (1, 3)),), "high": (Conv(256, (3, 1)),)}),
    "pool": ("avg", Conv(256, 1)),
}
FIGURE_8: Figure = {        # Reduction-B
    "three": (Conv(192, 1), Conv(192, 3, 2, "valid")),
    "seven": (Conv(256, 1), Conv(256, (1, 7)), Conv(320, (7, 1)), Conv(320, 3, 2, "valid")),
    "pool": ("max",),
}


class Row(NamedTuple):
    reduce: Boxes
    module: Figure
    times: int


FIGURE_9 = (    # reduction                            module    times
    Row(FIGURE_3[2],                                   FIGURE_4, 4),        # 35 pixels, 384 maps
    Row((figure_7(k=192, l=224, m=256, n=384),),       FIGURE_5, 7),        # 17, 1024
    Row((FIGURE_8,),                                   FIGURE_6, 3),        # 8, 1536
)


@dataclass(frozen=True)
class InceptionV4:
    """`excite` gates the maps of each module that does not reduce."""

    excite: Excite | None = None
    act: Act = "relu"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    norm_eps: float = 1e-3
    norm_momentum: float = 0.0003       # 1 − 0.9997, the released code's decay
    drop_rate: float = 0.2              # "keep 0.8"
    global_pool: PoolKind = "avg"
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 299

    def build(self) -> Convnet:
        """Input (N, 3, 299, 299), scores (N, 1000)."""
        norm = partial(nn.BatchNorm2d, eps=self.norm_eps, momentum=self.norm_momentum)
        cifar = self.stem == "cifar"
        first: Boxes = (Conv(384, 3),) if cifar else FIGURE_3[0]
        # nothing is left of it: stages.0 and the first reduction pass x on
        early: Boxes = () if cifar else FIGURE_3[1]
        cin = drawn(self.in_chans, first)
        stages: list[nn.Module] = [draw(cin, early, norm)]
        cin = drawn(cin, early)
        for i, row in enumerate(FIGURE_9):
            reduce: Boxes = () if cifar and i == 0 else row.reduce
            cin, wide = drawn(cin, reduce), cin
            blocks = [gated(parallel(cin, row.module, norm), cin, self.excite) for _ in range(row.times)]
            stages.append(nn.Sequential(OrderedDict(reduce=draw(wide, reduce, norm), blocks=nn.Sequential(*blocks))))
        head = pooled(cin, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate,
                      classifier=linear(nn.init.xavier_uniform_))
        model = Convnet(self, draw(self.in_chans, first, norm), stages, head)
        every_conv_(model, variance_scaling_)
        return with_act(model, self.act)


register("inception_v4", InceptionV4(), params=42_679_816, macs=12_253_974_624, recipe="inception_v4")
