"""CIFAR ResNet — He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.

Idea    Layers learn what to add to their input instead of a whole new map, so that more layers no longer train worse;
        shown on small images with 20 to 1202 layers of three widths, each beside a plain network of the same size.
Mirrors The table of section 4.2: 6n+2 layers, three stages of n blocks of two 3×3 convolutions.
Departs Option A's zeros stand behind the old channels, where the paper does not say; the order of channels is free, and
        `shortcut="A_around"` puts half of them in front, as the common ports to PyTorch do. The classifier begins as
        Torch's (uniform weights, zero biases), which the paper does not state. `excite` adds squeeze-and-excitation at
        the end of each branch (Hu et al. 2018).
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..net.resnets import check_drop_path
from ..parts import (
    Act,
    Excite,
    Option,
    PoolKind,
    Residual,
    conv_norm,
    he_normal_,
    ramp,
    shortcut,
    times,
    torch_linear,
    with_act,
)


class Row(NamedTuple):
    output: int     # height and width of the maps
    filters: int
    stride: int     # of the stage's first convolution


SECTION_4_2 = (   # output filters stride
    Row(32, 16, 1),     # 1 + 2n layers, the stem included
    Row(16, 32, 2),     # 2n layers
    Row(8,  64, 2),     # 2n layers
)


@dataclass(frozen=True)
class ResNetCifar:
    """`n` blocks per stage, 6n+2 layers; shortcut "none" is the plain network; `excite` None is the paper's; `width`
    multiplies the filters.
    """

    n: int
    shortcut: Option = "A"
    excite: Excite | None = None
    act: Act = "relu"
    table: tuple[Row, ...] = SECTION_4_2
    width: float = 1.0
    drop_path_rate: float = 0.0
    global_pool: PoolKind = "avg"
    num_classes: int = 10
    in_chans: int = 3
    image_size: int | tuple[int, int] = 32

    def build(self) -> Convnet:
        """Input (N, 3, 32, 32), less the per-pixel mean; scores (N, 10)."""
        check_drop_path(self.shortcut, self.drop_path_rate)
        cin = times(self.table[0].filters, self.width)
        stem = conv_norm(self.in_chans, cin, 3)
        stages, drops = [], ramp(self.drop_path_rate, self.n * len(self.table), reach=True)
        for row in self.table:
            cout = times(row.filters, self.width)
            first = self.block(cin, cout, row.stride, next(drops))
            stages.append(nn.Sequential(first, *(self.block(cout, cout, 1, next(drops)) for _ in range(self.n - 1))))
            cin = cout
        model = Convnet(self, stem, stages, pooled(cin, self.num_classes, pool=self.global_pool,
                                                   classifier=torch_linear))
        he_normal_(model)
        return with_act(model, self.act)

    def block(self, cin: int, cout: int, stride: int, drop: float) -> nn.Module:
        """Two 3×3 convolutions and what goes around them; the last ReLU comes after the addition."""
        branch: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=conv_norm(cin, cout, 3, stride),
            conv2=conv_norm(cout, cout, 3, act=None),
        )
        if self.excite:
            branch["excite"] = self.excite.layer(cout)
        if self.shortcut == "none":
            return nn.Sequential(branch | {"act": nn.ReLU()})
        return Residual(nn.Sequential(branch), shortcut(self.shortcut, cin, cout, stride), nn.ReLU(), drop)


register("resnet20_cifar", ResNetCifar(3), params=269_722, macs=40_551_040, recipe="resnet_cifar")
register("resnet32_cifar", ResNetCifar(5), params=464_154, macs=68_862_592, recipe="resnet_cifar")
register("resnet44_cifar", ResNetCifar(7), params=658_586, macs=97_174_144, recipe="resnet_cifar")
register("resnet56_cifar", ResNetCifar(9), params=853_018, macs=125_485_696, recipe="resnet_cifar")
register("resnet110_cifar", ResNetCifar(18), params=1_727_962, macs=252_887_680, recipe="resnet110_cifar")
register("resnet1202_cifar", ResNetCifar(200), params=19_421_274, macs=2_829_238_912, recipe="resnet110_cifar")

register("plain20_cifar", ResNetCifar(3, "none"), params=269_722, macs=40_551_040, recipe="resnet_cifar")
register("plain32_cifar", ResNetCifar(5, "none"), params=464_154, macs=68_862_592, recipe="resnet_cifar")
register("plain44_cifar", ResNetCifar(7, "none"), params=658_586, macs=97_174_144, recipe="resnet_cifar")
register("plain56_cifar", ResNetCifar(9, "none"), params=853_018, macs=125_485_696, recipe="resnet_cifar")
register("plain110_cifar", ResNetCifar(18, "none"), params=1_727_962, macs=252_887_680, recipe="resnet_cifar")
