"""Numbers in cells, as the lecture draws maps and kernels."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from torch import Tensor

from .plots import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELL = 30       # units of a side
EMPTY = "#eceff3"


def cells(axes: "Axes", values: Tensor, x: float, y: float, *, marked: Collection[tuple[int, int]] = (),
          faint: Collection[tuple[int, int]] = (), shades: Tensor | None = None) -> None:
    """(h, w) as a grid from the upper left corner (x, y): `marked` cells in colour, `faint` ones grey; `shades` from 0
    to 1 colour all.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    full = to_rgb(COLORS["accent"])
    for i, row in enumerate(values.tolist()):
        for j, value in enumerate(row):
            corner, middle = (x + CELL * j, y + CELL * i), (x + CELL * (j + 0.5), y + CELL * (i + 0.5))
            ground = to_rgb(EMPTY if (i, j) in faint else COLORS["paper"])
            strength = 1.0 if (i, j) in marked else 0.0 if shades is None else float(shades[i, j])
            mixed = tuple(strength * over + (1 - strength) * under for over, under in zip(full, ground, strict=True))
            axes.add_patch(Rectangle(corner, CELL, CELL, facecolor=mixed, edgecolor=COLORS["train"], linewidth=0.8))
            text = f"{value:.4g}".replace("-", "−")
            color = "soft" if (i, j) in faint else "paper" if strength > 0.7 else "ink"
            axes.text(*middle, text, ha="center", va="center_baseline", fontsize=11 if len(text) < 4 else 8.5,
                      color=COLORS[color])
