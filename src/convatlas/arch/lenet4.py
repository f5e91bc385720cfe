"""LeNet-4 — Bottou et al., "Comparison of Classifier Methods: A Case Study in Handwritten Digit Recognition", ICPR 1994.

Idea    LeNet-1 outgrown by its data: a larger input, more maps, and a hidden layer between the last maps and the
        outputs. LeCun et al. 1998 compare it, alone and boosted, with LeNet-5.
Mirrors The text's list: 4 first-level maps, 8 subsampled maps, two for each of them, 16 maps, 16 subsampled maps, 120
        hidden units, 10 outputs.
Departs Nothing more was published. Which of the 8 maps each of the 16 reads is ours: three, which gives the 260 000
        connections that are printed. The 17 000 parameters that are printed too cannot be met with 120 hidden units
        that read all of 16 maps of 5×5. An image of another size than 32×32 is averaged to those 5×5.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from ..net.model import Convnet, Head
from ..net.registry import register
from ..parts import ScaledTanh, Subsample2d, TableConv2d, Twice, lecun_linear, lecun_uniform_

#   on the ring of eight maps: three neighbours, then every second one
TABLE = (*(tuple(sorted((i, (i + 1) % 8, (i + 2) % 8))) for i in range(8)),
         *(tuple(sorted((i, (i + 2) % 8, (i + 4) % 8))) for i in range(8)))


def conv(cin: int, cout: int) -> nn.Conv2d:
    """5×5 kernels, every map reading every map."""
    layer = nn.Conv2d(cin, cout, 5)
    lecun_uniform_(layer.weight, layer.bias, 25 * cin)
    return layer


@dataclass(frozen=True)
class LeNet4:
    """Every layer squashes, the output too."""

    c1: int = 4
    table: tuple[tuple[int, ...], ...] = TABLE
    hidden: int = 120
    num_classes: int = 10
    in_chans: int = 1
    image_size: int | tuple[int, int] = 32

    def build(self) -> Convnet:
        """Input (N, 1, 32, 32), a digit of 20×20 in its middle; scores (N, 10), trained towards ±1."""
        s2, c3 = 2 * self.c1, len(self.table)
        stages = [
            nn.Sequential(OrderedDict(c1=conv(self.in_chans, self.c1), act1=ScaledTanh())),       # 28×28
            nn.Sequential(OrderedDict(twice=Twice(), s2=Subsample2d(s2), act2=ScaledTanh(),       # 14×14
                                      c3=TableConv2d(s2, self.table, 5), act3=ScaledTanh())),     # 10×10
            nn.Sequential(OrderedDict(s4=Subsample2d(c3), act4=ScaledTanh())),                    # 5×5
        ]
        f5 = OrderedDict(pool=nn.AdaptiveAvgPool2d(5), flatten=nn.Flatten(), f5=lecun_linear(25 * c3, self.hidden),
                         act5=ScaledTanh())
        return Convnet(self, None, stages, Head(nn.Sequential(f5), self.hidden, self.num_classes,
                                                lecun_linear, ScaledTanh()))


register("lenet4", LeNet4(), params=50_698, macs=247_600, recipe="zipcode")
