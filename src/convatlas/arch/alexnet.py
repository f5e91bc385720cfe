"""AlexNet — Krizhevsky, Sutskever & Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012.

Idea    A large convolutional network made trainable: rectified linear units, two GPUs, and dropout against overfitting;
        it won the 2012 ImageNet challenge by ten points.
Mirrors Section 3.5 and Figure 2: kernels per layer, which layers see both GPUs' maps (groups 1) or one's (groups 2).
Departs The input is 227×227: with the 224 that the paper prints, (224 − 11)/4 is no integer. Response normalisation is
        the printed formula over all maps; the authors' code divides α by n (`lrn="code"`) and each GPU saw its own half
        (`lrn_groups=2`); Caffe's replica has k = 1 besides (`lrn="caffe"`), and CaffeNet pools before it normalises
        (`lrn="caffenet"`). An image of another size is pooled to the 6×6 that the fully connected layers read.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Literal, NamedTuple

from torch import nn

from ..net.model import Convnet, Head
from ..net.registry import register
from ..parts import ACTS, Act, Excite, LocalResponseNorm, gaussian_, times


class Row(NamedTuple):
    kernels: int
    kernel: int
    stride: int
    pad: int
    groups: int     # 2: each GPU's kernels read that GPU's maps only
    # section 5: 1 in conv2, conv4, conv5 and the hidden fully connected layers "accelerates early learning"
    bias: float


SECTION_3_5 = (   # kernels size stride pad groups bias
    Row(96,  11, 4, 0, 1, 0.0),     # conv1
    Row(256, 5,  1, 2, 2, 1.0),     # conv2
    Row(384, 3,  1, 1, 1, 0.0),     # conv3 sees both GPUs
    Row(384, 3,  1, 1, 2, 1.0),     # conv4
    Row(256, 3,  1, 1, 2, 1.0),     # conv5
)


def gaussian_linear(cin: int, cout: int, bias: float = 0.0, narrow: float = 1.0) -> nn.Linear:
    layer = nn.Linear(cin, cout)
    gaussian_(layer, 0.01 / sqrt(narrow), bias)
    return layer


@dataclass(frozen=True)
class AlexNet:
    """`pool_kernel` 3 overlaps, 2 does not; `lrn` none takes the normalisation away; `groups` 1 joins the two GPUs.

    `lrn` paper: k = 2, α = 10⁻⁴; code: α/5; caffe: α/5 and k = 1; caffenet: caffe's, behind the pool. `stem` "cifar"
    makes conv1 3×3 with stride 1, `excite` weighs each activation's maps. `width` multiplies the kernels, `fc` is the
    width of fc6 and fc7; weights begin the larger the fewer a narrow layer sums.
    """

    table: tuple[Row, ...] = SECTION_3_5
    lrn: Literal["paper", "code", "caffe", "caffenet", "none"] = "paper"
    lrn_groups: int = 1
    pool_kernel: int = 3
    groups: int = 2
    excite: Excite | None = None
    act: Act = "relu"
    width: float = 1.0
    fc: int = 4096
    stem: Literal["imagenet", "cifar"] = "imagenet"
    drop_rate: float = 0.5
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 227

    def build(self) -> Convnet:
        """Input (N, 3, 227, 227), raw 0–255 pixels less their mean; scores (N, 1000)."""
        stem, *stages = (nn.Sequential(OrderedDict(layers)) for layers in self.layers())
        linear = partial(gaussian_linear, narrow=self.fc / 4096)
        fc6 = gaussian_linear(self.kernels(self.table[-1]) * 36, self.fc, 1.0, self.width)
        fc = OrderedDict(pool=nn.AdaptiveAvgPool2d(6), flatten=nn.Flatten(), fc6=fc6, act6=self.squash(),
                         drop6=nn.Dropout(self.drop_rate), fc7=linear(self.fc, self.fc, 1.0), act7=self.squash(),
                         drop7=nn.Dropout(self.drop_rate))
        return Convnet(self, stem, stages, Head(nn.Sequential(fc), self.fc, self.num_classes, linear))

    def kernels(self, row: Row) -> int:
        return times(row.kernels, self.width, 2)        # for two groups

    def layers(self) -> list[list[tuple[str, nn.Module]]]:
        """conv1 | pool1, conv2 | pool2, conv3 to conv5 | pool5."""
        parts: list[list[tuple[str, nn.Module]]] = [[]]
        cin = self.in_chans
        for i, row in enumerate(self.table, start=1):
            if i == 1 and self.stem == "cifar":
                row = row._replace(kernel=3, stride=1, pad=1)
            row = row._replace(kernels=self.kernels(row))
            conv = nn.Conv2d(cin, row.kernels, row.kernel, row.stride, row.pad, groups=min(row.groups, self.groups))
            gaussian_(conv, 0.01 if i == 1 else 0.01 / sqrt(self.width), row.bias)
            parts[-1] += [(f"conv{i}", conv), (f"act{i}", self.squash())]
            if self.excite:
                parts[-1].append((f"se{i}", self.excite.layer(row.kernels)))
            norm = [(f"norm{i}", self.norm())] if i in (1, 2) and self.lrn != "none" else []
            if self.lrn != "caffenet":
                parts[-1] += norm
            if i in (1, 2, 5):
                parts.append([(f"pool{i}", nn.MaxPool2d(self.pool_kernel, 2))])
            if self.lrn == "caffenet":
                parts[-1] += norm
            cin = row.kernels
        return parts

    def norm(self) -> nn.Module:
        alpha, k = 1e-4 if self.lrn == "paper" else 1e-4 / 5, 2.0 if self.lrn in ("paper", "code") else 1.0
        return LocalResponseNorm(5, alpha, 0.75, k, self.lrn_groups)

    def squash(self) -> nn.Module:
        return ACTS[self.act]()


register("alexnet", AlexNet(), params=60_965_224, macs=724_406_816, recipe="alexnet")
