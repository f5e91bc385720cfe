"""Costs of convolutions: the algebra of the ways to make one cheaper, MobileNet's tables from code, and a network's
cost per stage.

D_K is the side of the kernel, M and N the channels in and out, D_F the side of the map, as in Howard et al. 2017;
strides are 1, maps keep their size, biases are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..draw.canvas import MARGIN, below, canvas, write
from ..draw.plots import COLORS
from ..errors import ConvatlasError
from ..net.layers import layer_table
from ..zoo import create_model
from .summary import SIDE, Summary, stages

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Conv(NamedTuple):
    """One convolution."""

    high: int
    wide: int
    cin: int
    cout: int
    groups: int = 1


@dataclass(frozen=True)
class Form:
    """One way to compute a map of N channels from a map of M channels with a kernel that reaches over D_K×D_K."""

    name: str
    formula: str                # parameters; times D_F² these are the multiply-adds
    source: str
    layers: tuple[Conv, ...]
    size: int                   # D_F

    @property
    def params(self) -> int:
        """Weights."""
        return sum(c.high * c.wide * c.cin * c.cout // c.groups for c in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return self.params * self.size**2


def forms(kernel: int = 3, cin: int = 512, cout: int = 512, size: int = 14, *, groups: int = 32, reduction: int = 4,
          strip: int = 5) -> list[Form]:
    """The ways that go with these numbers, the standard one first.

    `groups` is the grouped convolution's, `reduction` = N / B the bottleneck's, `strip` SLaK's short side. Stacked 3×3
    needs D_K = 5, 7, 9 …, strips need D_K above `strip`. ConvatlasError for numbers that do not divide.
    """
    for name, value in {"kernel": kernel, "cin": cin, "cout": cout, "size": size, "groups": groups,
                        "reduction": reduction}.items():
        if value < 1:
            raise ConvatlasError(f"{name} = {value} is refused: it must be at least 1")
    for name, divisor, channels in (("groups", groups, cin), ("groups", groups, cout), ("reduction", reduction, cout)):
        if channels % divisor:
            raise ConvatlasError(f"{name} = {divisor} is refused: it does not divide {channels} channels")
    k, m, n, b, deep = kernel, cin, cout, cout // reduction, (kernel - 1) // 2
    depthwise, pointwise, square = Conv(k, k, m, m, m), Conv(1, 1, m, n), Conv(3, 3, n, n)
    strips = (Conv(k, strip, m, m, m), Conv(strip, k, m, m, m), Conv(strip, strip, m, m, m))
    table: list[tuple[str, str, str, tuple[Conv, ...], bool]] = [
        # name                          parameters                    source            layers                             fits
        ("standard",                    "D_K²·M·N",                   "LeNet, VGG",     (Conv(k, k, m, n),),                True),
        (f"grouped, g = {groups}",      "D_K²·M·N / g",               "AlexNet, ResNeXt", (Conv(k, k, m, n, groups),),      groups > 1),
        (f"bottleneck, B = {b}",        "M·B + D_K²·B² + B·N",        "ResNet",
         (Conv(1, 1, m, b), Conv(k, k, b, b), Conv(1, 1, b, n)), True),
        ("depthwise separable",         "D_K²·M + M·N",               "MobileNet",      (depthwise, pointwise),             k > 1),
        (f"{k}×1, then 1×{k}",          "D_K·M·N + D_K·N²",           "Inception v3",   (Conv(k, 1, m, n), Conv(1, k, n, n)), k > 1),
        (f"{deep} times 3×3",           "9·M·N + (D_K − 3)/2·9·N²",   "VGG",            (Conv(3, 3, m, n), *[square] * (deep - 1)),
         k > 3 and k % 2 == 1),
        (f"strips {k}×{strip}, {strip}×{k}, {strip}×{strip}; 1×1", "2·s·D_K·M + s²·M + M·N", "SLaK", (*strips, pointwise), k > strip),
    ]
    return [Form(name, formula, source, layers, size) for name, formula, source, layers, fits in table if fits]


# -- MobileNet's tables ----------------------------------------------------------------------------------------------

class Line(NamedTuple):
    """One line of a table as printed (Howard et al. 2017): a network, and its figures in millions."""

    label: str
    variant: str
    fields: Mapping[str, Any]
    accuracy: float         # per cent, top-1 on ImageNet
    macs: float
    params: float


#   number → title, lines
TABLES: dict[int, tuple[str, tuple[Line, ...]]] = {
    4: ("depthwise separable or full convolutions", (
        Line("Conv MobileNet",        "mobilenet_v1_full",    {},                  71.7, 4866, 29.3),
        Line("MobileNet",             "mobilenet_v1",         {},                  70.6, 569, 4.2))),
    5: ("narrow or shallow", (
        Line("0.75 MobileNet",        "mobilenet_v1_075",     {},                  68.4, 325, 2.6),
        Line("Shallow MobileNet",     "mobilenet_v1_shallow", {},                  65.3, 307, 2.9))),
    6: ("width multiplier", (
        Line("1.0 MobileNet-224",     "mobilenet_v1",         {},                  70.6, 569, 4.2),
        Line("0.75 MobileNet-224",    "mobilenet_v1_075",     {},                  68.4, 325, 2.6),
        Line("0.5 MobileNet-224",     "mobilenet_v1_050",     {},                  63.7, 149, 1.3),
        Line("0.25 MobileNet-224",    "mobilenet_v1_025",     {},                  50.6, 41, 0.5))),
    7: ("resolution", (
        Line("1.0 MobileNet-224",     "mobilenet_v1",         {},                  70.6, 569, 4.2),
        Line("1.0 MobileNet-192",     "mobilenet_v1",         {"image_size": 192}, 69.1, 418, 4.2),
        Line("1.0 MobileNet-160",     "mobilenet_v1",         {"image_size": 160}, 67.2, 290, 4.2),
        Line("1.0 MobileNet-128",     "mobilenet_v1",         {"image_size": 128}, 64.4, 186, 4.2))),
    8: ("beside popular models", (
        Line("1.0 MobileNet-224",     "mobilenet_v1",         {},                  70.6, 569, 4.2),
        Line("GoogleNet",             "googlenet",            {},                  69.8, 1550, 6.8),
        Line("VGG 16",                "vgg16",                {},                  71.5, 15300, 138))),
}


#   one layer of 14×14 maps: label, form, channels, side of the map, multiply-adds and parameters in millions as printed
TABLE_3 = (
    ("Convolution",              "standard",            512, 14, 462, 2.36),
    ("Depthwise Separable Conv", "depthwise separable", 512, 14, 52.3, 0.27),
    ("α = 0.75",                 "depthwise separable", 384, 14, 29.6, 0.15),
    ("ρ = 0.714",                "depthwise separable", 384, 10, 15.1, 0.15),
)


class Compared(NamedTuple):
    """One line of a table: what was counted, and what was printed in millions."""

    label: str
    macs: int
    params: int
    printed_macs: float
    printed_params: float
    accuracy: float | None      # as printed, per cent


def tables() -> dict[str, list[Compared]]:
    """MobileNet's tables 3 to 8, counted from the layers of the networks; title → lines."""
    ways = [next(form for form in forms(3, channels, channels, size) if form.name == name)
            for _, name, channels, size, *_ in TABLE_3]
    single = [Compared(label, way.macs, way.params, macs, params, None)
              for way, (label, _, _, _, macs, params) in zip(ways, TABLE_3, strict=True)]
    return {"Table 3: one layer, 14×14×512": single} | {
        f"Table {number}: {title}": [Compared(line.label, *computed(line), line.macs, line.params, line.accuracy)
                                     for line in lines] for number, (title, lines) in TABLES.items()
    }


def agrees(count: int, millions: float) -> bool:
    """True if a count rounds to what was printed in millions."""
    printed = f"{millions:g}"
    return f"{count / 1e6:.{len(printed.partition('.')[2])}f}" == printed


def computed(line: Line) -> tuple[int, int]:
    """(multiply-adds, parameters) of the network of that line, side classifiers left out, counted from its layers."""
    with torch.device("meta"):
        rows = layer_table(create_model(line.variant, **line.fields))
    rows = [row for row in rows if not row.name.startswith(SIDE)]
    return sum(row.macs for row in rows), sum(row.params for row in rows)


# -- pictures --------------------------------------------------------------------------------------------------------

BAR, ROW = 230, 44          # the longest bar's width, the height of a row, in units
NAMES = 330                 # width of the names and formulas


def draw(ways: Sequence[Form]) -> "Figure":
    """A bar for each form's cost beside the standard convolution's, with its formula."""
    first = ways[0]
    conv = first.layers[0]
    lines = [f"kernel D_K = {conv.high}, channels in M = {conv.cin}, channels out N = {conv.cout}, map D_F = "
             f"{first.size}; multiply-adds are D_F² times the parameters, so one bar stands for both"]
    longest = max(way.params for way in ways)
    top = below(lines) + 12
    with canvas(NAMES + BAR + 330, top + ROW * len(ways) + MARGIN, "What a convolution costs", lines) as (figure, axes):
        for i, way in enumerate(ways):
            y = top + ROW * i
            write(axes, MARGIN, y + 12, way.name, "ink", 11.5, weight="bold")
            write(axes, MARGIN, y + 28, f"{way.formula}   ({way.source})", "soft", 9.5)
            _bar(axes, NAMES, y + 2, max(BAR * way.params / longest, 1.5), "train" if way is first else "accent")
            write(axes, NAMES + BAR * way.params / longest + 8, y + 12, _times(way, first), "ink", 11, weight="bold")
            write(axes, NAMES + BAR * way.params / longest + 8, y + 26,
                  f"{_short(way.macs)} multiply-adds, {_short(way.params)} parameters", "soft", 9.5)
    return figure


def draw_stages(found: Summary) -> "Figure":
    """Parameters, multiply-adds and memory per stage: a bar for each."""
    rows = stages(found)
    columns = {"params": (f"{_short(found.params)} parameters", found.params),
               "macs": (f"{_short(found.macs)} multiply-adds", found.macs),
               "made": (f"{_short(found.made)} bytes", found.made)}
    names, wide = 150, 210
    lines = [f"images of {'×'.join(map(str, found.image))}; bytes are what the forward pass of training makes for "
             f"{found.memory.batch_size} of them, multiply-adds are for one"]
    top = below(lines) + 34
    high = top + 34 * len(rows) + MARGIN
    with canvas(names + (wide + 40) * 3 + MARGIN, high, f"Where {found.name}'s cost lies", lines) as (figure, axes):
        for j, (column, (title, whole)) in enumerate(columns.items()):
            x = names + (wide + 40) * j
            write(axes, x, top - 14, title, "ink", 11.5, weight="bold")
            for i, row in enumerate(rows):
                part = getattr(row, column)
                length = (wide - 50) * part / max(getattr(other, column) for other in rows)
                _bar(axes, x, top + 34 * i + 4, length, "accent")
                write(axes, x + length + 6, top + 34 * i + 18, f"{100 * part / whole:.1f} %" if part else "–",
                      "ink" if part else "soft")
        for i, row in enumerate(rows):
            write(axes, MARGIN, top + 34 * i + 14, row.name, "ink", 11, weight="bold")
            write(axes, MARGIN, top + 34 * i + 27, "×".join(map(str, row.output)), "soft", 9)
    return figure


def _bar(axes: "Axes", x: float, y: float, wide: float, color: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x, y), wide, 22, facecolor=COLORS[color], linewidth=0))


def _times(way: Form, first: Form) -> str:
    times = first.params / way.params
    return "1" if way is first else f"1/{times:.3g} of it" if times > 1 else f"{1 / times:.3g} times as much"


def _short(number: int) -> str:
    """In millions or billions, three digits."""
    return (f"{number / 1e9:.3g} billion" if number >= 1e9 else f"{number / 1e6:.3g} million" if number >= 1e5
            else f"{number:,}")
