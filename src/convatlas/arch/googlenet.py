"""GoogLeNet — Szegedy, Liu, Jia et al., "Going Deeper with Convolutions", CVPR 2015 (arXiv:1409.4842).

Idea    A layer looks at several scales at once: 1×1, 3×3, 5×5 and pooling side by side, each large kernel behind a 1×1
        convolution that makes it affordable. Two side classifiers help the gradient reach the first half.
Mirrors Table 1: one row per module, 1×1 | 3×3 reduce, 3×3 | 5×5 reduce, 5×5 | pool projection; section 5 for the side
        classifiers.
Departs What the paper leaves open is the Caffe release's: poolings round up, response normalisation with k = 1 and α =
        1e-4 divided by n, Xavier weights, biases 0.2. Table 1 prints 2.7K parameters for the first convolution, which
        only a separable one has; like the release, ours is a full 7×7. A side classifier's map of another size is
        pooled to 4×4.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor, nn

from ..net.model import AuxHead, Convnet, pooled
from ..net.registry import register
from ..parts import (
    Act,
    Excite,
    LocalResponseNorm,
    Parallel,
    PoolKind,
    conv_norm,
    every_conv_,
    gated,
    linear,
    times,
    with_act,
)


class Row(NamedTuple):
    name: str
    # before it: nothing, a max-pool, or the end of a stage for a side classifier
    opens: Literal["", "pool", "stage"]
    point: int      # 0: no such path; so are three, five and proj
    reduce3: int    # 0: the 3×3 reads the module's input; so is reduce5
    three: int
    reduce5: int
    five: int
    proj: int

    @property
    def width(self) -> int:
        return self.point + self.three + self.five + self.proj


TABLE_1 = (   # opens     1×1  3×3 reduce, 3×3  5×5 reduce, 5×5  proj
    Row("3a", "",         64,   96, 128,        16, 32,          32),
    Row("3b", "",         128, 128, 192,        32, 96,          64),
    Row("4a", "pool",     192,  96, 208,        16, 48,          64),
    Row("4b", "stage",    160, 112, 224,        24, 64,          64),
    Row("4c", "",         128, 128, 256,        24, 64,          64),
    Row("4d", "",         112, 144, 288,        32, 64,          64),
    Row("4e", "stage",    256, 160, 320,        32, 128,         128),
    Row("5a", "pool",     256, 160, 320,        32, 128,         128),
    Row("5b", "",         384, 192, 384,        48, 128,         128),
)
AUX = ("4a", "4d")      # the modules that the side classifiers read


def conv(cin: int, cout: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return conv_norm(cin, cout, kernel, stride, norm=None)      # with a bias, and a ReLU


def pool() -> nn.Module:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def lrn() -> nn.Module:
    return LocalResponseNorm(5, 1e-4 / 5, 0.75, k=1.0)


def inception(cin: int, row: Row) -> Parallel:
    """Figure 2b."""
    return Parallel({
        **({"point": conv(cin, row.point, 1)} if row.point else {}),
        **({"three": reduced(cin, row.reduce3, row.three, 3)} if row.three else {}),
        **({"five": reduced(cin, row.reduce5, row.five, 5)} if row.five else {}),
        **({"pool": nn.Sequential(OrderedDict(pool=nn.MaxPool2d(3, 1, 1), proj=conv(cin, row.proj, 1)))}
           if row.proj else {}),
    })


def reduced(cin: int, reduce: int, cout: int, kernel: int) -> nn.Sequential:
    """The kernels behind the 1×1 that makes them affordable, if there is one."""
    layers = OrderedDict[str, nn.Module]()
    if reduce:
        layers["reduce"] = conv(cin, reduce, 1)
    layers["conv"] = conv(reduce or cin, cout, kernel)
    return nn.Sequential(layers)


def wider(row: Row, factor: float) -> Row:
    """The row, its widths multiplied; what is 0 stays it."""
    name, opens, *widths = row
    return Row(name, opens, *(times(each, factor) if each else 0 for each in widths))


def xavier_(weight: Tensor) -> None:
    """Caffe's: U(−√(3/fan_in), √(3/fan_in))."""
    nn.init.kaiming_uniform_(weight, nonlinearity="linear")


def initialize(model: nn.Module) -> nn.Module:
    """All but the classifiers, whose biases are zero."""
    every_conv_(model, xavier_, 0.2, linear=True)
    return model


@dataclass(frozen=True)
class GoogLeNet:
    """`aux` False leaves the side classifiers out, which only training uses; `lrn` False the response normalisation.

    `excite` gates each module's maps; `width` multiplies every number of maps, the stem's too.
    """

    aux: bool = True
    table: tuple[Row, ...] = TABLE_1
    width: float = 1.0
    lrn: bool = True
    excite: Excite | None = None
    act: Act = "relu"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    global_pool: PoolKind = "avg"
    drop_rate: float = 0.4
    aux_drop_rate: float = 0.7
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224), raw 0–255 pixels less their mean; scores (N, 1000)."""
        parts = self.stem_layers()
        sides: dict[str, AuxHead] = {}
        cin = times(192, self.width)
        for row in self.table:
            row = wider(row, self.width)
            if row.opens:
                parts.append([("pool", pool())] if row.opens == "pool" else [])
            parts[-1].append((f"inception_{row.name}", gated(inception(cin, row), row.width, self.excite)))
            cin = row.width
            if self.aux and row.name in AUX:
                sides[row.name] = self.side(len(parts) - 2, cin)
        stem, *stages = (initialize(nn.Sequential(OrderedDict(layers))) for layers in parts)
        head = pooled(cin, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate,
                      classifier=linear(xavier_))
        net = Convnet(self, stem, stages, head, aux=sides, aux_weight=0.3)
        return with_act(net, self.act)

    def stem_layers(self) -> list[list[tuple[str, nn.Module]]]:
        """Up to the first module: conv1 | pool1, conv2 | pool2; for small images one 3×3 convolution as wide as conv2.
        """
        if self.stem == "cifar":
            return [[("conv", conv(self.in_chans, times(192, self.width), 3))], []]
        norm1, norm2 = ([(name, lrn())] if self.lrn else [] for name in ("norm1", "norm2"))
        first, second = times(64, self.width), times(192, self.width)
        return [[("conv1", conv(self.in_chans, first, 7, 2))],
                [("pool", pool()), *norm1, ("reduce2", conv(first, first, 1)), ("conv2", conv(first, second, 3)), *norm2],
                [("pool", pool())]]

    def side(self, at: int, cin: int) -> AuxHead:
        """Section 5: average pooling to 4×4, 128 1×1 filters, 1024 units, dropout."""
        layers = OrderedDict(pool=nn.AvgPool2d(5, 3, ceil_mode=True), fit=nn.AdaptiveAvgPool2d(4),
                             reduce=conv(cin, 128, 1), flatten=nn.Flatten(), fc=nn.Linear(128 * 16, 1024),
                             act=nn.ReLU(), drop=nn.Dropout(self.aux_drop_rate))
        return AuxHead(at, initialize(nn.Sequential(layers)), 1024, self.num_classes, linear(xavier_))


register("googlenet", GoogLeNet(), params=13_378_280, macs=1_582_671_872, recipe="googlenet")
