"""All-CNN — Springenberg, Dosovitskiy, Brox & Riedmiller, "Striving for Simplicity: The All Convolutional Net", ICLR 2015.

Idea    Max-pooling is not needed: a convolution of stride 2 in its place learns how to reduce. Without fully connected
        layers either, nothing is left but convolutions, ReLU and one average over the image.
Mirrors Tables 1 and 2: base models A, B, C and what becomes of each; Table 6: All-CNN-B for ImageNet.
Departs All convolutions are padded except ImageNet's first, pooling by one pixel. So the last maps have 8×8 positions,
        and ImageNet's 7×7, where the paper prints 6×6; no padding that it names gives that. It prints no
        initialisation: weights are N(0, 0.05²), as in a known port to another framework.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Literal, NamedTuple

from torch import Tensor, nn

from ..net.model import Convnet, Head
from ..net.registry import register
from ..parts import Act, Excite, GlobalPool, gaussian_, times, with_act


class Row(NamedTuple):
    kernels: int
    kernel: int
    stride: int = 1
    pad: bool = True


Block = tuple[Row, ...]

#    a reduction follows     a reduction follows       no reduction, then one map per class
A = ((Row(96, 5),),              (Row(192, 5),),               (Row(192, 3), Row(192, 1)))
B = ((Row(96, 5), Row(96, 1)),   (Row(192, 5), Row(192, 1)),   (Row(192, 3), Row(192, 1)))
C = ((Row(96, 3), Row(96, 3)),   (Row(192, 3), Row(192, 3)),   (Row(192, 3), Row(192, 1)))
IMAGENET = (
    (Row(96, 11, 4, False), Row(96, 1)),    # conv1, conv2; conv3 reduces
    (Row(256, 5), Row(256, 1)),             # conv4, conv5; conv6 reduces
    (Row(384, 3), Row(384, 1)),             # conv7, conv8; conv9 reduces
    (Row(1024, 3), Row(1024, 1)),           # conv10, conv11; conv12 is the classifier
)
POOL = Row(0, 3, 2)             # 3×3/2 max-pooling


class MapHead(Head):
    """Scores are means of maps: classifier (1×1) → ReLU → global average."""

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(N, C, H, W) → (N, classes), or the mean of each of the C maps with `pre_logits`."""
        if not pre_logits and self.num_classes:
            x = self.output(self.classifier(x))
        pooled: Tensor = self.hidden(x)
        return pooled


@dataclass(frozen=True)
class AllCNN:
    """`reduction` pool: the base model; strided: Strided-CNN; convpool: ConvPool-CNN; conv: All-CNN. `width` multiplies the
    kernels (narrow layers begin with larger weights), `excite` weighs activations' maps; without `rectified_scores` no
    ReLU is behind the classes' maps, which in narrow networks dies for whole classes.
    """

    table: tuple[Block, ...] = C
    reduction: Literal["pool", "strided", "convpool", "conv"] = "conv"
    dropped: tuple[int, ...] = (1, 2)       # reductions behind which activations are dropped
    excite: Excite | None = None
    act: Act = "relu"
    width: float = 1.0
    rectified_scores: bool = True
    input_drop_rate: float = 0.2
    drop_rate: float = 0.5
    num_classes: int = 10
    in_chans: int = 3
    image_size: int | tuple[int, int] = 32

    def build(self) -> Convnet:
        """Input (N, 3, H, W), scores (N, classes), of `rectified_scores` none negative."""
        blocks = [tuple(row._replace(kernels=times(row.kernels, self.width)) for row in block) for block in self.blocks()]
        parts: list[OrderedDict[str, nn.Module]] = [OrderedDict(drop0=nn.Dropout(self.input_drop_rate))]
        cin, number = self.in_chans, 0
        for i, block in enumerate(blocks, start=1):
            for row in reduce(block, self.reduction) if i < len(blocks) else block:
                parts += [OrderedDict()] if row.stride > 1 and number else []   # a stage begins with what reduces
                if row == POOL:
                    parts[-1][f"pool{i}"] = nn.MaxPool2d(3, 2, 1)
                    continue
                number += 1
                parts[-1].update(self.layer(number, cin, row))
                cin = row.kernels
            if i in self.dropped:
                parts[-1][f"drop{i}"] = nn.Dropout(self.drop_rate)
        stem, *stages = (nn.Sequential(part) for part in parts)
        head = MapHead(GlobalPool(), cin, self.num_classes, partial(score, narrow=self.width),
                       nn.ReLU() if self.rectified_scores else nn.Identity())
        return with_act(Convnet(self, stem, stages, head), self.act)

    def layer(self, number: int, cin: int, row: Row) -> dict[str, nn.Module]:
        """Convolution → ReLU (→ squeeze and excite)."""
        gate = {f"se{number}": self.excite.layer(row.kernels)} if self.excite else {}
        return {f"conv{number}": conv(cin, row, 1.0 if number == 1 else self.width), f"act{number}": nn.ReLU(), **gate}

    def blocks(self) -> tuple[Block, ...]:
        """The table."""
        return self.table


@dataclass(frozen=True)
class AllCNNImageNet(AllCNN):
    """Table 6; `stem` "cifar" makes conv1 and conv2 one 3×3 convolution."""

    table: tuple[Block, ...] = IMAGENET
    dropped: tuple[int, ...] = (3,)
    input_drop_rate: float = 0.0
    stem: Literal["imagenet", "cifar"] = "imagenet"
    num_classes: int = 1000
    image_size: int | tuple[int, int] = 224

    def blocks(self) -> tuple[Block, ...]:
        """The table, with its stem."""
        first, *others = self.table
        return ((Row(first[-1].kernels, 3),), *others) if self.stem == "cifar" else self.table


def reduce(block: Block, how: Literal["pool", "strided", "convpool", "conv"]) -> Block:
    """The block with what halves its map."""
    *before, last = block
    if how == "strided":
        return (*before, last._replace(stride=2 * last.stride))
    if how == "pool":
        return (*block, POOL)
    extra = Row(last.kernels, 3)
    return (*block, extra, POOL) if how == "convpool" else (*block, extra._replace(stride=2))


def conv(cin: int, row: Row, narrow: float = 1.0) -> nn.Conv2d:
    """A row's convolution."""
    layer = nn.Conv2d(cin, row.kernels, row.kernel, row.stride, row.kernel // 2 if row.pad else 0)
    gaussian_(layer, 0.05 / sqrt(narrow), 0.0)
    return layer


def score(cin: int, classes: int, narrow: float = 1.0) -> nn.Conv2d:
    """The classifier, a 1×1 convolution."""
    return conv(cin, Row(classes, 1), narrow)


register("allcnn_base_a",   AllCNN(A, "pool"),      params=839_242,   macs=149_053_440, recipe="allcnn")
register("strided_cnn_a",   AllCNN(A, "strided"),   params=839_242,   macs=55_050_240, recipe="allcnn")
register("convpool_cnn_a",  AllCNN(A, "convpool"),  params=1_254_250, macs=318_922_752, recipe="allcnn")
register("all_cnn_a",       AllCNN(A, "conv"),      params=1_254_250, macs=191_520_768, recipe="allcnn")
register("allcnn_base_b",   AllCNN(B, "pool"),      params=885_610,   macs=167_927_808, recipe="allcnn")
register("strided_cnn_b",   AllCNN(B, "strided"),   params=885_610,   macs=153_772_032, recipe="allcnn")
register("convpool_cnn_b",  AllCNN(B, "convpool"),  params=1_300_618, macs=337_797_120, recipe="allcnn")
register("all_cnn_b",       AllCNN(B, "conv"),      params=1_300_618, macs=210_395_136, recipe="allcnn")
register("allcnn_base_c",   AllCNN(C, "pool"),      params=954_730,   macs=238_706_688, recipe="allcnn")
register("strided_cnn_c",   AllCNN(C, "strided"),   params=954_730,   macs=111_304_704, recipe="allcnn")
register("convpool_cnn_c",  AllCNN(C, "convpool"),  params=1_369_738, macs=408_576_000, recipe="allcnn")
register("all_cnn_c",       AllCNN(C, "conv"),      params=1_369_738, macs=281_174_016, recipe="allcnn")
register("all_cnn_b_imagenet", AllCNNImageNet(), params=9_372_840, macs=1_342_537_856, recipe="allcnn_imagenet")
