"""AlexNet's four layers for CIFAR-10 — Krizhevsky, Sutskever & Hinton, "ImageNet Classification with Deep Convolutional
Neural Networks", NIPS 2012, Figure 1.

Idea    Rectified linear units learn several times faster than ones that saturate: three convolutions and a classifier
        reach a training error of 25 % in a sixth of the passes that the same network of tanh needs.
Mirrors `layers-18pct.cfg` of cuda-convnet, the authors' code: kernels per layer, pooling (max, then means), padding,
        the deviation of the initial weights. Figure 1's network is itself printed nowhere.
Departs It is without that file's response normalisation, as nothing but the unit is to differ in Figure 1; `lrn=True` is
        the paper's, over maps, where the file's is within each. `act` stands behind each convolution; before or behind
        max-pooling is the same for one that rises.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from torch import nn

from ..net.model import Convnet, Head
from ..net.registry import register
from ..parts import ACTS, Act, LocalResponseNorm, gaussian_, linear, times


class Row(NamedTuple):
    kernels: int    # 5×5 with stride 1, padded
    pool: Literal["max", "avg"]
    std: float      # of the initial weights


LAYERS_18PCT = (    # kernels pool deviation
    Row(32, "max", 0.0001),
    Row(32, "avg", 0.01),
    Row(64, "avg", 0.01),
)


@dataclass(frozen=True)
class AlexNetCifar:
    """`act` tanh is Figure 1's other network; `pool_kernel` 3 overlaps, 2 does not; `width` multiplies the kernels."""

    table: tuple[Row, ...] = LAYERS_18PCT
    act: Act = "relu"
    lrn: bool = False
    pool_kernel: int = 3
    width: float = 1.0
    num_classes: int = 10
    in_chans: int = 3
    image_size: int | tuple[int, int] = 32

    def build(self) -> Convnet:
        """Input (N, 3, 32, 32), raw 0–255 pixels less their mean; scores (N, 10)."""
        cin, parts = self.in_chans, [OrderedDict[str, nn.Module]()]
        for i, row in enumerate(self.table, start=1):
            cout = times(row.kernels, self.width)
            conv = nn.Conv2d(cin, cout, 5, padding=2)
            gaussian_(conv, row.std, 0.0)
            parts[-1].update({f"conv{i}": conv, f"act{i}": ACTS[self.act]()})
            pool = nn.MaxPool2d if row.pool == "max" else nn.AvgPool2d
            parts.append(OrderedDict({f"pool{i}": pool(self.pool_kernel, 2, ceil_mode=True)}))
            if self.lrn and i < len(self.table):
                parts[-1][f"norm{i}"] = LocalResponseNorm()
            cin = cout
        stem, *stages = (nn.Sequential(part) for part in parts)
        head = Head(nn.Sequential(OrderedDict(pool=nn.AdaptiveAvgPool2d(4), flatten=nn.Flatten())), 16 * cin,
                    self.num_classes, linear(partial(nn.init.normal_, std=0.01)))
        return Convnet(self, stem, stages, head)


register("alexnet_cifar", AlexNetCifar(), params=89_578, macs=12_298_240, recipe="alexnet_cifar")
