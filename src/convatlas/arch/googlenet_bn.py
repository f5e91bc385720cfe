"""GoogLeNet with BatchNorm — Ioffe & Szegedy, "Batch Normalization", ICML 2015, on Szegedy et al., CVPR 2015;
torchvision's `googlenet`.

Idea    GoogLeNet's modules with BatchNorm behind every convolution in the place of response normalisation: what most
        people load when they ask for GoogLeNet.
Mirrors Table 1 of "Going Deeper with Convolutions", with the 3×3 kernels that Google's released code and torchvision
        have where the table says 5×5.
Departs From the paper: those kernels, BatchNorm without biases, a 2×2 last max-pool, dropout 0.2. From torchvision:
        nothing; its normalisation of the input belongs to the weights.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from torch import nn

from ..net.model import AuxHead, Convnet, pooled
from ..net.registry import register
from ..parts import Act, Excite, Parallel, PoolKind, conv_norm, every_conv_, gated, times, uniform_linear, with_act

Conv = Callable[..., nn.Sequential]     # convolution, BatchNorm with the network's ε, ReLU


class Row(NamedTuple):
    name: str
    opens: int      # before it: a max-pool of that kernel and stride 2; 1 ends a stage for a side classifier; 0 nothing
    point: int      # 0: no such path; so are three, five and proj
    reduce3: int    # 0: the 3×3 reads the module's input; so is reduce5
    three: int
    reduce5: int
    five: int
    proj: int

    @property
    def width(self) -> int:
        return self.point + self.three + self.five + self.proj


TABLE_1 = (  # opens  1×1  3×3 reduce, 3×3  "5×5" reduce, "5×5"  proj
    Row("3a", 0,      64,   96, 128,        16, 32,              32),
    Row("3b", 0,      128, 128, 192,        32, 96,              64),
    Row("4a", 3,      192,  96, 208,        16, 48,              64),
    Row("4b", 1,      160, 112, 224,        24, 64,              64),
    Row("4c", 0,      128, 128, 256,        24, 64,              64),
    Row("4d", 0,      112, 144, 288,        32, 64,              64),
    Row("4e", 1,      256, 160, 320,        32, 128,             128),
    Row("5a", 2,      256, 160, 320,        32, 128,             128),
    Row("5b", 0,      384, 192, 384,        48, 128,             128),
)
Five = Literal["3x3", "5x5", "two_3x3", "1x5_5x1"]
FIVES: dict[Five, tuple[int | tuple[int, int], ...]] = {    # one behind the other
    "3x3": (3,), "5x5": (5,), "two_3x3": (3, 3), "1x5_5x1": ((1, 5), (5, 1))}
AUX = ("4a", "4d")      # the modules that the side classifiers read


def pool(kernel: int) -> nn.Module:
    return nn.MaxPool2d(kernel, 2, ceil_mode=True)


def inception(cin: int, row: Row, conv: Conv, fives: Five) -> Parallel:
    return Parallel({
        **({"point": conv(cin, row.point, 1)} if row.point else {}),
        **({"three": reduced(cin, row.reduce3, row.three, (3,), conv)} if row.three else {}),
        **({"five": reduced(cin, row.reduce5, row.five, FIVES[fives], conv)} if row.five else {}),
        **({"pool": nn.Sequential(OrderedDict(pool=nn.MaxPool2d(3, 1, 1), proj=conv(cin, row.proj, 1)))}
           if row.proj else {}),
    })


def reduced(cin: int, reduce: int, cout: int, kernels: tuple[int | tuple[int, int], ...], conv: Conv) -> nn.Sequential:
    """The kernels behind the 1×1 that makes them affordable, if there is one."""
    layers = OrderedDict[str, nn.Module]()
    if reduce:
        layers["reduce"] = conv(cin, reduce, 1)
    cin = reduce or cin
    for name, kernel in zip(("conv", "again"), kernels, strict=False):
        layers[name] = conv(cin, cout, kernel)
        cin = cout
    return nn.Sequential(layers)


def wider(row: Row, factor: float) -> Row:
    """The row, its widths multiplied; what is 0 stays it."""
    name, opens, *widths = row
    return Row(name, opens, *(times(each, factor) if each else 0 for each in widths))


normal_ = partial(nn.init.trunc_normal_, std=0.01)


def classifier(cin: int, cout: int) -> nn.Linear:
    layer = uniform_linear(cin, cout)       # for the bias
    normal_(layer.weight)
    return layer


def initialize(model: nn.Module) -> nn.Module:
    every_conv_(model, normal_)
    return model


@dataclass(frozen=True)
class GoogLeNetBN:
    """`aux` False leaves the side classifiers out, which only training uses; `excite` gates each module's maps.

    `width` multiplies every number of maps, the stem's too. `five` is what stands where Table 1 has 5×5: these 3×3, the
    table's, or its factors of the same receptive field (Szegedy et al. 2016).
    """

    aux: bool = True
    table: tuple[Row, ...] = TABLE_1
    width: float = 1.0
    five: Five = "3x3"
    excite: Excite | None = None
    act: Act = "relu"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    global_pool: PoolKind = "avg"
    norm_eps: float = 1e-3
    drop_rate: float = 0.2
    aux_drop_rate: float = 0.7
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224), scores (N, 1000)."""
        conv = partial(conv_norm, norm=partial(nn.BatchNorm2d, eps=self.norm_eps))
        parts = self.stem_layers(conv)
        sides: dict[str, AuxHead] = {}
        cin = times(192, self.width)
        for row in self.table:
            row = wider(row, self.width)
            if row.opens:
                parts.append([("pool", pool(row.opens))] if row.opens > 1 else [])
            parts[-1].append((f"inception_{row.name}", gated(inception(cin, row, conv, self.five), row.width, self.excite)))
            cin = row.width
            if self.aux and row.name in AUX:
                sides[row.name] = self.side(len(parts) - 2, cin, conv)
        stem, *stages = (initialize(nn.Sequential(OrderedDict(layers))) for layers in parts)
        head = pooled(cin, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate, classifier=classifier)
        net = Convnet(self, stem, stages, head, aux=sides, aux_weight=0.3)
        return with_act(net, self.act)

    def stem_layers(self, conv: Conv) -> list[list[tuple[str, nn.Module]]]:
        """Up to the first module: conv1 | pool1, conv2 | pool2; for small images one 3×3 convolution as wide as conv2.
        """
        if self.stem == "cifar":
            return [[("conv", conv(self.in_chans, times(192, self.width), 3))], []]
        first, second = times(64, self.width), times(192, self.width)
        return [[("conv1", conv(self.in_chans, first, 7, 2))],
                [("pool", pool(3)), ("reduce2", conv(first, first, 1)), ("conv2", conv(first, second, 3))],
                [("pool", pool(3))]]

    def side(self, at: int, cin: int, conv: Conv) -> AuxHead:
        """The 4×4 means are adaptive: at 14×14 of windows of four, where the paper has five."""
        layers = OrderedDict(pool=nn.AdaptiveAvgPool2d(4), reduce=conv(cin, 128, 1), flatten=nn.Flatten(),
                             fc=classifier(128 * 16, 1024), act=nn.ReLU(), drop=nn.Dropout(self.aux_drop_rate))
        return AuxHead(at, initialize(nn.Sequential(layers)), 1024, self.num_classes, classifier)


register("googlenet_bn", GoogLeNetBN(), params=13_004_888, macs=1_498_376_192, fidelity="field", recipe="bn_inception")
