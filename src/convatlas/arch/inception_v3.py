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
    Excite,
    MakeNorm,
    Padding,
    Parallel,
    PoolKind,
    conv_norm,
    gated,
    linear,
    truncated_normal_,
    with_act,
)

Conv = Callable[..., nn.Sequential]     # `unit` with the network's norm
Mean = Callable[[], nn.Module]          # a pool path's 3×3 average


def unit(cin: int, cout: int, kernel: int | tuple[int, int], stride: int = 1, *, norm: MakeNorm,
         padding: Padding = "symmetric", std: float = 0.1) -> nn.Sequential:
    layers = conv_norm(cin, cout, kernel, stride, padding=padding, norm=norm)
    truncated_normal_(layers.get_submodule("conv").get_parameter("weight"), std)
    return layers


def chain(*units: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict((f"unit{i}", unit) for i, unit in enumerate(units, start=1)))


def split(cin: int, cout: int, conv: Conv) -> Parallel:
    return Parallel({"wide": conv(cin, cout, (1, 3)), "high": conv(cin, cout, (3, 1))})


def figure_5(cin: int, proj: int, conv: Conv, mean: Mean) -> Parallel:     # on the 35×35 grid
    return Parallel({
        "point": conv(cin, 64, 1),
        "five": chain(conv(cin, 48, 1), conv(48, 64, 5)),
        "stacked": chain(conv(cin, 64, 1), conv(64, 96, 3), conv(96, 96, 3)),
        "pool": chain(mean(), conv(cin, proj, 1)),
    })


def reduce_35(cin: int, cout: int, conv: Conv, mean: Mean) -> Parallel:
    return Parallel({
        "three": conv(cin, cout, 3, 2, padding="valid"),
        "stacked": chain(conv(cin, 64, 1), conv(64, 96, 3), conv(96, 96, 3, 2, padding="valid")),
        "pool": nn.MaxPool2d(3, 2),
    })


# on the 17×17 grid, n = 7; c7 is the width between the factors
def figure_6(cin: int, c7: int, conv: Conv, mean: Mean) -> Parallel:
    return Parallel({
        "point": conv(cin, 192, 1),
        "seven": chain(conv(cin, c7, 1), conv(c7, c7, (1, 7)), conv(c7, 192, (7, 1))),
        "stacked": chain(conv(cin, c7, 1), conv(c7, c7, (7, 1)), conv(c7, c7, (1, 7)), conv(c7, c7, (7, 1)),
                         conv(c7, 192, (1, 7))),
        "pool": chain(mean(), conv(cin, 192, 1)),
    })


def reduce_17(cin: int, cout: int, conv: Conv, mean: Mean) -> Parallel:
    return Parallel({
        "three": chain(conv(cin, 192, 1), conv(192, cout, 3, 2, padding="valid")),
        "seven": chain(conv(cin, 192, 1), conv(192, 192, (1, 7)), conv(192, 192, (7, 1)),
                       conv(192, 192, 3, 2, padding="valid")),
        "pool": nn.MaxPool2d(3, 2),
    })


# on the 8×8 grid: many features at few positions
def figure_7(cin: int, point: int, conv: Conv, mean: Mean) -> Parallel:
    return Parallel({
        "point": conv(cin, point, 1),
        "three": chain(conv(cin, 384, 1), split(384, 384, conv)),
        "stacked": chain(conv(cin, 448, 1), conv(448, 384, 3), split(384, 384, conv)),
        "pool": chain(mean(), conv(cin, 192, 1)),
    })


class Row(NamedTuple):
    name: str
    make: Callable[[int, int, Conv, Mean], Parallel]
    number: int     # the one width in which modules of a kind differ
    cout: int


MODULES = (
    Row("5b", figure_5, 32, 256),
    Row("5c", figure_5, 64, 288),
    Row("5d", figure_5, 64, 288),
    Row("6a", reduce_35, 384, 768),     # begins a stage
    Row("6b", figure_6, 128, 768),
    Row("6c", figure_6, 160, 768),
    Row("6d", figure_6, 160, 768),
    Row("6e", figure_6, 192, 768),      # the side classifier reads this
    Row("7a", reduce_17, 320, 1280),    # begins a stage
    Row("7b", figure_7, 320, 2048),
    Row("7c", figure_7, 320, 2048),
)


@dataclass(frozen=True)
class InceptionV3:
    """`aux` False leaves the side classifier out, which only training uses; `excite` gates the maps of each
    module that does not reduce.
    """

    aux: bool = True
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
        mean = partial(nn.AvgPool2d, 3, 1, 1, count_include_pad=self.padding == "symmetric")
        parts = self.stem_layers(conv)
        sides: dict[str, AuxHead] = {}
        cin = 192
        for row in MODULES:
            if row.name in ("6a", "7a"):
                parts.append([])
            module, cin = row.make(cin, row.number, conv, mean), row.cout
            excite = None if row.name in ("6a", "7a") else self.excite
            parts[-1].append((f"mixed_{row.name}", gated(module, cin, excite)))
            if self.aux and row.name == "6e":
                sides["6e"] = self.side(len(parts) - 2, cin, conv)
        stem, *stages = (nn.Sequential(OrderedDict(layers)) for layers in parts)
        head = pooled(cin, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate,
                      classifier=linear(partial(truncated_normal_, std=0.1)))
        net = Convnet(self, stem, stages, head, aux=sides, aux_weight=0.4)
        return with_act(net, self.act)

    def stem_layers(self, conv: Conv) -> list[list[tuple[str, nn.Module]]]:
        """1a to 2b | pool, 3b, 4a | pool; for small images one 3×3 convolution as wide as 4a."""
        if self.stem == "cifar":
            return [[("conv", conv(self.in_chans, 192, 3))], []]
        return [[("conv_1a", conv(self.in_chans, 32, 3, 2, padding="valid")),
                 ("conv_2a", conv(32, 32, 3, padding="valid")), ("conv_2b", conv(32, 64, 3))],
                [("pool", nn.MaxPool2d(3, 2)), ("conv_3b", conv(64, 80, 1)),
                 ("conv_4a", conv(80, 192, 3, padding="valid"))],
                [("pool", nn.MaxPool2d(3, 2))]]

    def side(self, at: int, cin: int, conv: Conv) -> AuxHead:
        """Means to 5×5, 128 1×1 filters, one 5×5 convolution over the whole map."""
        hidden = nn.Sequential(OrderedDict(pool=nn.AvgPool2d(5, 3), fit=nn.AdaptiveAvgPool2d(5),
                                           reduce=conv(cin, 128, 1),
                                           conv=conv(128, 768, 5, padding="valid", std=0.01), flatten=nn.Flatten()))
        return AuxHead(at, hidden, 768, self.num_classes, linear(partial(truncated_normal_, std=0.001)))


register("inception_v3", InceptionV3(), params=27_161_264, macs=5_713_216_096, fidelity="authors",
         recipe="inception_v3")
