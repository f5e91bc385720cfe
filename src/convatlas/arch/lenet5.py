"""LeNet-5 — LeCun, Bottou, Bengio & Haffner, "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE, 1998.

Idea    Alternate convolution and subsampling until each map is one pixel: features grow more, positions matter less;
        the outputs measure the distance to a stylised picture of each class, so that "none of these" has a meaning.
Mirrors Section II-B: C1, S2, C3 with Table I, S4, C5, F6, RBF outputs; appendix A's squashing function and weights.
Departs The 7×12 bitmaps of the ten digits are drawn here, the paper shows its own only as a picture. `forward` returns
        minus the RBF distance, so that higher is better. An image larger than 32×32 is averaged over C5's positions.
        `lenet5_modern` is what the field calls LeNet-5: all of C3's links, ReLU, max-pooling, a linear classifier.
"""

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..net.model import Convnet, Head
from ..net.registry import register
from ..parts import RBF, ScaledTanh, Subsample2d, TableConv2d, lecun_linear, lecun_uniform_, random_codes

TABLE_I = (                 # the maps of S2 that each map of C3 reads
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)

DIGITS = """
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
..###.. ...##.. .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## ##...## ...###. ##..... .##.... .....## ##...## ##...##
##...## .####.. .....## .....## ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## .##.##. ##..... ##..... ....##. ##...## ##...##
##...## ...##.. ....##. ..####. ##..##. ######. ######. ....##. .#####. .######
##...## ...##.. ...##.. .....## ##..##. .....## ##...## ...##.. ##...## .....##
##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...##.. .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ....##. ##...## ##...## ..##... ##...## ....##.
..###.. .###### ####### .#####. ....##. .#####. .#####. ..##... .#####. .####..
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""


def bitmaps() -> Tensor:
    """The ten digits, (10, 84) of ±1: 12 rows of 7 pixels, ink +1."""
    rows = [line.split() for line in DIGITS.split("\n") if line]
    drawn = [[[1.0 if pixel == "#" else -1.0 for pixel in row[digit]] for row in rows] for digit in range(10)]
    return torch.tensor(drawn, device="cpu").flatten(1)


def rbf(width: int, classes: int) -> RBF:
    """The output layer: the digits' bitmaps for ten classes, seeded ±1 codes for any other number."""
    if (width, classes) == (84, 10):
        return RBF(bitmaps().to(torch.get_default_device()))
    logging.getLogger("convatlas").warning("LeNet-5 has bitmaps for ten digits only: its %d classes get ±1 codes from "
                                           "seed 0", classes)
    return RBF(random_codes(classes, width).to(torch.get_default_device()))


@dataclass(frozen=True)
class LeNet5:
    """Each field is one innovation to take away; with ReLU the weights start as torch's layers do."""

    act: Literal["tanh", "relu"] = "tanh"
    c3: Literal["table", "full"] = "table"
    pool: Literal["subsample", "max"] = "subsample"
    output: Literal["rbf", "linear"] = "rbf"
    num_classes: int = 10
    in_chans: int = 1
    image_size: int | tuple[int, int] = 32

    def build(self) -> Convnet:
        """Input (N, 1, 32, 32), background −0.1 and ink 1.175; scores (N, 10)."""
        c3 = TableConv2d(6, TABLE_I, 5) if self.c3 == "table" else self.conv(6, 16)
        stages = [
            nn.Sequential(OrderedDict(c1=self.conv(self.in_chans, 6), act1=self.squash())),                     # 28×28
            nn.Sequential(OrderedDict([*self.reduce("2", 6), ("c3", c3), ("act3", self.squash())])),            # 10×10
            nn.Sequential(OrderedDict([*self.reduce("4", 16), ("c5", self.conv(16, 120)), ("act5", self.squash())])),
        ]
        f6 = OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), f6=self.linear(120, 84),
                         act6=self.squash())
        head = Head(nn.Sequential(f6), 84, self.num_classes, rbf if self.output == "rbf" else self.linear)
        return Convnet(self, None, stages, head)

    def squash(self) -> nn.Module:
        return ScaledTanh() if self.act == "tanh" else nn.ReLU()

    def conv(self, cin: int, cout: int) -> nn.Conv2d:
        layer = nn.Conv2d(cin, cout, 5)
        if self.act == "tanh":
            lecun_uniform_(layer.weight, layer.bias, cin * 25)
        return layer

    def linear(self, cin: int, cout: int) -> nn.Linear:
        return lecun_linear(cin, cout) if self.act == "tanh" else nn.Linear(cin, cout)

    def reduce(self, number: str, channels: int) -> list[tuple[str, nn.Module]]:
        """S2 or S4: trainable subsampling squashes too, max-pooling does not."""
        if self.pool == "max":
            return [("s" + number, nn.MaxPool2d(2))]
        return [("s" + number, Subsample2d(channels)), ("act" + number, self.squash())]


#                                act     C3       S2, S4  output                    parameters     multiply-adds
register("lenet5",        LeNet5(),                                                 params=60_000, macs=325_680, recipe="lenet5")
register("lenet5_modern", LeNet5("relu", "full", "max", "linear"),                  params=61_706, macs=416_520, fidelity="field")
