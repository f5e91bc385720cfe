"""Inception-ResNet-v2 — Szegedy, Ioffe, Vanhoucke & Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning", AAAI 2017.

Idea    Inception-ResNet at the cost of Inception-v4: wider modules, and residuals scaled down before they are added,
        without which networks of more than a thousand maps died early in training.
Mirrors `inception_resnet_v2_paper` Figures 3 and 15 to 19 and Table 1 (k = 256, l = 256, m = 384, n = 384);
        `inception_resnet_v2` the authors' TensorFlow code, which is what the field means by the name: twice as many
        modules, another stem, and after the last stage one more module, neither scaled nor rectified, and a 1×1
        convolution.
Departs From the figures: "1154" is read as 1152 and "2048" as 2144, for a sum needs equal widths. From the code: its
        normalisations have no scale γ, and it adds a side classifier; here, as in the field, there is γ and no side
        classifier. `excite` is from Hu et al. 2018. There is no `padding` field: whatever strides is unpadded.
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
    linear,
    ramp,
    scaled_residual,
    with_act,
)

CODE_STEM: tuple[Boxes, Boxes, Boxes] = (       # cut where it reduces
    (Conv(32, 3, 2, "valid"), Conv(32, 3, 1, "valid"), Conv(64, 3)),        # 299 → 147 pixels
    ("max", Conv(80, 1), Conv(192, 3, 1, "valid")),                         # → 71
    ("max", {"one": (Conv(96, 1),),                                         # → 35, 320 maps
             "five": (Conv(48, 1), Conv(64, 5)),
             "twice": (Conv(64, 1), Conv(96, 3), Conv(96, 3)),
             "pool": ("avg", Conv(64, 1))}),
)
FIGURE_16: Figure = {       # Inception-ResNet-A
    "one": (Conv(32, 1),),
    "three": (Conv(32, 1), Conv(32, 3)),
    "twice": (Conv(32, 1), Conv(48, 3), Conv(64, 3)),
}
FIGURE_17: Figure = {       # Inception-ResNet-B
    "one": (Conv(192, 1),),
    "seven": (Conv(128, 1), Conv(160, (1, 7)), Conv(192, (7, 1))),
}
FIGURE_18: Figure = {       # Reduction-B
    "wide": (Conv(256, 1), Conv(384, 3, 2, "valid")),
    "three": (Conv(256, 1), Conv(288, 3, 2, "valid")),
    "twice": (Conv(256, 1), Conv(288, 3), Conv(320, 3, 2, "valid")),
    "pool": ("max",),
}
FIGURE_19: Figure = {       # Inception-ResNet-C
    "one": (Conv(192, 1),),
    "three": (Conv(192, 1), Conv(224, (1, 3)), Conv(256, (3, 1))),
}


class Row(NamedTuple):
    reduce: Boxes
    module: Figure


ROWS = (        # reduction after the stem's           module
    Row((),                                            FIGURE_16),      # 35 pixels, 384 maps (code: 320)
    Row((figure_7(k=256, l=256, m=384, n=384),),       FIGURE_17),      # 17, 1152 (1088)
    Row((FIGURE_18,),                                  FIGURE_19),      # 8, 2144 (2080)
)


@dataclass(frozen=True)
class InceptionResNetV2:
    """`scales` are the factors of what the three kinds of modules add; `excite` weighs what they add."""

    drawing: Literal["code", "paper"] = "code"
    blocks: tuple[int, int, int] = (10, 20, 9)
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
        code = self.drawing == "code"
        first, early, late = CODE_STEM if code else FIGURE_3
        if self.stem == "cifar":        # nothing else is left of the stem: stages.0 and the first reduction pass x on
            first, early, late = (Conv(320 if code else 384, 3),), (), ()
        cin = drawn(self.in_chans, first)
        stages: list[nn.Module] = [draw(cin, early, norm)]
        cin = drawn(cin, early)
        drops = ramp(self.drop_path_rate, sum(self.blocks) + code, reach=True)
        for row, times, scale in zip(ROWS, self.blocks, self.scales, strict=True):
            reduce = row.reduce or late
            cin, wide = drawn(cin, reduce), cin
            blocks = [scaled_residual(cin, row.module, scale, norm=norm, excite=self.excite, drop=next(drops))
                      for _ in range(times)]
            stages.append(nn.Sequential(OrderedDict(reduce=draw(wide, reduce, norm), blocks=nn.Sequential(*blocks))))
        if code:        # one more module, neither scaled nor rectified, and a 1×1 convolution
            plain = scaled_residual(cin, FIGURE_19, 1.0, norm=norm, act=False, excite=self.excite,
                                    drop=next(drops))
            stages.append(nn.Sequential(OrderedDict(block=plain, last=draw(cin, (Conv(1536, 1),), norm))))
            cin = 1536
        head = pooled(cin, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate,
                      classifier=linear(nn.init.xavier_uniform_))
        model = Convnet(self, draw(self.in_chans, first, norm), stages, head)
        every_conv_(model, nn.init.xavier_uniform_)     # tf-slim's default, which the authors left
        return with_act(model, self.act)


register("inception_resnet_v2", InceptionResNetV2(), params=55_843_464, macs=13_155_794_016, fidelity="authors",
         recipe="inception_v4")
register("inception_resnet_v2_paper", InceptionResNetV2("paper", (5, 10, 5)), params=32_433_928, macs=9_257_953_632,
         recipe="inception_v4")
register("se_inception_resnet_v2", InceptionResNetV2(excite=Excite()),
         params=64_387_444, macs=13_164_289_376, recipe="senet")
