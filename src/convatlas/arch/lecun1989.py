"""LeCun's five nets — LeCun, "Generalization and Network Design Strategies", Connectionism in Perspective, 1989.

Idea    Knowledge about the task goes into the connections: local windows, then shared weights, leave fewer free
        parameters for the same number of links, and the network generalises better from 320 drawings.
Mirrors The paper's table of links and weights (2 570/2 570 … 5 194/1 060) and its figures of Net-1 to Net-5.
Departs The paper gives no size for the border of the maps and no value: sizes are those its 8×8 and 4×4 maps imply
        (3×3 stride 2 with one row more, 5×5 stride 2 with two), the value is the background −1, as in the zip-code
        network of the same year. Weights start as that paper's, U(−2.4/F, 2.4/F).
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from ..net.model import Convnet, Head, pair
from ..net.registry import register
from ..parts import LocalConv2d, ScaledTanh, TableConv2d, lecun_linear

BACKGROUND = -1.0


class Row(NamedTuple):
    maps: int
    kernel: int         # stride 2 everywhere
    shared: bool        # one kernel per pair of maps; biases are never shared


@dataclass(frozen=True)
class LeCun1989:
    """Local layers, then fully connected ones; every unit squashes, the outputs too."""

    table: tuple[Row, ...] = ()
    hidden: int = 0                 # units of a fully connected hidden layer
    num_classes: int = 10
    in_chans: int = 1
    image_size: int | tuple[int, int] = 16

    def build(self) -> Convnet:
        """Input (N, 1, 16, 16) with paper −1 and ink 1, scores (N, 10) in ±1.7159, trained towards ±1."""
        cin, (high, wide) = self.in_chans, pair(self.image_size)
        stages: list[nn.Module] = []
        for maps, kernel, shared in self.table:
            high, wide, border = (high + 1) // 2, (wide + 1) // 2, kernel // 2
            layer = (TableConv2d(cin, [range(cin)] * maps, kernel, 2, border, border=BACKGROUND, units=(high, wide))
                     if shared else LocalConv2d(cin, maps, kernel, 2, border, (high, wide), border=BACKGROUND))
            stages.append(nn.Sequential(OrderedDict(conv=layer, act=ScaledTanh())))
            cin = maps
        width = cin * high * wide
        hidden = OrderedDict[str, nn.Module](flatten=nn.Flatten())
        if self.hidden:
            hidden.update(linear=lecun_linear(width, self.hidden), act=ScaledTanh())
        head = Head(nn.Sequential(hidden), self.hidden or width, self.num_classes, lecun_linear, ScaledTanh())
        return Convnet(self, None, stages, head)


#                                            maps kernel shared                       weights       multiply-adds
register("lecun1989_net1", LeCun1989(),                                               params=2_570, macs=2_560, recipe="lecun1989")
register("lecun1989_net2", LeCun1989(hidden=12),                                      params=3_214, macs=3_192, recipe="lecun1989")
register("lecun1989_net3", LeCun1989((Row(1, 3, False), Row(1, 5, False))),           params=1_226, macs=1_136, recipe="lecun1989")
register("lecun1989_net4", LeCun1989((Row(2, 3, True),  Row(1, 5, False))),           params=1_132, macs=2_112, recipe="lecun1989")
register("lecun1989_net5", LeCun1989((Row(2, 3, True),  Row(4, 5, True))),            params=1_060, macs=4_992, recipe="lecun1989")
