"""Graphs: figures of a size in units, axes without a box, and accuracy against cost as papers on scaling draw it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from .numbers import tick
from .plots import COLORS, UNITS, defaults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, HIGH = 620, 340           # units of a picture with one graph
# Okabe and Ito's, darker, on light paper
PALETTE = ("#2460c4", "#d9541e", "#008a63", "#b0569a", "#b8860b", "#3aa0d8", "#1c232c")


@contextmanager
def figure(wide: float = WIDE, high: float = HIGH) -> Iterator["Figure"]:
    """An empty figure of that many units (CSS pixels), while matplotlib is as it ships."""
    with defaults():
        from matplotlib.figure import Figure

        yield Figure(figsize=(wide / UNITS, high / UNITS), dpi=UNITS, facecolor=COLORS["paper"])


def axes_of(drawn: "Figure", left: float, bottom: float, wide: float, high: float) -> "Axes":
    """Axes at that place, in units from the lower left, without a box and with a pale grid."""
    width, height = (float(each) * UNITS for each in drawn.get_size_inches())
    axes = drawn.add_axes((left / width, bottom / height, wide / width, high / height), facecolor="none")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(COLORS["line"])
    axes.tick_params(colors=COLORS["soft"], labelsize=10, length=0)
    axes.grid(color=COLORS["line"], linewidth=0.7)
    axes.set_axisbelow(True)
    return axes


def titled(axes: "Axes", title: str, x: str = "", y: str = "") -> None:
    """The title above axes, and the names of both."""
    axes.set_title(title, loc="left", fontsize=12, color=COLORS["ink"], pad=12)
    axes.set_xlabel(x, fontsize=10.5, color=COLORS["soft"])
    axes.set_ylabel(y, fontsize=10.5, color=COLORS["soft"])


class Mark(NamedTuple):
    """One network: its cost, its accuracies in per cent from each seed, and what is written beside it."""

    cost: float
    accuracies: Sequence[float]
    label: str = ""

    @property
    def mean(self) -> float:
        """Of the accuracies."""
        return sum(self.accuracies) / len(self.accuracies)


def tradeoff(lines: Mapping[str, Sequence[Mark]], title: str, *,
             names: tuple[str, str] = ("multiply-adds", "right, %")) -> "Figure":
    """Accuracy against cost, a line for each way to scale: a dot at the mean, a bar from the least to the most seed.

    The last line is drawn heavier; lines may share their first network.
    """
    with figure(WIDE + 40, HIGH + 60) as drawn:
        axes = axes_of(drawn, 66, 56, WIDE - 130, HIGH - 60)
        axes.set_xscale("log")
        axes.tick_params(which="both", labelcolor=COLORS["soft"], length=0)
        ends = []
        for i, (name, marks) in enumerate(lines.items()):
            color, last = PALETTE[i % len(PALETTE)], i == len(lines) - 1
            shift = 1.006 ** (i - (len(lines) - 1) / 2)         # bars beside each other, not on each other
            axes.plot([mark.cost for mark in marks], [mark.mean for mark in marks], color=color, marker="o",
                      linewidth=2.4 if last else 1.4, markersize=7 if last else 5, zorder=3 if last else 2)
            for mark in marks:
                axes.plot([mark.cost * shift] * 2, [min(mark.accuracies), max(mark.accuracies)], color=color,
                          linewidth=1, alpha=0.6)
                axes.annotate(mark.label, (mark.cost, mark.mean), xytext=(6, -11), textcoords="offset points",
                              fontsize=8.5, color=color)
            ends.append((marks[-1].mean, name, color))
        below = float("-inf")
        low, high = axes.get_ylim()
        for mean, name, color in sorted(ends):
            below = max((mean - low) / (high - low), below + 0.062)
            axes.annotate(name, (1.02, below), xycoords="axes fraction", fontsize=10.5, color=color, va="center")
        _plain_costs(axes)
        titled(axes, title, *names)
        return drawn


def _plain_costs(axes: "Axes") -> None:
    """Costs below a logarithmic axis as 1M, 1.5M, 2M, more of them where it spans less than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 7)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
