"""Comparisons of speed as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .comparison import Comparison
from .sides import ENGINES, LIBRARIES, OURS, PLAIN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKS = {"timm": ("o", "#c4501c"), "torchvision": ("s", "#c4501c"), PLAIN: ("o", "#7b8693"),
         "compile": ("^", "#66707c"), "onnxruntime": ("D", "#2460c4"), "openvino": ("v", "#2460c4")}    # marker, colour
INK, LINE = "#1c232c", "#dde2e8"


def draw(compared: Sequence[Comparison]) -> "Figure":
    """Speed-ups over each contestant: one line per network and batch, a logarithmic axis, equal speed marked."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure = Figure(figsize=(7.2, 1.3 + 0.28 * max(1, len(compared))), layout="constrained")
    axes = figure.add_subplot()
    shown = [name for name in (*LIBRARIES, PLAIN, *ENGINES) if any(each.side(name) for each in compared)]
    for name in shown:
        points = [(side.ratio, row) for row, each in enumerate(compared) if (side := each.side(name)) and side.ratio]
        marker, color = MARKS[name]
        axes.scatter([x for x, _ in points], [y for _, y in points], marker=marker, s=28, color=color,
                     facecolors="none" if name in ("torchvision", "openvino") else color, label=name, zorder=3)
    axes.axvline(1, color=INK, linewidth=0.9, zorder=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    ratios = [side.ratio for each in compared for side in each.sides if side.ratio and side.name != OURS]
    low, high = min(ratios, default=1) / 1.2, max(ratios, default=1) * 1.2
    axes.set_xticks([tick for tick in (0.1, 0.25, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 12, 16) if low <= tick <= high])
    axes.set_yticks(range(len(compared)), [f"{each.model}, batch {each.batch}" for each in compared])
    axes.invert_yaxis()
    axes.grid(axis="both", color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("times faster as deployed here than …", fontsize=9.5, color=INK)
    if shown:
        figure.legend(loc="outside upper center", ncols=len(shown), frameon=False, fontsize=9)
    return figure
