"""RepVGG — Ding, Zhang, Ma, Han, Ding & Sun, "RepVGG: Making VGG-style ConvNets Great Again", CVPR 2021.

Idea    A plain stack of 3×3 convolutions and ReLUs is the fastest network to run but hard to train: so train each with
        a 1×1 and an identity branch beside it, then add all three up into one 3×3. `convatlas.fold` does that, exactly.
Mirrors Table 2 (layers per stage), Table 3 (width multipliers a and b), Figure 4 (the branches), section 3.4 (every
        second layer of the g2 and g4 models is grouped). Weights start as torch starts them, as in the authors' code.
Departs Nothing.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import Act, Excite, PoolKind, RepConv, dilate, with_act

A = (2, 4, 14, 1)       # Table 2: layers of stages 2 to 5; the first stage, here the stem, is one layer
B = (4, 6, 16, 1)


@dataclass(frozen=True)
class RepVGG:
    """`a` widens the first stages, `b` the last; every layer of an even number, from the second on, has `groups`
    groups.

    `excite` weighs each layer's sum before its ReLU, as in the authors' later networks. `skip` and `point` False leave
    the identity and the 1×1 branch out (Table 6).
    """

    layers: tuple[int, int, int, int]
    a: float
    b: float
    groups: int = 1
    excite: Excite | None = None
    act: Act = "relu"
    skip: bool = True
    point: bool = True
    stem: Literal["imagenet", "cifar"] = "imagenet"
    output_stride: Literal[8, 16, 32] = 32
    global_pool: PoolKind = "avg"
    norm_eps: float = 1e-5
    drop_rate: float = 0.0
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224), scores (N, 1000)."""
        norm = partial(nn.BatchNorm2d, eps=self.norm_eps)
        widths = (int(64 * self.a), int(128 * self.a), int(256 * self.a), int(512 * self.b))
        cin = min(64, widths[0])
        conv = partial(RepConv, kernel=3, point=self.point, norm=norm)
        stem = layer(conv(self.in_chans, cin, stride=2 if self.stem == "imagenet" else 1, skip=self.skip), cin,
                     self.excite)
        stages: list[nn.Module] = []
        number = 0              # of the layer behind the stem, counted from 1
        plan = dilate((2, 2, 2, 2), self.output_stride, 2 if self.stem == "imagenet" else 1)
        for cout, layers, (stride, first, rest) in zip(widths, self.layers, plan, strict=True):
            stage: list[nn.Module] = []
            for i in range(layers):
                number += 1
                groups = self.groups if number % 2 == 0 else 1
                stage.append(layer(conv(cin, cout, stride=1 if i else stride, groups=groups,
                                        dilation=rest if i else first, skip=self.skip and i > 0), cout, self.excite))
                cin = cout
            stages.append(nn.Sequential(*stage))
        net = Convnet(self, stem, stages, pooled(cin, self.num_classes, pool=self.global_pool,
                                                 drop_rate=self.drop_rate))
        return with_act(net, self.act)


def layer(conv: RepConv, cout: int, excite: Excite | None) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
    if excite:
        layers["excite"] = excite.layer(cout)
    layers["act"] = nn.ReLU()
    return nn.Sequential(layers)


#                              layers a    b   groups
register("repvgg_a0",   RepVGG(A, 0.75, 2.5),     params=9_108_968,   macs=1_512_581_120, recipe="repvgg")
register("repvgg_a1",   RepVGG(A, 1.0,  2.5),     params=14_092_264,  macs=2_626_488_320, recipe="repvgg")
register("repvgg_a2",   RepVGG(A, 1.5,  2.75),    params=28_210_600,  macs=5_685_345_280, recipe="repvgg")
register("repvgg_b0",   RepVGG(B, 1.0,  2.5),     params=15_817_960,  macs=3_397_191_680, recipe="repvgg")
register("repvgg_b1",   RepVGG(B, 2.0,  4.0),     params=57_415_016,  macs=13_128_089_600, recipe="repvgg")
register("repvgg_b1g2", RepVGG(B, 2.0,  4.0, 2),  params=45_782_376,  macs=9_788_375_040, recipe="repvgg")
register("repvgg_b1g4", RepVGG(B, 2.0,  4.0, 4),  params=39_966_056,  macs=8_118_517_760, recipe="repvgg")
register("repvgg_b2",   RepVGG(B, 2.5,  5.0),     params=89_022_376,  macs=20_418_170_880, recipe="repvgg")
register("repvgg_b2g2", RepVGG(B, 2.5,  5.0, 2),  params=70_846_376,  macs=15_199_866_880, recipe="repvgg")
register("repvgg_b2g4", RepVGG(B, 2.5,  5.0, 4),  params=61_758_376,  macs=12_590_714_880, recipe="repvgg_200")
register("repvgg_b3",   RepVGG(B, 3.0,  5.0),     params=123_085_288, macs=29_120_696_320, recipe="repvgg_200")
register("repvgg_b3g2", RepVGG(B, 3.0,  5.0, 2),  params=96_911_848,  macs=21_606_338_560, recipe="repvgg_200")
register("repvgg_b3g4", RepVGG(B, 3.0,  5.0, 4),  params=83_825_128,  macs=17_849_159_680, recipe="repvgg_200")
