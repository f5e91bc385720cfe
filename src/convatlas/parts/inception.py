"""Inception modules as their figures draw them, and the stem and scaled residuals of the 2017 paper."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypeAlias

from torch import Tensor, nn

from .conv import Make, MakeNorm, Padding, conv2d
from .excite import Excite
from .parallel import Parallel
from .residual import Residual
from .width import times


class Conv(NamedTuple):
    """A box of a figure: so many maps, the kernel (or its height and width), normalised and rectified.

    "valid" is the figures' V.
    """

    cout: int
    kernel: int | tuple[int, int]
    stride: int = 1
    padding: Padding = "symmetric"


Box: TypeAlias = "Conv | Literal['max', 'avg'] | Figure"      # a convolution; 3×3/2 V; 3×3/1; paths side by side
Boxes: TypeAlias = "tuple[Box, ...]"                          # one behind the other
Figure: TypeAlias = "Mapping[str, Boxes]"                     # paths by name, from left to right

#  Szegedy et al. 2017, Figure 3: the stem of Inception-v4 and Inception-ResNet-v2, cut where it reduces
FIGURE_3: tuple[Boxes, Boxes, Boxes] = (
    # 299 → 147 pixels
    (Conv(32, 3, 2, "valid"), Conv(32, 3, 1, "valid"), Conv(64, 3)),
    ({"pool": ("max",), "conv": (Conv(96, 3, 2, "valid"),)},                                                # → 73
     {"short": (Conv(64, 1), Conv(96, 3, 1, "valid")),
      "long": (Conv(64, 1), Conv(64, (1, 7)), Conv(64, (7, 1)), Conv(96, 3, 1, "valid"))}),                 # → 71
    # → 35, 384 maps
    ({"conv": (Conv(192, 3, 2, "valid"),), "pool": ("max",)},),
)


def figure_7(k: int, l: int, m: int, n: int) -> Figure:
    """Reduction-A, from 35 to 17 pixels; k, l, m, n are those of Table 1 of Szegedy et al. 2017."""
    return {"three": (Conv(n, 3, 2, "valid"),), "twice": (Conv(k, 1), Conv(l, 3), Conv(m, 3, 2, "valid")),
            "pool": ("max",)}


def draw(cin: int, boxes: Boxes, norm: MakeNorm = nn.BatchNorm2d) -> nn.Sequential:
    """Flat Sequential of the boxes, in which each convolution stands beside its normalisation."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, box in enumerate(boxes, start=1):
        if isinstance(box, Conv):
            conv = conv2d(cin, box.cout, box.kernel, box.stride, padding=box.padding)
            layers.update({f"conv{i}": conv, f"norm{i}": norm(box.cout), f"act{i}": nn.ReLU()})
        elif isinstance(box, str):      # TensorFlow's average leaves the border out
            layers[f"pool{i}"] = nn.MaxPool2d(3, 2) if box == "max" else nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        else:
            layers[f"paths{i}"] = parallel(cin, box, norm)
        cin = drawn(cin, (box,))
    return nn.Sequential(layers)


def parallel(cin: int, figure: Figure, norm: MakeNorm = nn.BatchNorm2d) -> Parallel:
    """Parallel paths of a figure."""
    return Parallel({name: draw(cin, boxes, norm) for name, boxes in figure.items()})


def drawn(cin: int, boxes: Boxes) -> int:
    """Number of maps that the boxes make of `cin`."""
    for box in boxes:
        if isinstance(box, Conv):
            cin = box.cout
        elif not isinstance(box, str):
            cin = sum(drawn(cin, path) for path in box.values())
    return cin


def multiplied(figure: Figure, factor: float) -> Figure:
    """The figure with `factor` times as many maps."""
    return {name: tuple(box._replace(cout=times(box.cout, factor)) if isinstance(box, Conv)
                        else box if isinstance(box, str) else multiplied(box, factor) for box in boxes)
            for name, boxes in figure.items()}


def chained(cin: int, figure: Figure, unit: Callable[[int, Conv], nn.Module], pools: Mapping[str, Make]) -> Parallel:
    """Parallel paths of a figure, each a chain of units; one of a single box is that unit."""
    paths: dict[str, nn.Module] = {}
    for name, boxes in figure.items():
        units = []
        for i, box in enumerate(boxes):
            before = drawn(cin, boxes[:i])
            units.append(unit(before, box) if isinstance(box, Conv) else pools[box]() if isinstance(box, str)
                         else chained(before, box, unit, pools))
        chain = OrderedDict((f"unit{i}", each) for i, each in enumerate(units, start=1))
        paths[name] = units[0] if len(units) == 1 else nn.Sequential(chain)
    return Parallel(paths)


class Scale(nn.Module):
    """Multiplication by a constant factor: "scaling down the residuals" (Szegedy et al. 2017, section 3.3). Any shape.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

    def extra_repr(self) -> str:
        return f"{self.factor:g}"


def scaled_residual(cin: int, figure: Figure, scale: float, *, norm: MakeNorm = nn.BatchNorm2d, act: bool = True,
                    excite: Excite | None = None, drop: float = 0.0) -> Residual:
    """Scaled residual: relu(x + scale · expand(paths(x))); `expand` is a 1×1 convolution with bias and without
    normalisation.

    `excite` weighs what is added.
    """
    branch: OrderedDict[str, nn.Module] = OrderedDict(paths=parallel(cin, figure, norm))
    branch["expand"] = nn.Conv2d(drawn(cin, (figure,)), cin, 1)
    if excite:
        branch["excite"] = excite.layer(cin)
    branch["scale"] = Scale(scale)
    return Residual(nn.Sequential(branch), act=nn.ReLU() if act else None, drop=drop)
