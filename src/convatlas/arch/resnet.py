"""ResNet — He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.

Idea    A stack of layers learns what to add to its input, F(x) = H(x) − x: a deeper network can fall back to the
        identity and no longer trains worse than a shallow one.
Mirrors Table 1: blocks per stage for every depth; section 3.3 and 4.1: shortcut options A (zeros), B (projections where
        shapes change), C (projections everywhere) and none, the plain networks.
Departs Bottlenecks stride in their 3×3 as in Facebook's release, the field's ResNet-50 ("v1.5"); the `_v1` variants
        stride in the first 1×1 as the paper does. 18 and 34 layers project where shapes change (option B, Table 3),
        where Table 2 pads zeros. Weights begin as in that release (fan-out), a classifier's bias at zero. The max-pool
        pads one pixel on every side; the authors' Caffe files pad none and round up (`stem_pool="ceil"`). resnet200 is
        not the paper's.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from ..net.model import Convnet
from ..net.registry import register
from ..net.resnets import check_drop_path, residual_net
from ..parts import Act, BlockExcite, Option, PoolKind, StemPool, StrideOn, basic, bottleneck


class Column(NamedTuple):
    block: Literal["basic", "bottleneck"]
    conv2: int      # blocks of 64 planes; a bottleneck gives four times its planes
    conv3: int      # of 128
    conv4: int      # of 256
    conv5: int      # of 512
    planes: int = 64    # of conv2; each stage has twice as many as the one before


TABLE_1 = {         # conv2_x … conv5_x
    18:  Column("basic",      2, 2,  2,  2),
    34:  Column("basic",      3, 4,  6,  3),
    50:  Column("bottleneck", 3, 4,  6,  3),
    101: Column("bottleneck", 3, 4,  23, 3),
    152: Column("bottleneck", 3, 8,  36, 3),
    200: Column("bottleneck", 3, 24, 36, 3),    # the next paper's depth (He et al. 2016b), with these blocks
}


@dataclass(frozen=True)
class ResNet:
    """`excite` puts squeeze-and-excitation into every block; `output_stride` dilates instead of striding."""

    table: Column = TABLE_1[50]
    shortcut: Option = "B"
    stride_on: StrideOn = "3x3"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    stem_pool: StemPool = "symmetric"
    output_stride: Literal[8, 16, 32] = 32
    excite: BlockExcite | None = None
    act: Act = "relu"
    norm_eps: float = 1e-5
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    global_pool: PoolKind = "avg"
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224); maps of 64 channels at 112, then 56, 28, 14 and 7 pixels; scores (N, 1000)."""
        check_drop_path(self.shortcut, self.drop_path_rate)
        if self.table.block == "basic":
            block, expansion = partial(basic, option=self.shortcut), 1
        else:
            block, expansion = partial(bottleneck, option=self.shortcut, stride_on=self.stride_on), 4
        return residual_net(self, block, self.table[1:5], expansion=expansion, pool=self.stem_pool, excite=self.excite,
                            planes=self.table.planes)


register("resnet18", ResNet(TABLE_1[18]), params=11_689_512, macs=1_814_073_344, recipe="resnet")
register("resnet34", ResNet(TABLE_1[34]), params=21_797_672, macs=3_663_761_408, recipe="resnet")
register("plain18", ResNet(TABLE_1[18], shortcut="none"), params=11_515_688, macs=1_794_805_760, recipe="resnet")
register("plain34", ResNet(TABLE_1[34], shortcut="none"), params=21_623_848, macs=3_644_493_824, recipe="resnet")

register("resnet50", ResNet(TABLE_1[50]), params=25_557_032, macs=4_089_184_256, fidelity="field", recipe="resnet")
register("resnet101", ResNet(TABLE_1[101]), params=44_549_160, macs=7_801_405_440, fidelity="field", recipe="resnet")
register("resnet152", ResNet(TABLE_1[152]), params=60_192_808, macs=11_513_626_624, fidelity="field", recipe="resnet")
register("resnet200", ResNet(TABLE_1[200]), params=64_673_832, macs=15_007_481_856, fidelity="field", recipe="resnet")

register("resnet50_v1", ResNet(TABLE_1[50], stride_on="1x1"), params=25_557_032, macs=3_857_973_248, recipe="resnet")
register("resnet101_v1", ResNet(TABLE_1[101], stride_on="1x1"), params=44_549_160, macs=7_570_194_432, recipe="resnet")
register("resnet152_v1", ResNet(TABLE_1[152], stride_on="1x1"), params=60_192_808, macs=11_282_415_616, recipe="resnet")
