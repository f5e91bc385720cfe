"""An empty sheet to put words and pictures on, measured in units from its upper left corner."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from torch import Tensor

from ..errors import ConvatlasError
from ..files import whole_write
from .plots import COLORS, UNITS, defaults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN = 24                 # units around a sheet
TITLE, LINE = 30, 16        # heights of a title and of a line under it
LETTER = 5.9                # units per character at size 10, about

CRISP = 64                  # longest side of a picture whose pixels stay sharp squares
DPI = 2 * UNITS             # of a PNG

Side = Literal["left", "center", "right"]
Height = Literal["baseline", "center", "top"]


@contextmanager
def canvas(wide: float, high: float, title: str, lines: Sequence[str] = ()) -> "Iterator[tuple[Figure, Axes]]":
    """A figure of `wide`×`high` units with its title, and axes over all of it whose y points down.

    `below(lines)` is the y at which what belongs on the sheet may begin.
    """
    with defaults():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(wide / UNITS, high / UNITS), dpi=UNITS, facecolor=COLORS["paper"])
        axes = figure.add_axes((0, 0, 1, 1))
        axes.axis("off")
        write(axes, MARGIN, MARGIN, title, "ink", 15, va="top", weight="bold")
        for i, line in enumerate(lines):
            write(axes, MARGIN, MARGIN + TITLE + LINE * i, line, "soft", va="top")
        yield figure, axes
        axes.set_xlim(0, wide)          # at the end, for imshow moves them
        axes.set_ylim(high, 0)
        axes.set_aspect("auto")


def below(lines: Sequence[str] = ()) -> float:
    """The lower end of the title and `lines`."""
    return MARGIN + TITLE + LINE * len(lines) + 8


def least_width(title: str, lines: Sequence[str] = ()) -> float:
    """Units that a sheet needs for its words."""
    return 2 * MARGIN + max([1.5 * LETTER * len(title), *(LETTER * len(line) for line in lines)])


def graph(figure: "Figure", x: float, y: float, wide: float, high: float) -> "Axes":
    """Axes for a graph inside these units, ready but for their limits."""
    width, height = (inches * UNITS for inches in figure.get_size_inches())
    axes = figure.add_axes((x / width, 1 - (y + high) / height, wide / width, high / height))
    axes.tick_params(length=0, labelsize=10, labelcolor=COLORS["soft"])
    axes.set_facecolor(COLORS["paper"])
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(COLORS["line"])
    return axes


def heat(values: Tensor, low: float, high: float) -> np.ndarray:
    """(h, w) as bytes (h, w, 3): dark at `low`, light at `high`."""
    from matplotlib import colormaps

    shares = ((values - low) / max(high - low, 1e-12)).clamp(0, 1).cpu().float()
    colors: np.ndarray = np.rint(255 * colormaps["magma"](shares.numpy())[..., :3]).astype(np.uint8)
    return colors


def write(axes: "Axes", x: float, y: float, text: str, color: str, size: float = 10, *, ha: Side = "left",
          va: Height = "baseline", weight: str = "normal") -> None:
    """Text at (x, y), of a colour of COLOURS."""
    axes.text(x, y, text, color=COLORS[color], fontsize=size, fontweight=weight, ha=ha, va=va, parse_math=False)


def show(axes: "Axes", pixels: np.ndarray, x: float, y: float, wide: float, high: float) -> None:
    """A picture in the middle of a cell, as large as fits."""
    h, w = pixels.shape[:2]
    scale = min(wide / w, high / h)
    x, y = x + (wide - w * scale) / 2, y + (high - h * scale) / 2
    axes.imshow(pixels, extent=(x, x + w * scale, y + h * scale, y), cmap="gray", vmin=0, vmax=255,
                interpolation="nearest" if max(h, w) <= CRISP else "hanning")


def save(figure: "Figure", path: Path) -> None:
    """Write the figure as PNG or SVG, as the suffix says."""
    if path.suffix.lower() not in (".png", ".svg"):
        raise ConvatlasError(f"{str(path)!r} is refused: a sheet is written as .png or .svg")
    kind = path.suffix.lower()[1:]
    with whole_write(path) as beside, defaults(), warnings.catch_warnings():
        # a class name in signs that the font lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(beside, format=kind, dpi=DPI, metadata={"Date": None} if kind == "svg" else None)
