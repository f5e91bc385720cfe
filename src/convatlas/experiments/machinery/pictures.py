"""Pictures of results, in the forms that papers draw: curves, dots per seed, one figure against another, intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from ...draw.graphs import HIGH as HIGH
from ...draw.graphs import WIDE
from ...draw.graphs import axes_of as axes_of
from ...draw.graphs import figure as figure
from ...draw.graphs import titled as titled
from ...draw.plots import COLORS, UNITS, defaults
from ...inspect.curves import PALETTE
from .plan import Results
from .verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LETTER = 6.2                    # units per character of a label, about
ROW = 26                        # units between two rows of dots
COLUMNS = {"train_top1": "training error, %", "val_top1": "test error, %", "train_loss": "training loss",
           "val_loss": "test loss", "val_iou": "test intersection over union, %"}


def value(row: Mapping[str, float], column: str) -> float:
    """A column of a row as it is drawn: accuracies as errors in per cent, shares in per cent."""
    if column.endswith("_top1"):
        return 100 * (1 - row[column])
    return 100 * row[column] if column.endswith("_iou") else row[column]


def curves(results: Results, columns: Sequence[str] = ("train_top1", "val_top1"), *, title: str = "",
           arms: Sequence[str] | None = None, log: bool = False) -> "Figure":
    """A graph per column: the mean over the seeds of each arm after each epoch, in a band from the least to the most.
    """
    shown = list(arms or results.arms)
    margin, left, gap = 40 + LETTER * max(map(len, shown)), 62, 62
    each = 300
    with figure(left + len(columns) * (each + gap) + margin - gap, HIGH) as drawn:
        for number, column in enumerate(columns):
            axes = axes_of(drawn, left + number * (each + gap), 52, each, HIGH - 100)
            ends = []
            for i, arm in enumerate(shown):
                lines = [[value(row, column) for row in by_arm[arm]] for by_arm in results.rows.values()
                         if arm in by_arm]
                length = min(map(len, lines))
                epochs = [row["epoch"] for row in next(iter(results.rows.values()))[arm]][:length]
                at = [sorted(line[k] for line in lines) for k in range(length)]
                middle, color = [sum(values) / len(values) for values in at], PALETTE[i % len(PALETTE)]
                axes.fill_between(epochs, [values[0] for values in at], [values[-1] for values in at], color=color,
                                  alpha=0.15, linewidth=0)
                axes.plot(epochs, middle, color=color, linewidth=1.6)
                ends.append((middle[-1], arm, color))
            if log:
                axes.set_yscale("log")
            titled(axes, title if number == 0 else "", "epoch", COLUMNS.get(column, column))
            if number == len(columns) - 1:
                label_ends(axes, ends)
        return drawn


def label_ends(axes: "Axes", ends: Sequence[tuple[float, str, str]]) -> None:
    """The name of each line right of its end, moved apart where two would overlap."""
    low, high = axes.get_ylim()
    log = axes.get_yscale() == "log"
    span = (math.log(high) - math.log(low)) if log else high - low
    last = -math.inf
    for y, text, color in sorted(ends):
        place = ((math.log(y) - math.log(low)) if log else y - low) / span
        place = max(place, last + 0.062)
        last = place
        axes.annotate(text, (1.02, place), xycoords="axes fraction", fontsize=10, color=color, va="center")


def dots(results: Results, name: str, unit: str, *, title: str = "", arms: Sequence[str] | None = None) -> "Figure":
    """A row per arm: a dot per seed, a bar at their mean and its number."""
    shown = list(arms or results.arms)
    left = 24 + LETTER * max(map(len, shown))
    with figure(left + 460, 96 + ROW * len(shown)) as drawn:
        axes = axes_of(drawn, left, 50, 380, ROW * len(shown))
        for i, arm in enumerate(shown):
            values, y = results.of(arm, name), len(shown) - 1 - i
            mean = sum(values) / len(values)
            axes.plot(values, [y] * len(values), "o", color=COLORS["accent"], alpha=0.45, markersize=6,
                      markeredgewidth=0)
            axes.plot([mean, mean], [y - 0.32, y + 0.32], color=COLORS["ink"], linewidth=1.8)
            axes.annotate(f"{mean:.3g}", (1.02, y), xycoords=("axes fraction", "data"), fontsize=10.5, va="center",
                          color=COLORS["ink"])
        axes.set_yticks(range(len(shown)), shown[::-1], color=COLORS["ink"])
        axes.set_ylim(-0.6, len(shown) - 0.4)
        titled(axes, title, unit)
        return drawn


def against(results: Results, x: str, y: str, names: tuple[str, str], *, title: str = "", log: bool = True,
            families: Callable[[str], str] = lambda arm: "") -> "Figure":
    """One figure against another: a dot per arm at the means, a line from the least to the most seed; arms of one
    family are joined and share a colour.
    """
    groups: dict[str, list[str]] = {}
    for arm in results.arms:
        groups.setdefault(families(arm), []).append(arm)
    with figure(WIDE + 60, HIGH + 40) as drawn:
        axes = axes_of(drawn, 66, 56, WIDE - 150, HIGH - 70)
        if log:
            axes.set_xscale("log")
        for i, (family, arms) in enumerate(groups.items()):
            color = PALETTE[i % len(PALETTE)]
            points = sorted((_mean(results.of(arm, x)), _mean(results.of(arm, y)), arm) for arm in arms)
            if len(points) > 1 and family:
                axes.plot([px for px, _, _ in points], [py for _, py, _ in points], color=color, linewidth=1.2,
                          alpha=0.6)
            for px, py, arm in points:
                values = results.of(arm, y)
                axes.plot([px, px], [min(values), max(values)], color=color, linewidth=1.2)
                axes.plot([px], [py], "o", color=color, markersize=6)
                axes.annotate(arm, (px, py), xytext=(7, 4), textcoords="offset points", fontsize=9.5, color=color)
        titled(axes, title, *names)
        return drawn


def intervals(verdicts: Sequence[Verdict]) -> "Figure":
    """A row per claim: its effect on each seed, the mean, the interval, and the line that it must pass."""
    colors = {"holds": "#008a63", "does not hold here": COLORS["wrong"], "too small to tell": COLORS["soft"]}
    with figure(560, 40 + 54 * len(verdicts)) as drawn:
        for i, verdict in enumerate(verdicts):
            axes = axes_of(drawn, 20, 34 + 54 * (len(verdicts) - 1 - i), 520, 30)
            color = colors[verdict.word]
            axes.axvline(verdict.above, color=COLORS["ink"], linewidth=1, linestyle=(0, (3, 2)))
            if math.isfinite(verdict.low) and math.isfinite(verdict.high):
                axes.plot([verdict.low, verdict.high], [0, 0], color=color, linewidth=2)
            axes.plot(verdict.effects, [0.5] * len(verdict.effects), "o", color=color, alpha=0.5, markersize=4.5,
                      markeredgewidth=0)
            axes.plot([verdict.effect], [0], "|", color=color, markersize=16, markeredgewidth=2)
            axes.set_yticks([])
            axes.set_ylim(-1, 1)
            axes.spines["left"].set_visible(False)
            axes.tick_params(labelsize=9)
        return drawn


def picture_file(drawn: "Figure", kind: str) -> bytes:
    """The figure as the bytes of a file: `svg`, the same for the same figure, or `png`."""
    file = BytesIO()
    with defaults():
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        drawn.savefig(file, format=kind, metadata=metadata, dpi=UNITS if kind == "svg" else 2 * UNITS)
    return file.getvalue()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
