"""The rule as a picture: what networks cost against φ, and by how much each dimension's rounding departs from it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..draw.plots import COLORS
from .compound import Coefficients, Growth, Point
from .published import Published

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#        field of Growth, label, colour, dashes
LINES = (("depth", "depth", "#b08900", "--"), ("width", "width", "#2f8f5b", "-."),
         ("resolution", "image size", "#8a4fbf", ":"), ("together", "all three", COLORS["accent"], "-"))


def draw(coefficients: Coefficients, points: Sequence[Point], grown: Sequence[Growth],
         published: Sequence[Published] = ()) -> "Figure":
    """Left the factor on the multiply-adds, by the rule and as counted; right the share by which each dimension alone,
    and all together, cost more than the rule has it. `published` networks stand at the φ that fits them best.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    phis = [each.phi for each in points]
    ends = [min(phis), max([*phis, *(each.phi for each in published)])]
    ramp = [ends[0] + (ends[1] - ends[0]) * i / 50 for i in range(51)]
    left.plot(ramp, [coefficients.product**phi for phi in ramp], color=COLORS["train"], linewidth=1.4,
              label=f"the rule: {coefficients.product:.3g} to the power of φ")
    left.plot(phis, [each.together[1] for each in grown], "o-", color=COLORS["accent"], linewidth=1.4, markersize=5,
              label="as counted, rounded")
    if published:
        heights = [each.growth for each in published]
        left.plot([each.phi for each in published], heights, "D", color=COLORS["wrong"], markersize=5,
                  label="as published, at the φ that fits best")
        for each, height in zip(published, heights, strict=True):
            left.annotate(each.name.removeprefix("efficientnet_").upper(), (each.phi, height), (-6, 4), ha="right",
                          textcoords="offset points", fontsize=8.5, color=COLORS["wrong"])
    left.set_yscale("log", base=2)
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    left.yaxis.set_minor_formatter(NullFormatter())
    left.set_title("Multiply-adds", loc="left", fontsize=11, color=COLORS["ink"])
    for name, label, color, dashes in LINES:
        shares = [100 * (counted / rule - 1) for rule, counted in (getattr(each, name) for each in grown)]
        right.plot(phis, shares, dashes, marker="o", color=color, linewidth=1.4, markersize=3.5, label=label)
    right.axhline(0, color=COLORS["ink"], linewidth=0.9)
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.0f} %" if value else "0"))
    right.set_title("More than the rule has it, by rounding", loc="left", fontsize=11, color=COLORS["ink"])
    for axes in (left, right):
        _plain(axes)
    return figure


def _plain(axes: "Axes") -> None:
    axes.set_xlabel("φ", fontsize=10.5, color=COLORS["soft"])
    axes.grid(color=COLORS["line"], linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, which="both", labelsize=9, labelcolor=COLORS["soft"])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.legend(frameon=False, fontsize=9)
