"""A network drawn as in its paper: the maps to scale from left to right, repeats folded, and each kind of block once in
detail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log2
from typing import TYPE_CHECKING, Any

from ..draw.canvas import MARGIN, below, canvas, least_width, write
from ..draw.plots import COLORS
from .anatomy import Anatomy
from .chains import kind_of, steps
from .curves import PALETTE
from .panels import Panel, arrow, draw_panel, panels
from .slabs import LAYERS, LINE, Slab, Words, draw_slab, slab, width_of, words_above, words_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 1180             # units of a row of maps before another one is begun
GAP = 15                # between two maps and their words
OVER = 48               # above the largest map: its size, and brackets
BETWEEN = 26            # rows, and panels
ACROSS = 90             # least length of the way on which a map is handed across
SCALE = "The edges of a map grow with the square roots of its rows, columns and channels, which stand above it."


@dataclass(frozen=True)
class Spot:
    """A map and where it stands: its left edge, the width of its column, and the ground."""

    box: Slab
    color: str
    above: list[str]
    under: list[Words]
    column: float
    x: float = 0.0
    ground: float = 0.0

    @property
    def middle(self) -> float:
        """Of its column."""
        return self.x + self.column / 2

    @property
    def left(self) -> float:
        """The left end of its boxes."""
        return self.middle - self.box.wide / 2

    @property
    def right(self) -> float:
        """The right end of its boxes."""
        return self.middle + self.box.wide / 2

    @property
    def ceiling(self) -> float:
        """Over the words above."""
        return self.ground - self.box.top - 6 - LINE * len(self.above)

    @property
    def floor(self) -> float:
        """Under the words below."""
        return self.ground + 8 + LINE * len(self.under)


def draw(found: Anatomy, title: str = "") -> "Figure":
    """The network in rows, or as a U where its head hands maps across; below, what is inside each kind of block."""
    kinds = list(dict.fromkeys(kind_of(unit.last) for unit in found.units if unit.is_block))
    letters = {kind: chr(ord("A") + i) if i < 26 else f"A{i}" for i, kind in enumerate(kinds)}
    spots = _spots(found, letters)
    placed, wide, high = _as_u(spots, found) if found.links else _in_rows(spots)
    inside = panels(found, letters, {kind: PALETTE[i % (len(PALETTE) - 1)] for i, kind in enumerate(kinds)})
    rows = _shelves(inside, WIDE)
    lines = [f"{_short(found.params)} parameters, {_short(found.macs)} multiply-adds", SCALE]
    start, title = below(lines), title or found.name
    wide = max(wide, least_width(title, lines), *(2 * MARGIN + sum(panel.wide + BETWEEN for panel in row) - BETWEEN
                                                  for row in rows))
    total = start + high + sum(max(panel.high for panel in row) + BETWEEN for row in rows)
    with canvas(wide, total, title, lines) as (figure, axes):
        _overview(axes, [_moved(spot, spot.x, spot.ground + start) for spot in placed], found)
        y = start + high
        for row in rows:
            x = float(MARGIN)
            for panel in row:
                draw_panel(axes, x, y, panel)
                x += panel.wide + BETWEEN
            y += max(panel.high for panel in row) + BETWEEN
    return figure


def _short(number: int) -> str:
    """60965224 as '61 M'."""
    unit, sign = next(((unit, sign) for unit, sign in ((1e9, " G"), (1e6, " M"), (1e3, " k")) if number >= unit),
                      (1, ""))
    return f"{number / unit:.3g}{sign}"


def _spots(found: Anatomy, letters: dict[tuple[str, ...], str]) -> list[Spot]:
    """The input and every unit, not placed yet."""
    largest = max([*found.size, *(max(unit.size) for unit in found.units if unit.size is not None)])
    kinds = list(letters)
    picture = slab(found.in_chans, found.size, 1, largest)
    spots = [_spot(picture, LAYERS["other"], words_above(found.in_chans, found.size), [Words("input", "ink")])]
    for unit in found.units:
        kind = kind_of(unit.last)
        color = (PALETTE[kinds.index(kind) % (len(PALETTE) - 1)] if unit.is_block
                 else LAYERS[next(steps(unit.last)).kind])
        box = slab(unit.channels, unit.size, unit.repeat, largest)
        spots.append(_spot(box, color, words_above(unit.channels, unit.size), words_below(unit, letters.get(kind, ""))))
    return spots


def _spot(box: Slab, color: str, above: list[str], under: list[Words]) -> Spot:
    return Spot(box, color, above, under, max(box.wide, width_of(above), width_of([line.text for line in under])) + GAP)


def _moved(spot: Spot, x: float, ground: float) -> Spot:
    return Spot(spot.box, spot.color, spot.above, spot.under, spot.column, x, ground)


def _in_rows(spots: Sequence[Spot]) -> tuple[list[Spot], float, float]:
    """Rows of about one width, as many as are needed; and the width and height of all."""
    total = sum(spot.column for spot in spots)
    count = -(-int(total) // WIDE)
    rows: list[list[Spot]] = [[]]
    filled = 0.0
    for spot in spots:
        if rows[-1] and filled + spot.column / 2 > total / count * len(rows):
            rows.append([])
        rows[-1].append(spot)
        filled += spot.column
    placed: list[Spot] = []
    y = 0.0
    for row in rows:
        y += max(spot.box.top for spot in row) + OVER
        x = float(MARGIN)
        for spot in row:
            placed.append(_moved(spot, x, y))
            x += spot.column
        y += LINE * max(len(spot.under) for spot in row) + BETWEEN
    return placed, max(spot.x + spot.column for spot in placed) + MARGIN, y


def _as_u(spots: Sequence[Spot], found: Anatomy) -> tuple[list[Spot], float, float]:
    """Each map on the level of its resolution, and where the level changes straight below or above the one before."""
    sizes = [max(size) for size in (found.size, *(unit.size for unit in found.units)) if size is not None]
    levels = [0]
    for before, after in pairwise(sizes):
        levels.append(levels[-1] + round(log2(before / after)))
    grounds: dict[int, float] = {}
    y = 0.0
    for level in sorted(set(levels)):
        here = [spot for spot, at in zip(spots, levels, strict=True) if at == level]
        grounds[level] = y = y + max(spot.box.top for spot in here) + OVER
        y += LINE * max(len(spot.under) for spot in here)
    placed = [_moved(spots[0], MARGIN, grounds[0])]
    ends = {0: MARGIN + spots[0].column}                # where the level is still free
    for spot, before, level in zip(spots[1:], levels, levels[1:], strict=False):
        x = ends[level] if before == level else placed[-1].middle - spot.column / 2
        if level < before:
            x = max(x, ends.get(level, 0) + ACROSS)     # what is handed across stands at the left
        placed.append(_moved(spot, x, grounds[level]))
        ends[level] = x + spot.column
    return placed, max(ends.values()) + MARGIN, y + BETWEEN


def _shelves(inside: Sequence[Panel], wide: float) -> list[list[Panel]]:
    """The panels in rows of at most that width."""
    rows: list[list[Panel]] = []
    for panel in inside:
        if rows and sum(each.wide + BETWEEN for each in rows[-1]) + panel.wide <= wide:
            rows[-1].append(panel)
        else:
            rows.append([panel])
    return rows


def _overview(axes: "Axes", spots: Sequence[Spot], found: Anatomy) -> None:
    for spot in spots:
        draw_slab(axes, spot.left, spot.ground, spot.box, spot.color)
        for i, text in enumerate(spot.above):
            write(axes, spot.middle, spot.ground - spot.box.top - 5 - LINE * i, text, "soft" if i < len(spot.above) - 1
                  else "ink", 8.5, ha="center", weight="normal" if i < len(spot.above) - 1 else "bold")
        for i, line in enumerate(spot.under):
            big: dict[str, Any] = {"fontsize": 10.5 if line.bold else 8.5,
                                   "fontweight": "bold" if line.bold else "normal"}
            axes.text(spot.middle, spot.ground + 6 + LINE * i, line.text, ha="center", va="top", parse_math=False,
                      color=spot.color if line.bold and spot.color in PALETTE else COLORS[line.color], **big)
    for before, after in pairwise(spots):
        _onward(axes, before, after)
    for link in found.links:
        source, target = spots[link.source + 1], spots[link.target + 1]
        between = [spot for spot in spots[link.source + 2 : link.target + 1] if spot.ground == source.ground]
        _across(axes, source, target, between, link.through)
    for number in found.sides:
        spot = spots[number + 1]
        arrow(axes, (spot.middle, spot.ceiling + 3), (spot.middle, spot.ceiling - 13), COLORS["wrong"])
        write(axes, spot.middle, spot.ceiling - 17, "side classifier", "wrong", 8, ha="center")
    for first, last, times in found.groups:
        _bracket(axes, spots[first + 1], spots[last + 1], times)


def _onward(axes: "Axes", before: Spot, after: Spot) -> None:
    """The way from one map to the next: along the ground, to the next row, or straight down or up to another level."""
    if before.ground == after.ground:
        y = before.ground - min(before.box.high, after.box.high, 14) / 2
        arrow(axes, (before.middle, y), (after.left - 2, y))
    elif before.x > after.x and abs(before.middle - after.middle) > 1:
        for x, y in ((before.x + before.column - 6, before.ground - 7), (after.x - 14, after.ground - 7)):
            arrow(axes, (x, y), (x + 16, y))
    elif before.ground < after.ground:
        arrow(axes, (before.middle, before.floor), (after.middle, after.ceiling))
    else:
        y = before.ceiling
        if after.middle > before.right:         # round the corner
            y = before.ground - min(before.box.high, 14) / 2
            axes.plot([before.right, after.middle, after.middle], [y, y, y - 1], color=COLORS["soft"],
                      linewidth=1, zorder=1)
        arrow(axes, (after.middle, y), (after.middle, after.floor))


def _across(axes: "Axes", source: Spot, target: Spot, between: Sequence[Spot], through: str) -> None:
    """A map that is handed on: straight to the other side, or below what stands between."""
    end = target.ground - min(source.box.high, target.box.high) / 2
    style: dict[str, Any] = {"color": COLORS["train"], "linewidth": 2.2, "solid_joinstyle": "round", "zorder": 1}
    if between:
        y, bend = max(spot.floor for spot in (source, *between)) + 6, target.x - 8
        axes.plot([source.middle, source.middle, bend, bend], [source.floor, y, y, end], **style)
        middle = (between[-1].x + between[-1].column + bend) / 2
    else:
        y, bend = end, target.left - 16
        axes.plot([source.right + 6, bend], [y, y], **style)
        middle = (source.right + target.left) / 2
    arrow(axes, (bend, end), (target.left - 6, end), COLORS["train"], wide=True)
    words = through or ("copied" if source.box.high == target.box.high else "copied and cropped")
    write(axes, middle, y - 6, words, "soft", 8.5, ha="center")


def _bracket(axes: "Axes", first: Spot, last: Spot, times: int) -> None:
    """Over units that follow one another several times."""
    y = min(first.ceiling, last.ceiling) - 2
    left, right = first.x + 3, last.x + last.column - 3
    axes.plot([left, left, right, right], [y + 5, y, y, y + 5], color=COLORS["soft"], linewidth=1)
    write(axes, (left + right) / 2, y - 4, f"×{times}", "ink", 10.5, ha="center", weight="bold")
