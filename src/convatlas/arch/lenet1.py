"""LeNet-1 — LeCun et al., "Handwritten Digit Recognition with a Back-Propagation Network", NIPS 1989.

Idea    Convolution and trained subsampling in turn: position is given up in small steps, so that 2 578 parameters read
        digits that are centred only roughly. LeCun et al. 1998 compare it, as LeNet-1, with its successors.
Mirrors Section 4 and Table 1: H1 4@24×24, H2 4@12×12, H3 12@8×8, H4 12@4×4, output 10. The table makes two almost
        independent modules: the first six maps of H3 read two maps of H2, the others the other two.
Departs That H2 and H4 squash their sums is LeNet-5's text; the 1989 one leaves it open. An image of another size than
        28×28 is averaged to the 4×4 that the output layer reads.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from ..net.model import Convnet, Head
from ..net.registry import register
from ..parts import ScaledTanh, Subsample2d, TableConv2d, lecun_linear, lecun_uniform_

TABLE_1 = (                     # the maps of H2 that each map of H3 reads
    (0,), (0, 1), (0, 1), (1,), (0, 1), (0, 1),
    (2,), (2, 3), (2, 3), (3,), (2, 3), (2, 3),
)


def conv(cin: int, cout: int) -> nn.Conv2d:
    """5×5 kernels, every map reading every map."""
    layer = nn.Conv2d(cin, cout, 5)
    lecun_uniform_(layer.weight, layer.bias, 25 * cin)
    return layer


@dataclass(frozen=True)
class LeNet1:
    """Every layer squashes, the output too."""

    h1: int = 4
    table: tuple[tuple[int, ...], ...] = TABLE_1
    num_classes: int = 10
    in_chans: int = 1
    image_size: int | tuple[int, int] = 28

    def build(self) -> Convnet:
        """Input (N, 1, 28, 28), a digit of 16×16 in its middle, paper −1 and ink 1; scores (N, 10), trained towards ±1.
        """
        h3 = len(self.table)
        stages = [
            nn.Sequential(OrderedDict(h1=conv(self.in_chans, self.h1), act1=ScaledTanh())),            # 24×24
            nn.Sequential(OrderedDict(h2=Subsample2d(self.h1), act2=ScaledTanh(),                      # 12×12
                                      h3=TableConv2d(self.h1, self.table, 5), act3=ScaledTanh())),     # 8×8
            nn.Sequential(OrderedDict(h4=Subsample2d(h3), act4=ScaledTanh())),                         # 4×4
        ]
        hidden = nn.Sequential(OrderedDict(pool=nn.AdaptiveAvgPool2d(4), flatten=nn.Flatten()))
        return Convnet(self, None, stages, Head(hidden, 16 * h3, self.num_classes, lecun_linear, ScaledTanh()))


register("lenet1", LeNet1(), params=2_578, macs=91_520, recipe="zipcode")
