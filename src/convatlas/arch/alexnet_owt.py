"""AlexNet of one weird trick — Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014.

Idea    One tower instead of two half-connected ones, so that data and model parallelism can be mixed: fewer kernels in
        conv1, conv4 and conv5, no groups, no response normalisation.
Mirrors torchvision's `alexnet`, which has this network's kernels 64-192-384-256-256; its weights load.
Departs From the 2012 network in all of the above (that one is `alexnet`); from the 2014 text as torchvision does:
        dropout comes before fc6 and fc7 instead of after, conv4 has 256 kernels, weights start as torch's layers do.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import nn

from ..net.model import Convnet, Head
from ..net.registry import register
from ..parts import Act, Excite, with_act


class Row(NamedTuple):
    kernels: int
    kernel: int
    stride: int
    pad: int
    pooled: bool    # a 3×3/2 max-pool follows


TABLE = (     # kernels size stride pad pooled
    Row(64,  11, 4, 2, True),       # conv1
    Row(192, 5,  1, 2, True),       # conv2
    Row(384, 3,  1, 1, False),      # conv3
    Row(256, 3,  1, 1, False),      # conv4
    Row(256, 3,  1, 1, True),       # conv5
)


@dataclass(frozen=True)
class AlexNetOWT:
    """torchvision's `alexnet`; `excite` weighs each activation's maps."""

    excite: Excite | None = None
    act: Act = "relu"
    stem: Literal["imagenet", "cifar"] = "imagenet"     # "cifar": conv1 is 3×3 with stride 1
    drop_rate: float = 0.5
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224), scores (N, 1000)."""
        parts: list[list[tuple[str, nn.Module]]] = [[]]
        cin = self.in_chans
        for i, row in enumerate(TABLE, start=1):
            if i == 1 and self.stem == "cifar":
                row = row._replace(kernel=3, stride=1, pad=1)
            parts[-1] += [(f"conv{i}", nn.Conv2d(cin, row.kernels, row.kernel, row.stride, row.pad)),
                          (f"act{i}", nn.ReLU())]
            if self.excite:
                parts[-1].append((f"se{i}", self.excite.layer(row.kernels)))
            if row.pooled:
                parts.append([(f"pool{i}", nn.MaxPool2d(3, 2))])
            cin = row.kernels
        stem, *stages = (nn.Sequential(OrderedDict(layers)) for layers in parts)
        fc = OrderedDict(pool=nn.AdaptiveAvgPool2d(6), flatten=nn.Flatten(),
                         drop6=nn.Dropout(self.drop_rate), fc6=nn.Linear(cin * 36, 4096), act6=nn.ReLU(),
                         drop7=nn.Dropout(self.drop_rate), fc7=nn.Linear(4096, 4096), act7=nn.ReLU())
        net = Convnet(self, stem, stages, Head(nn.Sequential(fc), 4096, self.num_classes))
        return with_act(net, self.act)


register("alexnet_owt", AlexNetOWT(), params=61_100_840, macs=714_188_480, fidelity="field", recipe="alexnet")
