"""SENet — Hu, Shen & Sun, "Squeeze-and-Excitation Networks", CVPR 2018; Hu, Shen, Albanie, Sun & Wu, TPAMI 2020.

Idea    A block looks at the whole image (squeeze) and weighs each of its channels by what it saw (excitation): a factor
        between 0 and 1 that costs next to nothing. The challenge's winner of 2017.
Mirrors Table 1 and 2 (SE-ResNets); sections 6.1 to 6.5, the ablations: reduction ratio, squeeze, gate, stages,
        position; SENet-154 as in the appendix and the authors' release.
Departs The plain SE-ResNets stride in the 3×3 and pad the max-pool, as the field does; the `_v1` variants are the
        authors' release: stride in the first 1×1, Caffe's max-pool. SE on the identity follows a projection where there
        is one; in the 3×3 position it follows the ReLU. The two fully connected layers have biases as released; the
        ablations of 2020 ran without (`excite.bias`). 18 and 34 layers are not the paper's. Weights begin as ResNet's
        (fan-out).
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from torch import nn

from ..net.model import Convnet
from ..net.registry import register
from ..net.resnets import residual_net
from ..parts import (
    Act,
    BlockExcite,
    MakeNorm,
    PoolKind,
    Residual,
    StemPool,
    StrideOn,
    basic,
    bottleneck,
    conv_norm,
    shortcut,
)


class Net(NamedTuple):
    block: Literal["basic", "bottleneck"]
    conv2: int
    conv3: int
    conv4: int
    conv5: int
    groups: int = 1
    width: int = 64         # channels of each group in conv2
    # SENet-154: three 3×3 in the stem, first 1×1 of half the width, 3×3 projections from conv3 on
    deep: bool = False
    planes: int = 64    # of conv2; each stage has twice as many as the one before


NETS = {          # block        blocks         groups
    18:  Net("basic",      2, 2, 2,  2),
    34:  Net("basic",      3, 4, 6,  3),
    50:  Net("bottleneck", 3, 4, 6,  3),
    101: Net("bottleneck", 3, 4, 23, 3),
    152: Net("bottleneck", 3, 8, 36, 3),
    154: Net("bottleneck", 3, 8, 36, 3, 64, 4, deep=True),
}


def bottleneck_154(cin: int, planes: int, stride: int, dilation: tuple[int, int], drop: float, *, stride_on: StrideOn,
                   groups: int, width: int, least: int, norm: MakeNorm) -> nn.Module:
    """1×1 of half the width, BN, ReLU, 3×3 in groups, BN, ReLU, 1×1, BN; + shortcut, ReLU.

    The shortcut's projections are 3×3 from conv3_x on, where there are more than `least` planes.
    """
    inner, cout = planes * width // 64 * groups, 4 * planes
    first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
    branch: OrderedDict[str, nn.Module] = OrderedDict(
        reduce=conv_norm(cin, inner // 2, 1, first, norm=norm),
        conv=conv_norm(inner // 2, inner, 3, second, groups=groups, dilation=dilation[0], norm=norm),
        expand=conv_norm(inner, cout, 1, norm=norm, act=None),
    )
    projection = shortcut("B", cin, cout, stride, norm)
    if projection is not None and planes > least:      # replaces the 1×1, whose random draws a seed's weights depend on
        projection = conv_norm(cin, cout, 3, stride, norm=norm, act=None)
    return Residual(nn.Sequential(branch), projection, nn.ReLU(), drop)


STANDARD = BlockExcite()        # one channel for 16, behind each branch


@dataclass(frozen=True)
class SENet:
    """`excite` holds the paper's ablations: reduction ratio, squeeze, gate, biases, position, stages (0 is conv2_x)."""

    net: Net = NETS[50]
    stride_on: StrideOn = "3x3"
    stem_pool: StemPool = "symmetric"
    excite: BlockExcite = STANDARD
    act: Act = "relu"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    output_stride: Literal[8, 16, 32] = 32
    norm_eps: float = 1e-5
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    global_pool: PoolKind = "avg"
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224); the stem's maps at 112, then 56, 28, 14 and 7 pixels; scores (N, 1000)."""
        block, expansion = basic, 1
        if self.net.block == "bottleneck":
            made = partial(bottleneck_154, least=self.net.planes) if self.net.deep else bottleneck
            block = partial(made, stride_on=self.stride_on, groups=self.net.groups, width=self.net.width)
            expansion = 4
        return residual_net(self, block, self.net[1:5], expansion=expansion, pool=self.stem_pool, excite=self.excite,
                            stem=self.front, width=self.front_width, planes=self.net.planes)

    @property
    def front_width(self) -> int:
        """Maps that the stem gives."""
        return self.net.planes * (2 if self.net.deep else 1)

    def front(self, norm: MakeNorm) -> nn.Sequential:
        """Stem, before the max-pool."""
        if self.stem == "cifar":
            return conv_norm(self.in_chans, self.front_width, 3, norm=norm)
        if not self.net.deep:
            return conv_norm(self.in_chans, self.front_width, 7, 2, norm=norm)
        half = self.net.planes
        return nn.Sequential(OrderedDict(conv1=conv_norm(self.in_chans, half, 3, 2, norm=norm),
                                         conv2=conv_norm(half, half, 3, norm=norm),
                                         conv3=conv_norm(half, self.front_width, 3, norm=norm)))


def released(depth: int) -> SENet:
    """The authors' layers: Caffe's max-pool, the stride in the first 1×1."""
    return SENet(NETS[depth], stride_on="1x1", stem_pool="ceil")


register("se_resnet18", SENet(NETS[18]), params=11_778_592, macs=1_814_160_384, fidelity="field", recipe="senet")
register("se_resnet34", SENet(NETS[34]), params=21_958_868, macs=3_663_918_592, fidelity="field", recipe="senet")
register("se_resnet50", SENet(NETS[50]), params=28_088_024, macs=4_091_699_200, fidelity="field",
         aliases=("seresnet50",), recipe="senet")
register("se_resnet101", SENet(NETS[101]),
         params=49_326_872, macs=7_806_148_608, fidelity="field", aliases=("seresnet101",), recipe="senet")
register("se_resnet152", SENet(NETS[152]),
         params=66_821_848, macs=11_520_204_800, fidelity="field", aliases=("seresnet152",), recipe="senet")

register("se_resnet50_v1", released(50),
         params=28_088_024, macs=3_860_488_192, fidelity="authors", aliases=("legacy_seresnet50",), recipe="senet")
register("se_resnet101_v1", released(101),
         params=49_326_872, macs=7_574_937_600, fidelity="authors", aliases=("legacy_seresnet101",), recipe="senet")
register("se_resnet152_v1", released(152),
         params=66_821_848, macs=11_288_993_792, fidelity="authors", aliases=("legacy_seresnet152",), recipe="senet")

register("senet154", SENet(NETS[154], stem_pool="ceil", drop_rate=0.2), params=115_088_984, macs=20_688_363_520,
         fidelity="authors", aliases=("legacy_senet154",), recipe="senet")
