"""The zip-code network — LeCun et al., "Backpropagation Applied to Handwritten Zip Code Recognition", 1989.

Idea    The first convolutional network trained end to end on real mail: feature maps whose units share one 5×5 kernel,
        every second position, so that 64 660 connections need only 9 760 free parameters.
Mirrors Section 3.3 and Figure 3: H1 12@8×8, H2 12@4×4, H3 30, output 10.
Departs Which 8 of H1's 12 maps a map of H2 reads was never published; this is the scheme of a known reproduction: three
        groups of four H2 maps read H1 maps 0–7, 4–11 and 0–3 with 8–11. The border of H2's input is −1 like the
        image's.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from ..net.model import Convnet, Head, pair
from ..net.registry import register
from ..parts import ScaledTanh, TableConv2d, lecun_linear

BACKGROUND = -1.0
H1 = 12
H2_READS = ((0, 1, 2, 3, 4, 5, 6, 7),) * 4 + ((4, 5, 6, 7, 8, 9, 10, 11),) * 4 + ((0, 1, 2, 3, 8, 9, 10, 11),) * 4


@dataclass(frozen=True)
class ZipcodeNet:
    """H1 and H2 share kernels but not biases; H3 and the output are fully connected; every unit squashes."""

    num_classes: int = 10
    in_chans: int = 1
    image_size: int | tuple[int, int] = 16
    h3: int = 30

    def build(self) -> Convnet:
        """Input (N, 1, 16, 16) with paper −1 and ink 1, scores (N, 10) in ±1.7159, trained towards ±1."""
        high, wide = pair(self.image_size)
        stages: list[nn.Module] = []
        for cin, table in ((self.in_chans, [range(self.in_chans)] * H1), (H1, H2_READS)):
            high, wide = (high + 1) // 2, (wide + 1) // 2
            conv = TableConv2d(cin, table, 5, 2, 2, border=BACKGROUND, units=(high, wide))
            stages.append(nn.Sequential(OrderedDict(conv=conv, act=ScaledTanh())))
        h3 = OrderedDict(flatten=nn.Flatten(), h3=lecun_linear(len(H2_READS) * high * wide, self.h3), act=ScaledTanh())
        return Convnet(self, None, stages, Head(nn.Sequential(h3), self.h3, self.num_classes,
                                                lecun_linear, ScaledTanh()))


register("lecun1989_zipcode", ZipcodeNet(), params=9_760, macs=63_660, recipe="zipcode",
         aliases=("zipcode_net", "lenet1989"))
