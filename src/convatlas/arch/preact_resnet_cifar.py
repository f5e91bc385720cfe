"""Pre-activation CIFAR ResNet — He, Zhang, Ren & Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016.

Idea    With normalisation and ReLU before each convolution, nothing stands on the shortcut, and a signal passes
        unchanged from any unit to any other: a network of 1001 layers trains, and better than one of 164.
Mirrors The authors' resnet-pre-act.lua: 9n+2 layers, three stages of n bottlenecks, which stride in their first 1×1.
Departs ResNet-110, which that code does not have, keeps the two 3×3 convolutions and option A of the 2015 network; its
        stages begin like the bottlenecks'. `excite` adds squeeze-and-excitation at the end of each branch; the results
        that Hu et al. compare SE-ResNet-110 and 164 with are those of this paper's networks.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import (
    Act,
    Excite,
    PoolKind,
    ZeroPad,
    conv2d,
    he_normal_,
    preact_basic,
    preact_bottleneck,
    preact_unit,
    ramp,
    times,
    torch_linear,
    with_act,
)


class Row(NamedTuple):
    output: int     # height and width of the maps
    filters: int    # a bottleneck ends in four times as many
    stride: int     # of the stage's first unit


STAGES = (   # output filters stride
    Row(32, 16, 1),
    Row(16, 32, 2),
    Row(8,  64, 2),
)


@dataclass(frozen=True)
class PreactResNetCifar:
    """`n` units per stage: 9n+2 layers of bottlenecks, 6n+2 of basic units; `excite` None is the paper's; `width`
    multiplies the filters.
    """

    n: int
    unit: Literal["basic", "bottleneck"] = "bottleneck"
    excite: Excite | None = None
    act: Act = "relu"
    table: tuple[Row, ...] = STAGES
    width: float = 1.0
    drop_path_rate: float = 0.0
    global_pool: PoolKind = "avg"
    num_classes: int = 10
    in_chans: int = 3
    image_size: int | tuple[int, int] = 32

    def build(self) -> Convnet:
        """Input (N, 3, 32, 32), less the mean; scores (N, 10)."""
        cin = times(self.table[0].filters, self.width)
        stem = conv2d(self.in_chans, cin, 3)
        stages, drops = [], ramp(self.drop_path_rate, self.n * len(self.table), reach=True)
        for row in self.table:
            cout = times(row.filters, self.width) * (1 if self.unit == "basic" else 4)
            first = self.residual(cin, cout, row.stride, next(drops), first=True)
            stages.append(nn.Sequential(first, *(self.residual(cout, cout, 1, next(drops), first=False)
                                                 for _ in range(self.n - 1))))
            cin = cout
        head = pooled(cin, self.num_classes, pool=self.global_pool, classifier=torch_linear,
                      before={"norm": nn.BatchNorm2d(cin), "act": nn.ReLU()})
        model = Convnet(self, stem, stages, head)
        he_normal_(model)
        return with_act(model, self.act)

    def residual(self, cin: int, cout: int, stride: int, drop: float, *, first: bool) -> nn.Module:
        """One unit; a stage's first changes shapes, so that its shortcut reads the activated map."""
        if self.unit == "basic":
            layers = preact_basic(cin, cout, stride)
            shortcut: nn.Module | None = ZeroPad(cin, cout, stride) if cin != cout else None
        else:
            layers = preact_bottleneck(cin, cout, (stride, 1))
            shortcut = conv2d(cin, cout, 1, stride) if cin != cout else None
        if self.excite:
            layers["excite"] = self.excite.layer(cout)
        return preact_unit(layers, shortcut, shared=first, drop=drop)


register("preact_resnet110_cifar", PreactResNetCifar(18, "basic"),
         params=1_727_962, macs=252_887_680, fidelity="authors", recipe="preact_resnet_cifar")
register("preact_resnet164_cifar", PreactResNetCifar(18), params=1_703_258, macs=244_500_992,
         recipe="preact_resnet_cifar")
register("preact_resnet1001_cifar", PreactResNetCifar(111), params=10_327_706, macs=1_487_849_984,
         recipe="preact_resnet_cifar")

register("se_preact_resnet110_cifar", PreactResNetCifar(18, "basic", Excite()), params=1_742_200, macs=252_899_776,
         aliases=("se_resnet110_cifar",), recipe="preact_resnet_cifar")
register("se_preact_resnet164_cifar", PreactResNetCifar(18, "bottleneck", Excite()), params=1_905_362, macs=244_694_528,
         aliases=("se_resnet164_cifar",), recipe="preact_resnet_cifar")
