"""Panels: the inside of a kind of block, its layers from top to bottom, paths beside one another, and where these are
joined again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..draw.plots import COLORS
from .anatomy import Anatomy, Unit
from .chains import Chain, Fork, Step, kind_of, steps
from .slabs import LAYERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# units: width of a layer, height of a line in it, room around these, room between layers
BOX, LINE, PAD, GAP = 116, 11.5, 5, 13
# width of a way around, height of a sign where paths meet, room between paths
ASIDE, JOIN, BETWEEN = 24, 16, 12
HEAD, LETTER = 30, 4.9                      # height of a panel's title, units per character below it
VALUES = 4                                  # numbers of channels that are written out


@dataclass(frozen=True)
class Panel:
    """One kind of block, ready to be drawn; `widths` are the channels of its layers wherever it stands, by the layer's
    name.
    """

    letter: str
    color: str
    what: str
    chain: Chain
    widths: Mapping[str, str]
    notes: tuple[str, ...]
    wide: float
    high: float


def panels(found: Anatomy, letters: Mapping[tuple[str, ...], str],
           colors: Mapping[tuple[str, ...], str]) -> list[Panel]:
    """A panel for each kind of block, which shows the last block of the longest run."""
    made = []
    for kind, letter in letters.items():
        units = [unit for unit in found.units if unit.is_block and kind_of(unit.last) == kind]
        shown = max(units, key=lambda unit: unit.repeat).last
        columns = zip(*(steps(unit.last) for unit in units), strict=True)
        widths = {step.module: _values([each.channels for each in column])
                  for step, column in zip(steps(shown), columns, strict=True)}
        what, notes, (wide, high) = _what(shown), _notes(units, shown), _measure(shown)
        least = max(LETTER * max(map(len, notes), default=0), 6.3 * len(what) + 24)
        high += HEAD + 2 * GAP + LINE * len(notes) + 4
        made.append(Panel(letter, colors[kind], what, shown, widths, notes, max(wide, least), high))
    return made


def _values(numbers: Sequence[int]) -> str:
    different = list(dict.fromkeys(numbers))
    if len(different) <= VALUES:
        return " · ".join(map(str, different))
    return f"{min(different)} … {max(different)}"


def _what(chain: Chain) -> str:
    """A name for a block of this shape."""
    forks = [part for part in chain if isinstance(part, Fork)]
    if not forks:
        return "layers"
    fork = forks[0]
    if fork.join == "concat":
        return "dense layer" if fork.own == 1 and fork.paths[1:] == ((),) else "parallel paths"
    if fork.join == "multiply":
        return "gated"
    return "residual block" if fork.own == 1 else "branches, added"


def _notes(units: Sequence[Unit], shown: Chain) -> tuple[str, ...]:
    """Differences of the first block of a run from the one that is shown."""
    strides = sorted({unit.stride for unit in units})
    differs = ([f"stride {' or '.join(map(str, strides))}"]
               if strides not in ([1], [max(step.stride for step in steps(shown))]) else [])
    ways = sorted({_way(chain) for unit in units for chain in (unit.first, unit.last)} - {_way(shown)})
    differs += [" or ".join(ways)] if ways else []
    return tuple(f"{'first of a run: ' if i == 0 else ''}{words}" for i, words in enumerate(differs))


def _way(chain: Chain) -> str:
    """The kind of a residual block's shortcut."""
    fork = next((part for part in chain
                 if isinstance(part, Fork) and part.join == "add" and part.own < len(part.paths)), None)
    if fork is None:
        return "no shortcut"
    way = [part.text for path in fork.paths[fork.own :] for part in path if isinstance(part, Step) and part.text]
    return f"shortcut {', '.join(way)}" if way else "a plain shortcut"


# -- measures: (width, height) in units --------------------------------------------------------------------------------

def _measure(chain: Chain) -> tuple[float, float]:
    sizes = [_size_of(part) for part in chain]
    return max((wide for wide, _ in sizes), default=0), sum(high for _, high in sizes) + GAP * max(len(sizes) - 1, 0)


def _size_of(part: Step | Fork) -> tuple[float, float]:
    if isinstance(part, Step):
        return BOX, LINE * len(_lines(part, "0")) + 2 * PAD
    sizes = [_measure(path) for path in part.paths]
    wide = sum(max(width, ASIDE) for width, _ in sizes) + BETWEEN * (len(sizes) - 1)
    if not part.paths[-1]:
        wide += ASIDE + BETWEEN         # as much on the other side, so that the layers stay in the middle
    return wide, max(high for _, high in sizes) + 2 * GAP + JOIN


def _lines(step: Step, widths: str) -> list[tuple[str, str, bool]]:
    """(words, colour, bold) of a layer's box."""
    if not step.text:
        return [(" ".join(step.after), "soft", False)]
    main, *more = step.text.split(", ")
    more += [f"stride {step.stride}"] if step.stride > 1 else []
    lines = [(" ".join(step.before), "soft", False), (main, "ink", True), (", ".join(more), "ink", False),
             (widths, "ink", False), (" ".join(step.after), "soft", False)]
    return [line for line in lines if line[0]]


# -- drawing; (x, y) is the middle of the upper edge -------------------------------------------------------------------

def draw_panel(axes: "Axes", x: float, y: float, panel: Panel) -> None:
    """The panel with its upper left corner at (x, y)."""
    axes.text(x, y, panel.letter, fontsize=15, fontweight="bold", color=panel.color, va="top")
    axes.text(x + 9 + 11 * len(panel.letter), y + 3, panel.what, fontsize=10.5, color=COLORS["ink"], va="top")
    middle = x + _measure(panel.chain)[0] / 2
    _down(axes, middle, y + HEAD, y + HEAD + GAP, panel.chain[0])
    end = _draw_chain(axes, middle, y + HEAD + GAP, panel.chain, panel)
    arrow(axes, (middle, end), (middle, end + GAP))
    for i, note in enumerate(panel.notes):
        axes.text(x, end + GAP + 5 + LINE * i, note, fontsize=8, color=COLORS["soft"], va="top", parse_math=False)


def _draw_chain(axes: "Axes", x: float, y: float, chain: Chain, panel: Panel) -> float:
    """The parts below one another; the y at which they end."""
    for number, part in enumerate(chain):
        if number:
            _down(axes, x, y, y + GAP, part)
            y += GAP
        if isinstance(part, Fork):
            _draw_fork(axes, x, y, part, panel)
        else:
            _draw_step(axes, x, y, part, panel)
        y += _size_of(part)[1]
    return y


def _draw_step(axes: "Axes", x: float, y: float, step: Step, panel: Panel) -> None:
    from matplotlib.patches import FancyBboxPatch

    lines, (wide, high) = _lines(step, panel.widths.get(step.module, str(step.channels))), _size_of(step)
    if step.text:
        style: dict[str, Any] = {"facecolor": LAYERS[step.kind], "edgecolor": LAYERS[step.kind], "alpha": 0.38}
    else:
        style, wide = {"facecolor": COLORS["paper"], "edgecolor": COLORS["line"]}, 8 + 6 * len(lines[0][0])
    axes.add_patch(FancyBboxPatch((x - wide / 2 + 3, y + 3), wide - 6, high - 6, boxstyle="round,pad=3,rounding_size=4",
                                  linewidth=0.8, **style))
    for i, (words, color, bold) in enumerate(lines):
        axes.text(x, y + PAD + LINE * (i + 0.5), words, ha="center", va="center", fontsize=8.8 if bold else 8,
                  parse_math=False, color=COLORS[color], fontweight="bold" if bold else "normal")


def _draw_fork(axes: "Axes", x: float, y: float, fork: Fork, panel: Panel) -> None:
    """Paths from (x, y) side by side to the sign that joins them."""
    wide, high = _size_of(fork)
    around = not fork.paths[-1]
    left = x - wide / 2 + (ASIDE + BETWEEN if around else 0)
    bottom = y + high - JOIN
    centres = []
    for path in fork.paths:
        width = max(_measure(path)[0], ASIDE)
        centres.append(left + width / 2)
        left += width + BETWEEN
    _line(axes, [(min(*centres, x), y), (max(*centres, x), y)])
    for center, path in zip(centres, fork.paths, strict=True):
        end = y
        if path:
            _down(axes, center, y, y + GAP, path[0])
            end = _draw_chain(axes, center, y + GAP, path, panel)
        if fork.join == "concat":
            arrow(axes, (center, end), (center, bottom))
        else:
            _line(axes, [(center, end), (center, bottom + JOIN / 2)])
    _draw_join(axes, x, bottom, centres, fork)


def _draw_join(axes: "Axes", x: float, y: float, centres: Sequence[float], fork: Fork) -> None:
    from matplotlib.patches import Circle, FancyBboxPatch

    if fork.join != "concat":
        for side in (min(centres), max(centres)):
            if abs(side - x) > JOIN / 2:
                arrow(axes, (side, y + JOIN / 2), (x + (JOIN / 2 if side > x else -JOIN / 2), y + JOIN / 2))
        axes.add_patch(Circle((x, y + JOIN / 2), JOIN / 2, facecolor=COLORS["paper"], edgecolor=COLORS["ink"],
                              linewidth=1, zorder=3))
        axes.text(x, y + JOIN / 2, "+" if fork.join == "add" else "×", ha="center", va="center", fontsize=11,
                  color=COLORS["ink"], zorder=4)
        return
    left, right = min(*centres, x - 34) - 8, max(*centres, x + 34) + 8
    axes.add_patch(FancyBboxPatch((left + 3, y + 3), right - left - 6, JOIN - 6, boxstyle="round,pad=3,rounding_size=4",
                                  linewidth=0.8, facecolor=COLORS["paper"], edgecolor=COLORS["ink"], zorder=3))
    axes.text((left + right) / 2, y + JOIN / 2, "concatenate", ha="center", va="center", fontsize=8,
              color=COLORS["ink"], zorder=4)


def _down(axes: "Axes", x: float, start: float, end: float, part: Step | Fork) -> None:
    """The way to a part: an arrow to a layer, a line to where paths begin."""
    if isinstance(part, Fork):
        _line(axes, [(x, start), (x, end)])
    else:
        arrow(axes, (x, start), (x, end))


def _line(axes: "Axes", points: Sequence[tuple[float, float]]) -> None:
    axes.plot(*zip(*points, strict=True), color=COLORS["soft"], linewidth=1, solid_capstyle="projecting", zorder=1)


def arrow(axes: "Axes", start: tuple[float, float], end: tuple[float, float], color: str = COLORS["soft"],
          wide: bool = False) -> None:
    """From one point to another; `wide` for a map that is handed on."""
    from matplotlib.patches import FancyArrowPatch

    head = "-|>,head_length=5,head_width=3" if wide else "-|>,head_length=3,head_width=1.8"
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle=head, color=color, linewidth=2.2 if wide else 1, shrinkA=0,
                                   shrinkB=0, mutation_scale=1, zorder=1))
