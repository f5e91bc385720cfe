"""Inception-v3 — Szegedy, Vanhoucke, Ioffe, Shlens & Wojna, "Rethinking the Inception Architecture for Computer
Vision", CVPR 2016.

Idea    Large kernels become several small ones, 7×7 a 1×7 and a 7×1; strided convolutions and pooling side by side
        shrink a grid.
Mirrors The released code, TF-slim's `inception_v3`, module by module under its names (5b to 7c), with the side
        classifier behind 6e.
Departs Table 1 prints another stem and 3, 5 and 2 modules between reductions; the release has what stands here. Its
        BatchNorm has no γ, ours does. Every strided layer is unpadded, so `padding` tells one thing only: "symmetric"
        counts the zeros at a border into a 3×3 mean, as torchvision and timm do, "same" does not, as the release. A
        side map of another size is pooled to 5×5.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from torch import nn

from ..net.model import AuxHead, Convnet, pooled
from ..net.registry import register
from ..parts import (
    Act,
    Boxes,
    Conv,
    Excite,
    Figure,
    Make,
    MakeNorm,
    Padding,
    PoolKind,
    chained,
    conv_norm,
    drawn,
    gated,
    linear,
    multiplied,
    times,
    truncated_normal_,
    with_act,
)

Unit = Callable[..., nn.Sequential]     # `unit` with the network's norm


def unit(cin: int, cout: int, kernel: int | tuple[int, int], stride: int = 1, *, norm: MakeNorm,
         padding: Padding = "symmetric", std: float = 0.1) -> nn.Sequential:
    layers = conv_norm(cin, cout, kernel, stride, padding=padding, norm=norm)
    truncated_normal_(layers.get_submodule("conv").get_parameter("weight"), std)
    return layers


def seven(c7: int, cout: int, whole: bool) -> Boxes:
    """1×7 and 7×1, `c7` maps between them; or 7×7."""
    return (Conv(cout, 7),) if whole else (Conv(c7, (1, 7)), Conv(cout, (7, 1)))


def split(cout: int, whole: bool) -> Boxes:
    """1×3 beside 3×1, of `cout` maps each; or 3×3."""
    return (Conv(2 * cout, 3),) if whole else ({"wide": (Conv(cout, (1, 3)),), "high": (Conv(cout, (3, 1)),)},)


def figure_5(proj: int, whole: bool) -> Figure:     # on the 35×35 grid
    return {"point": (Conv(64, 1),), "five": (Conv(48, 1), Conv(64, 5)),
            "stacked": (Conv(64, 1), Conv(96, 3), Conv(96, 3)), "pool": ("avg", Conv(proj, 1))}


def reduce_35(cout: int, whole: bool) -> Figure:
    return {"three": (Conv(cout, 3, 2, "valid"),), "stacked": (Conv(64, 1), Conv(96, 3), Conv(96, 3, 2, "valid")),
            "pool": ("max",)}


# on the 17×17 grid, n = 7; c7 is the width between the factors
def figure_6(c7: int, whole: bool) -> Figure:
    twice = ((Conv(c7, 7), Conv(192, 7)) if whole
             else (Conv(c7, (7, 1)), Conv(c7, (1, 7)), Conv(c7, (7, 1)), Conv(192, (1, 7))))
    return {"point": (Conv(192, 1),), "seven": (Conv(c7, 1), *seven(c7, 192, whole)), "stacked": (Conv(c7, 1), *twice),
            "pool": ("avg", Conv(192, 1))}


def reduce_17(cout: int, whole: bool) -> Figure:
    return {"three": (Conv(192, 1), Conv(cout, 3, 2, "valid")),
            "seven": (Conv(192, 1), *seven(192, 192, whole), Conv(192, 3, 2, "valid")), "pool": ("max",)}


# on the 8×8 grid: many features at few positions
def figure_7(point: int, whole: bool) -> Figure:
    return {"point": (Conv(point, 1),), "three": (Conv(384, 1), *split(384, whole)),
            "stacked": (Conv(448, 1), Conv(384, 3), *split(384, whole)), "pool": ("avg", Conv(192, 1))}


Name = Literal["5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"]


class Row(NamedTuple):
    name: Name
    draw: Callable[[int, bool], Figure]
    number: int     # the one width in which modules of a kind differ


MODULES = (
    Row("5b", figure_5, 32),
    Row("5c", figure_5, 64),
    Row("5d", figure_5, 64),
    Row("6a", reduce_35, 384),      # begins a stage
    Row("6b", figure_6, 128),
    Row("6c", figure_6, 160),
    Row("6d", figure_6, 160),
    Row("6e", figure_6, 192),       # the side classifier reads this
    Row("7a", reduce_17, 320),      # begins a stage
    Row("7b", figure_7, 320),
    Row("7c", figure_7, 320),
)


@dataclass(frozen=True)
class InceptionV3:
    """`aux` False leaves the side classifier out, which only training uses; `width` multiplies every number of maps;
    `modules` are those that there are; `factorized` False has 7×7 and 3×3 whole; `excite` gates what does not reduce.
    """

    aux: bool = True
    width: float = 1.0
    modules: tuple[Name, ...] = tuple(row.name for row in MODULES)
    factorized: bool = True
    excite: Excite | None = None
    act: Act = "relu"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    padding: Literal["symmetric", "same"] = "symmetric"
    global_pool: PoolKind = "avg"
    norm_eps: float = 1e-3
    norm_momentum: float = 3e-4
    drop_rate: float = 0.2
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 299

    def build(self) -> Convnet:
        """Input (N, 3, 299, 299), scores (N, 1000)."""
        conv = partial(unit, norm=partial(nn.BatchNorm2d, eps=self.norm_eps, momentum=self.norm_momentum))
        pools: dict[str, Make] = {"max": partial(nn.MaxPool2d, 3, 2), "avg": partial(
            nn.AvgPool2d, 3, 1, 1, count_include_pad=self.padding == "symmetric")}
        parts = self.stem_layers(conv)
        sides: dict[str, AuxHead] = {}
        cin = times(192, self.width)
        for row in (row for row in MODULES if row.name in self.modules):
            if row.name in ("6a", "7a"):
                parts.append([])
            figure = multiplied(row.draw(row.number, not self.factorized), self.width)
            module = chained(cin, figure, lambda cin, box: conv(cin, *box[:3], padding=box.padding), pools)
            cin = drawn(cin, (figure,))
            excite = None if row.name in ("6a", "7a") else self.excite
            parts[-1].append((f"mixed_{row.name}", gated(module, cin, excite)))
            if self.aux and row.name == "6e":
                sides["6e"] = self.side(len(parts) - 2, cin, conv)
        stem, *stages = (nn.Sequential(OrderedDict(layers)) for layers in parts)
        head = pooled(cin, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate,
                      classifier=linear(partial(truncated_normal_, std=0.1)))
        return with_act(Convnet(self, stem, stages, head, aux=sides, aux_weight=0.4), self.act)

    def stem_layers(self, conv: Unit) -> list[list[tuple[str, nn.Module]]]:
        """1a to 2b | pool, 3b, 4a | pool; for small images one 3×3 convolution as wide as 4a."""
        c1, c2, c3, c4 = (times(cout, self.width) for cout in (32, 64, 80, 192))
        if self.stem == "cifar":
            return [[("conv", conv(self.in_chans, c4, 3))], []]
        return [[("conv_1a", conv(self.in_chans, c1, 3, 2, padding="valid")),
                 ("conv_2a", conv(c1, c1, 3, padding="valid")), ("conv_2b", conv(c1, c2, 3))],
                [("pool", nn.MaxPool2d(3, 2)), ("conv_3b", conv(c2, c3, 1)),
                 ("conv_4a", conv(c3, c4, 3, padding="valid"))],
                [("pool", nn.MaxPool2d(3, 2))]]

    def side(self, at: int, cin: int, conv: Unit) -> AuxHead:
        """Means to 5×5, 128 1×1 filters, one 5×5 convolution over the whole map."""
        hidden = nn.Sequential(OrderedDict(pool=nn.AvgPool2d(5, 3), fit=nn.AdaptiveAvgPool2d(5),
                                           reduce=conv(cin, 128, 1),
                                           conv=conv(128, 768, 5, padding="valid", std=0.01), flatten=nn.Flatten()))
        return AuxHead(at, hidden, 768, self.num_classes, linear(partial(truncated_normal_, std=0.001)))


register("inception_v3", InceptionV3(), params=27_161_264, macs=5_713_216_096, fidelity="authors",
         recipe="inception_v3")
