"""Wide ResNet — Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016.

Idea    Few wide layers learn as well as very many thin ones and run faster: 28 layers ten times as wide surpass the
        1001-layer network of pre-activated units.
Mirrors Table 1: WRN-d-k has three stages of N = (d − 4)/6 basic units B(3,3), k times as wide as those of ResNet.
Departs `drop_rate` is the dropout between a unit's two convolutions, 0.3 in the paper's results with dropout.
        `excite` adds squeeze-and-excitation at the end of each branch (Hu et al. 2018).
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import (
    Act,
    Excite,
    PoolKind,
    conv2d,
    he_normal_,
    preact_basic,
    preact_unit,
    ramp,
    times,
    torch_linear,
    with_act,
)


class Row(NamedTuple):
    output: int     # height and width of the maps
    filters: int    # times k
    stride: int     # of the stage's first unit


TABLE_1 = (   # output filters stride
    Row(32, 16, 1),     # conv2
    Row(16, 32, 2),     # conv3
    Row(8,  64, 2),     # conv4
)


@dataclass(frozen=True)
class WideResNet:
    """WRN-`depth`-`widen`; the depth is 6N+4, which counts the three 1×1 convolutions on shortcuts but no classifier.

    `width` multiplies the table's filters, the stem's too.
    """

    depth: int
    widen: int
    drop_rate: float = 0.0
    excite: Excite | None = None
    act: Act = "relu"
    table: tuple[Row, ...] = TABLE_1
    width: float = 1.0
    drop_path_rate: float = 0.0
    global_pool: PoolKind = "avg"
    num_classes: int = 10
    in_chans: int = 3
    image_size: int | tuple[int, int] = 32

    def build(self) -> Convnet:
        """Input (N, 3, 32, 32), standardised or whitened; scores (N, 10)."""
        cin, units = times(self.table[0].filters, self.width), (self.depth - 4) // 6
        stem = conv2d(self.in_chans, cin, 3)
        stages, drops = [], ramp(self.drop_path_rate, units * len(self.table), reach=True)
        for row in self.table:
            cout = times(row.filters, self.width) * self.widen
            first = self.unit(cin, cout, row.stride, next(drops))
            stages.append(nn.Sequential(first, *(self.unit(cout, cout, 1, next(drops)) for _ in range(units - 1))))
            cin = cout
        head = pooled(cin, self.num_classes, pool=self.global_pool, classifier=torch_linear,
                      before={"norm": nn.BatchNorm2d(cin), "act": nn.ReLU()})
        model = Convnet(self, stem, stages, head)
        he_normal_(model, "fan_in")
        return with_act(model, self.act)

    def unit(self, cin: int, cout: int, stride: int, drop: float) -> nn.Module:
        """B(3,3); where widths differ, the shortcut is a 1×1 convolution of the activated map."""
        layers = preact_basic(cin, cout, stride, dropout=self.drop_rate)
        if self.excite:
            layers["excite"] = self.excite.layer(cout)
        if cin == cout:
            return preact_unit(layers, shared=False, drop=drop)
        return preact_unit(layers, conv2d(cin, cout, 1, stride), shared=True, drop=drop)


register("wide_resnet16_4_cifar", WideResNet(16, 4), params=2_748_890, macs=392_612_352, recipe="wide_resnet_cifar")
register("wide_resnet16_8_cifar", WideResNet(16, 8), params=10_961_370, macs=1_548_145_664, recipe="wide_resnet_cifar")
register("wide_resnet16_10_cifar", WideResNet(16, 10), params=17_116_634, macs=2_412_173_568,
         recipe="wide_resnet_cifar")
register("wide_resnet22_8_cifar", WideResNet(22, 8), params=17_158_106, macs=2_454_115_328, recipe="wide_resnet_cifar")
register("wide_resnet22_10_cifar", WideResNet(22, 10), params=26_797_914, macs=3_827_751_168,
         recipe="wide_resnet_cifar")
register("wide_resnet28_2_cifar", WideResNet(28, 2), params=1_467_610, macs=214_353_152, recipe="wide_resnet_cifar")
register("wide_resnet28_10_cifar", WideResNet(28, 10), params=36_479_194, macs=5_243_328_768,
         recipe="wide_resnet_cifar")
register("wide_resnet28_12_cifar", WideResNet(28, 12), params=52_517_850, macs=7_543_905_792,
         recipe="wide_resnet_cifar")
register("wide_resnet40_1_cifar", WideResNet(40, 1), params=563_930, macs=83_280_512, recipe="wide_resnet_cifar")
register("wide_resnet40_2_cifar", WideResNet(40, 2), params=2_243_546, macs=327_599_360, recipe="wide_resnet_cifar")
register("wide_resnet40_4_cifar", WideResNet(40, 4), params=8_949_210, macs=1_298_582_016, recipe="wide_resnet_cifar")
register("wide_resnet40_8_cifar", WideResNet(40, 8), params=35_748_314, macs=5_172_024_320, recipe="wide_resnet_cifar")
register("wide_resnet40_10_cifar", WideResNet(40, 10), params=55_841_754, macs=8_074_483_968,
         recipe="wide_resnet_cifar")
register("se_wide_resnet16_8_cifar", WideResNet(16, 8, excite=Excite()),
         params=11_049_290, macs=1_548_231_680, recipe="wide_resnet_cifar")
