"""Maps as they are drawn in papers: boxes whose face is the map and whose thickness its channels, with words above and
below.
"""

from math import sqrt
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..draw.plots import COLORS
from .anatomy import Unit
from .chains import Size, steps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# height of the largest map in units; how far the top leans right, and up, as shares of it
FACE, SLANT, RISE = 104, 0.26, 0.15
THICK = 0.55                            # units per square root of a channel
TALL = 1.1                              # of a vector: units per square root of an entry
SHOWN = 3                               # of a block that repeats
APART = 2.5                             # units between these
LINE, LETTER = 11.5, 5.1                # of words at size 8.5
LAYERS = {"conv": "#8fa3ba", "depthwise": "#b3a3cc", "up": "#7fb8a6", "pool": "#d5dae0", "fc": "#5f6f82",
          "excite": "#d9b36c", "other": "#d5dae0"}      # kind of a layer -> colour


class Slab(NamedTuple):
    """The measures of one map in units: height and thickness of one box, and how many stand behind one another."""

    high: float
    thick: float
    boxes: int
    flat: bool          # a vector

    @property
    def wide(self) -> float:
        """From the left edge of the first box to the right one of the last."""
        return self.boxes * self.thick + (self.boxes - 1) * APART + (0 if self.flat else SLANT * self.high)

    @property
    def top(self) -> float:
        """Over the ground."""
        return self.high * (1 if self.flat else 1 + RISE)


def slab(channels: int, size: Size, repeat: int, largest: int) -> Slab:
    """Sides by their square roots, so that 7 pixels can be seen beside 224, and 3 channels beside 2048."""
    if size is None:
        return Slab(max(TALL * sqrt(channels), 5), 7, 1, True)
    return Slab(max(FACE * sqrt(max(size) / largest), 5), max(THICK * sqrt(channels), 2), min(repeat, SHOWN), False)


def draw_slab(axes: "Axes", x: float, ground: float, box: Slab, color: str) -> None:
    """The boxes with their lower left corner at (x, ground); y points down."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Polygon

    def tone(share: float) -> tuple[float, ...]:
        return tuple(1 - share * (1 - part) for part in to_rgb(color))

    def face(corners: list[tuple[float, float]], share: float) -> None:
        axes.add_patch(Polygon(corners, facecolor=tone(share), edgecolor=COLORS["paper"], linewidth=0.7,
                               joinstyle="round", zorder=2))

    lean, rise = (0.0, 0.0) if box.flat else (SLANT * box.high, RISE * box.high)
    for number in range(box.boxes):
        left = x + number * (box.thick + APART)
        right, top = left + box.thick, ground - box.high
        face([(right, ground), (right + lean, ground - rise), (right + lean, top - rise), (right, top)], 0.55)
        face([(left, top), (left + lean, top - rise), (right + lean, top - rise), (right, top)], 0.8)
        face([(left, ground), (right, ground), (right, top), (left, top)], 1.0)


class Words(NamedTuple):
    """One line below a map."""

    text: str
    color: Literal["ink", "soft"]
    bold: bool = False


def words_below(unit: Unit, letter: str) -> list[Words]:
    """Words below a map: its layer; of a block its letter and how often it repeats."""
    repeat = f"×{unit.repeat}" if unit.repeat > 1 else ""
    stride = [Words(f"stride {unit.stride}", "soft")] if unit.stride > 1 else []
    if unit.is_block:
        return [Words(f"{letter} {repeat}".strip(), "ink", True), *stride]
    step = next(steps(unit.last))
    first, *rest = _split(step.text)
    return [Words(first, "ink"), *(Words(line, "ink") for line in rest),
            *([Words(repeat, "ink", True)] if repeat else []), *stride,
            *(Words(line, "soft") for line in _notes((*step.before, *step.after)))]


def _split(text: str) -> list[str]:
    """A layer's name in lines: 'fully connected' and 'conv 3×3, 2 groups' in two."""
    if "," in text:
        return text.split(", ")
    return text.split(" ", 1) if len(text) > 12 else [text]


def _notes(notes: tuple[str, ...]) -> list[str]:
    """Two short ones share a line."""
    lines: list[str] = []
    for note in notes:
        if lines and len(lines[-1]) + len(note) < 9:
            lines[-1] += f" {note}"
        else:
            lines.append(note)
    return lines


def words_above(channels: int, size: Size) -> list[str]:
    """The size of a map in words, from the lower line up."""
    return [str(channels)] if size is None else [f"{size[0]}×{size[1]}", str(channels)]


def width_of(lines: list[str]) -> float:
    """Units that the longest of some lines takes."""
    return LETTER * max(map(len, lines), default=0)
