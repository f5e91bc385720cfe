"""ResNeXt — Xie, Girshick, Dollár, Tu & He, "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017.

Idea    A block adds up many narrow transformations of one shape; their number, the cardinality, is a third dimension
        beside depth and width, and a better use of the same parameters.
Mirrors Table 1 (blocks per stage), Table 2 (cardinality × width that cost as much as ResNet's 64), Table 4 (twice the
        cost); the block is Figure 3(c), a 3×3 convolution in groups. The `se_` networks are Table 2 of Hu et al. 2018.
Departs ResNeXt-101 32×8d is a later release's, not the paper's. The max-pool pads one pixel on every side; the authors
        of squeeze-and-excitation released theirs with Caffe's, which pads none and rounds up (`_v1`,
        `stem_pool="ceil"`).
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from ..net.model import Convnet
from ..net.registry import register
from ..net.resnets import residual_net
from ..parts import Act, BlockExcite, PoolKind, StemPool, bottleneck


class Depth(NamedTuple):
    conv2: int      # blocks of 256 channels
    conv3: int      # of 512
    conv4: int      # of 1024
    conv5: int      # of 2048
    planes: int = 64    # of conv2; each stage has twice as many as the one before


TABLE_1 = {
    50:  Depth(3, 4, 6,  3),
    101: Depth(3, 4, 23, 3),
}


@dataclass(frozen=True)
class ResNeXt:
    """`groups` is the cardinality C, `width` the channels d of each group in the first stage, where that has 64
    planes: 32×4d is 32 groups of 4.
    """

    depths: Depth = TABLE_1[50]
    groups: int = 32
    width: int = 4
    excite: BlockExcite | None = None
    act: Act = "relu"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    stem_pool: StemPool = "symmetric"
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
        block = partial(bottleneck, groups=self.groups, width=self.width)
        return residual_net(self, block, self.depths[:4], pool=self.stem_pool, excite=self.excite,
                            planes=self.depths.planes)


# Table 2: as costly as ResNet-50 and ResNet-101
register("resnext50_2x40d", ResNeXt(TABLE_1[50], 2, 40), params=25_425_000, macs=4_124_508_160, recipe="resnext")
register("resnext50_4x24d", ResNeXt(TABLE_1[50], 4, 24), params=25_292_968, macs=4_159_832_064, recipe="resnext")
register("resnext50_8x14d", ResNeXt(TABLE_1[50], 8, 14), params=25_603_016, macs=4_267_409_408, recipe="resnext")
register("resnext50_32x4d", ResNeXt(TABLE_1[50], 32, 4), params=25_028_904, macs=4_230_479_872, recipe="resnext")
register("resnext101_2x40d", ResNeXt(TABLE_1[101], 2, 40), params=44_456_296, macs=7_843_553_280, recipe="resnext")
register("resnext101_4x24d", ResNeXt(TABLE_1[101], 4, 24), params=44_363_432, macs=7_885_701_120, recipe="resnext")
register("resnext101_8x14d", ResNeXt(TABLE_1[101], 8, 14), params=45_104_328, macs=8_076_871_680, recipe="resnext")
register("resnext101_32x4d", ResNeXt(TABLE_1[101], 32, 4), params=44_177_704, macs=7_969_996_800, recipe="resnext")

# Table 4: twice as costly as ResNet-101
register("resnext101_2x64d", ResNeXt(TABLE_1[101], 2, 64), params=84_198_184, macs=15_123_087_360, recipe="resnext")
register("resnext101_64x4d", ResNeXt(TABLE_1[101], 64, 4), params=83_455_272, macs=15_460_270_080, recipe="resnext")
register("resnext101_32x8d", ResNeXt(TABLE_1[101], 32, 8), params=88_791_336, macs=16_414_015_488, fidelity="field",
         recipe="resnext")

# with squeeze-and-excitation
register("se_resnext50_32x4d", ResNeXt(TABLE_1[50], 32, 4, BlockExcite()), params=27_559_896, macs=4_232_994_816,
         fidelity="field", aliases=("seresnext50_32x4d",), recipe="senet")
register("se_resnext101_32x4d", ResNeXt(TABLE_1[101], 32, 4, BlockExcite()), params=48_955_416, macs=7_974_739_968,
         fidelity="field", aliases=("seresnext101_32x4d",), recipe="senet")
register("se_resnext50_32x4d_v1", ResNeXt(TABLE_1[50], 32, 4, BlockExcite(), stem_pool="ceil"),
         params=27_559_896, macs=4_232_994_816, fidelity="authors",
         aliases=("legacy_seresnext50_32x4d",), recipe="senet")
register("se_resnext101_32x4d_v1", ResNeXt(TABLE_1[101], 32, 4, BlockExcite(), stem_pool="ceil"),
         params=48_955_416, macs=7_974_739_968, fidelity="authors",
         aliases=("legacy_seresnext101_32x4d",), recipe="senet")
