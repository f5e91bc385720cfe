"""Wide bottleneck ResNet — Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016, the part on ImageNet.

Idea    ResNet-50 with the inner convolutions of its bottlenecks twice as wide is better than ResNet-152, with a third
        of the layers, and faster.
Mirrors WRN-50-2-bottleneck of the table of ImageNet results; but for the widths it is ResNet, ReLU after the addition.
Departs Bottlenecks stride in their 3×3, as the Torch code that the authors began from and as torchvision does.
        WRN-101-2 is torchvision's, not the paper's.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from ..net.model import Convnet
from ..net.registry import register
from ..net.resnets import residual_net
from ..parts import Act, BlockExcite, PoolKind, bottleneck


class Depth(NamedTuple):
    conv2: int      # blocks of 256 channels
    conv3: int      # of 512
    conv4: int      # of 1024
    conv5: int      # of 2048
    planes: int = 64    # of conv2; each stage has twice as many as the one before


DEPTHS = {
    50:  Depth(3, 4, 6,  3),
    101: Depth(3, 4, 23, 3),
}


@dataclass(frozen=True)
class WideResNetImageNet:
    """`widen` multiplies the width inside every bottleneck; 1 is ResNet; `excite` puts squeeze-and-excitation into
    every block.
    """

    depths: Depth = DEPTHS[50]
    widen: int = 2
    excite: BlockExcite | None = None
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
        """Input (N, 3, 224, 224); maps of 64 channels at 112, then 256 to 2048 at 56 to 7 pixels; scores (N, 1000)."""
        return residual_net(self, partial(bottleneck, width=64 * self.widen), self.depths[:4],
                            excite=self.excite, planes=self.depths.planes)


register("wide_resnet50_2", WideResNetImageNet(DEPTHS[50]), params=68_883_240, macs=11_398_021_120,
         recipe="wide_resnet")
register("wide_resnet101_2", WideResNetImageNet(DEPTHS[101]),
         params=126_886_696, macs=22_753_050_624, fidelity="field", recipe="wide_resnet")
