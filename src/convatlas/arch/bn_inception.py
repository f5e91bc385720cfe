"""BN-Inception — Ioffe & Szegedy, "Batch Normalization: Accelerating Deep Network Training …", ICML 2015.

Idea    Normalise every convolution's output over the batch: learning rates rise thirtyfold, dropout and response
        normalisation go. The network is GoogLeNet with two 3×3 convolutions in the place of each 5×5, also called
        Inception-v2.
Mirrors Figure 5 (the appendix): one row per module, and its widths as the SE-BN-Inception release repeats them.
        se_bn_inception scales each module's maps by a gate of ratio 16 (Hu et al. 2018, Figure 2).
Departs Figure 5 prints 1024 maps for 4e, but its widths sum to 1056. The first convolution is full, as in that release,
        not Google's separable one (`separable_stem`). Google's BatchNorm has no γ, ours does; ε = 10⁻³, the decay
        0.9997 and the initial weights are Google's, for `se_bn_inception` too; `se_bn_inception_v1` has Caffe's
        ε = 10⁻⁵, as it was released (a network keeps its constants: files that name it were trained with them).
        Max-pools round up; "symmetric" counts the zeros at a border into a mean as Caffe does, "same" does not.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from torch import nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import (
    Act,
    Excite,
    Parallel,
    PoolKind,
    SameMaxPool2d,
    conv2d,
    conv_norm,
    every_conv_,
    linear,
    truncated_normal_,
    variance_scaling_,
    with_act,
)

Conv = Callable[..., nn.Sequential]     # convolution, BatchNorm, ReLU as the fields say


class Row(NamedTuple):
    name: str
    stride: int
    point: int      # 0: no 1×1 path
    reduce3: int
    three: int
    reduce33: int
    stacked: int    # both 3×3 convolutions
    pool: Literal[  "avg", "max"]
    proj: int       # 0: the pooled maps pass through

    def width(self, cin: int) -> int:
        return self.point + self.three + self.stacked + (self.proj or cin)


FIGURE_5 = (  # stride 1×1  3×3 reduce, 3×3  stacked reduce, stacked  pool, proj
    Row("3a", 1,       64,   64, 64,          64, 96,                 "avg", 32),
    Row("3b", 1,       64,   64, 96,          64, 96,                 "avg", 64),
    Row("3c", 2,       0,   128, 160,         64, 96,                 "max", 0),
    Row("4a", 1,       224,  64, 96,          96, 128,                "avg", 128),
    Row("4b", 1,       192,  96, 128,         96, 128,                "avg", 128),
    Row("4c", 1,       160, 128, 160,        128, 160,                "avg", 128),
    Row("4d", 1,       96,  128, 192,        160, 192,                "avg", 128),
    Row("4e", 2,       0,   128, 192,        192, 256,                "max", 0),
    Row("5a", 1,       352, 192, 320,        160, 224,                "avg", 128),
    Row("5b", 1,       352, 192, 320,        192, 224,                "max", 128),
)
# Google's standard deviations; every other layer has He et al.'s
DEVIATIONS = {"reduce.conv": 0.09, "reduce2.conv": 0.1, "proj.conv": 0.1, "depthwise": 1.0, "pointwise.conv": 1.0}


def inception(cin: int, row: Row, conv: Conv, count_zeros: bool) -> Parallel:
    paths: dict[str, nn.Module] = {}
    if row.point:
        paths["point"] = conv(cin, row.point, 1)
    paths["three"] = nn.Sequential(OrderedDict(
        reduce=conv(cin, row.reduce3, 1), conv=conv(row.reduce3, row.three, 3, row.stride)))
    paths["stacked"] = nn.Sequential(OrderedDict(
        reduce=conv(cin, row.reduce33, 1), conv1=conv(row.reduce33, row.stacked, 3),
        conv2=conv(row.stacked, row.stacked, 3, row.stride)))
    if row.pool == "avg":
        pool: nn.Module = nn.AvgPool2d(3, 1, 1, count_include_pad=count_zeros)
    else:
        pool = SameMaxPool2d(3, row.stride)
    paths["pool"] = nn.Sequential(OrderedDict(pool=pool, proj=conv(cin, row.proj, 1))) if row.proj else pool
    return Parallel(paths)


def initialize(model: nn.Module) -> nn.Module:
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            known = [std for layer, std in DEVIATIONS.items() if name.endswith(layer)]
            every_conv_(module, partial(truncated_normal_, std=known[0]) if known else variance_scaling_)
    return model


@dataclass(frozen=True)
class BNInception:
    """`excite` gates each module's maps; `slim_widths` projects 4c's and 4d's pooled maps to 96, as TF-slim does."""

    excite: Excite | None = None
    separable_stem: bool = False
    slim_widths: bool = False
    act: Act = "relu"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    padding: Literal["symmetric", "same"] = "symmetric"
    global_pool: PoolKind = "avg"
    norm_eps: float = 1e-3
    norm_momentum: float = 3e-4
    drop_rate: float = 0.0
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224), scores (N, 1000)."""
        norm = partial(nn.BatchNorm2d, eps=self.norm_eps, momentum=self.norm_momentum)
        conv = partial(conv_norm, padding=self.padding, norm=norm)
        parts = self.stem_layers(conv)
        cin = 192
        for row in FIGURE_5:
            if self.slim_widths and row.name in ("4c", "4d"):
                row = row._replace(proj=96)
            if row.stride == 2:
                parts.append([])
            module: nn.Module = inception(cin, row, conv, count_zeros=self.padding == "symmetric")
            cin = row.width(cin)
            if self.excite:
                module = nn.Sequential(OrderedDict(paths=module, excite=self.excite.layer(cin)))
            parts[-1].append((f"inception_{row.name}", module))
        stem, *stages = (initialize(nn.Sequential(OrderedDict(layers))) for layers in parts)
        head = pooled(cin, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate,
                      classifier=linear(variance_scaling_))
        return with_act(Convnet(self, stem, stages, head), self.act)

    def stem_layers(self, conv: Conv) -> list[list[tuple[str, nn.Module]]]:
        """Up to the first module: conv1 | pool1, conv2 | pool2; for small images one 3×3 convolution as wide as conv2.
        """
        if self.stem == "cifar":
            return [[("conv", conv(self.in_chans, 192, 3))], []]
        conv1: list[tuple[str, nn.Module]] = [("conv1", conv(self.in_chans, 64, 7, 2))]
        if self.separable_stem:
            wide = 8 * self.in_chans
            conv1 = [("depthwise", conv2d(self.in_chans, wide, 7, 2, padding=self.padding, groups=self.in_chans)),
                     ("pointwise", conv(wide, 64, 1))]
        return [conv1,
                [("pool", SameMaxPool2d(3, 2)), ("reduce2", conv(64, 64, 1)), ("conv2", conv(64, 192, 3))],
                [("pool", SameMaxPool2d(3, 2))]]


register("bn_inception", BNInception(), params=11_285_224, macs=2_032_600_064, recipe="bn_inception")
register("se_bn_inception", BNInception(excite=Excite()),
         params=11_931_622, macs=2_033_239_424, recipe="senet")
register("se_bn_inception_v1", BNInception(excite=Excite(), norm_eps=1e-5),
         params=11_931_622, macs=2_033_239_424, fidelity="authors", recipe="senet")
