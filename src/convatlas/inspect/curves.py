"""Curves of several runs in one picture: a graph per column of metrics.csv, a line per run, named at its end."""

import math
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..draw.graphs import PALETTE as PALETTE
from ..draw.markup import clipped
from ..draw.plots import COLORS, UNITS, defaults, log_ticks
from ..errors import ConvatlasError, nearest
from ..files import put

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, float]]
Axis = Literal["epoch", "step", "seconds"]

DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5))    # of the first seven runs, the next seven, and so on
TITLES = {
    "val_top1": "Validation error", "train_top1": "Training error", "val_top5": "Validation error, top 5",
    "val_loss": "Validation loss", "train_loss": "Training loss", "lr": "Learning rate",
    "images_per_second": "Images per second",
}
CLOCKS = {"seconds": (1, "seconds of training"), "minutes": (60, "minutes of training"),
          "hours": (3600, "hours of training")}
FORMATS = (".png", ".svg", ".pdf")
WIDE, HIGH = 330, 270           # units of one graph without the names at its right
LEFT, BOTTOM, TOP = 50, 42, 40
LINE = 15                       # units between two names
NAME = 32                       # characters of a run's name
# a factor beyond which a logarithmic axis shows little but the way to zero (a cosine's end)
DECADES = 1e5
LETTER = 5.9                    # units per character of a name, about


def overlay(runs: Mapping[str, Rows], metrics: Sequence[str] = ("val_top1", "train_loss"), *, x: Axis = "epoch",
            smooth: float = 0.0) -> "Figure":
    """Graphs side by side, one per metric: a line per run, its name and best value at its end, its best epoch marked.

    `runs` maps a name to rows of metrics.csv. Accuracies are drawn as errors in per cent, on a logarithmic axis where
    they span more than a factor of twelve. `smooth` in [0, 1) is the share of the past in a running mean; the raw line
    stays, pale, and the marks are of raw values. Raises ConvatlasError for a metric that no run has, and for runs
    without rows.
    """
    if not 0 <= smooth < 1:
        raise ConvatlasError(f"--smooth {smooth:g} is refused: it is the share of the past, from 0 to below 1, "
                             "for example 0.6")
    columns = dict.fromkeys(column for rows in runs.values() for row in rows for column in row)
    if not columns:
        raise ConvatlasError(f"nothing to plot: none of {', '.join(map(repr, runs))} has finished an epoch")
    for metric in metrics:
        if metric not in columns:
            raise ConvatlasError(f"no run has the column {metric!r}"
                                 + (nearest(metric, columns) or f"; there are {', '.join(columns)}"))
    unit, axis_title = _clock(runs) if x == "seconds" else (1, {"epoch": "epoch", "step": "optimiser steps"}[x])
    names = [clipped(name, NAME) for name in _without_date(list(runs))]
    margin = 30 + LETTER * (max(map(len, names)) + 8)
    high = max(HIGH, TOP + BOTTOM + LINE * len(runs))
    wide = (WIDE + margin) * len(metrics)
    with defaults():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(wide / UNITS, high / UNITS), dpi=UNITS, facecolor=COLORS["paper"])
        for i, metric in enumerate(metrics):
            axes = figure.add_axes((((WIDE + margin) * i + LEFT) / wide, BOTTOM / high, (WIDE - LEFT) / wide,
                                    (high - BOTTOM - TOP) / high))
            lines = [_line(rows, metric, x, unit) for rows in runs.values()]
            _draw(axes, names, lines, metric, smooth, (high - BOTTOM - TOP))
            axes.set_xlabel(axis_title, fontsize=10.5, color=COLORS["soft"], labelpad=3)
    return figure


def save(runs: Mapping[str, Rows], path: Path, metrics: Sequence[str] = ("val_top1", "train_loss"), *,
         x: Axis = "epoch", smooth: float = 0.0) -> None:
    """`overlay` as a file, in the format of its ending: .png (at twice the size), .svg or .pdf."""
    if path.suffix.lower() not in FORMATS:
        raise ConvatlasError(f"--out {str(path)!r}: the ending says the format, which is one of {', '.join(FORMATS)}")
    figure = overlay(runs, metrics, x=x, smooth=smooth)
    content = BytesIO()         # Matplotlib's PDF ends in an AttributeError where the disk is full
    with defaults():
        figure.savefig(content, format=path.suffix[1:].lower(), dpi=2 * UNITS)
    put(path, content.getvalue(), "choose another place with --out", parents=True)


def smoothed(values: Sequence[float], share: float) -> list[float]:
    """The running mean m ← share · m + (1 − share) · value, over the weights so far; what is not finite is skipped."""
    mean = weight = 0.0
    means = []
    for value in values:
        if math.isfinite(value):
            mean, weight = share * mean + (1 - share) * value, share * weight + 1 - share
        means.append(mean / weight if weight else math.nan)
    return means


def _without_date(names: Sequence[str]) -> list[str]:
    """Names of run folders without the date they begin with, where all share it."""
    dates = {found[0] if (found := re.match(r"\d{4}-\d\d-\d\d-(?=.)", name)) else "" for name in names}
    return [name.removeprefix(*dates) for name in names] if len(dates) == 1 else list(names)


def _clock(runs: Mapping[str, Rows]) -> tuple[int, str]:
    longest = max((row.get("seconds", 0.0) for rows in runs.values() for row in rows), default=0.0)
    return CLOCKS["seconds" if longest < 180 else "minutes" if longest < 10800 else "hours"]


def _line(rows: Rows, metric: str, x: Axis, unit: int) -> tuple[list[float], list[float]]:
    """The points of one run."""
    having = [row for row in rows if metric in row and x in row]
    return [row[x] / unit for row in having], [100 * (1 - row[metric]) if _is_share(metric) else row[metric]
                                               for row in having]


def _is_share(metric: str) -> bool:
    return metric.endswith(("top1", "top5"))


def _draw(axes: "Axes", names: Sequence[str], lines: Sequence[tuple[list[float], list[float]]], metric: str,
          smooth: float, high: float) -> None:
    """One graph; `high` is the height of its axes in units."""
    sign = " %" if _is_share(metric) else ""
    marked = _is_share(metric) or "loss" in metric       # less is better: the least is worth a mark
    finite = [value for _, values in lines for value in values if math.isfinite(value)]
    _scale(axes, [when for times, _ in lines for when in times], finite, sign)
    ends = []
    for i, (name, (times, values)) in enumerate(zip(names, lines, strict=True)):
        known = [j for j, value in enumerate(values) if math.isfinite(value)]
        if not known:
            continue
        color, dashes = PALETTE[i % len(PALETTE)], DASHES[i // len(PALETTE) % len(DASHES)]
        style: dict[str, Any] = {"color": color, "solid_joinstyle": "round", "solid_capstyle": "round",
                                 "clip_on": False}
        smooths = smooth > 0 and metric != "lr"         # which is exact
        shown = smoothed(values, smooth) if smooths else values
        if smooths:
            axes.plot(times, values, linewidth=1.0, alpha=0.28, **style)
        axes.plot(times, shown, linewidth=1.9, dashes=dashes or (None, None), **style)
        best = min(known, key=values.__getitem__) if marked else known[-1]
        if marked or len(known) == 1:
            axes.plot(times[best], values[best], "o", color=color, markersize=6.5, markeredgecolor=COLORS["paper"],
                      markeredgewidth=1.2, clip_on=False, zorder=4)
        ends.append((times[known[-1]], shown[known[-1]], f"{name}  {values[best]:.3g}{sign}", color))
    _name_ends(axes, ends, high)
    axes.text(0, 1 + 16 / high, TITLES.get(metric, metric.replace("_", " ")), transform=axes.transAxes, fontsize=12.5,
              fontweight="bold", color=COLORS["ink"])
    axes.text(1, 1 + 16 / high, "● best" if marked else "last", transform=axes.transAxes, fontsize=10, ha="right",
              color=COLORS["soft"])


def _scale(axes: "Axes", times: Sequence[float], finite: Sequence[float], sign: str) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(COLORS["line"])
    axes.tick_params(length=0, labelsize=10.5, labelcolor=COLORS["soft"], pad=6)
    axes.grid(axis="y", color=COLORS["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    if times:
        pad = 0.02 * (max(times) - min(times)) or 0.5
        axes.set_xlim(min(times) - pad, max(times) + pad)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=max(times) >= 5, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}".replace(",", " ")))
    positive = [value for value in finite if value > 0]
    ticks = log_ticks(finite)
    if ticks and max(positive) < DECADES * min(positive):
        low = min(positive)
        axes.set_yscale("symlog", linthresh=low, linscale=0.35)        # shows zero too
        axes.set_ylim(0 if ticks[0] == 0 else low * 0.82, max(finite) * 1.15)
        axes.yaxis.set_major_locator(FixedLocator(ticks))
        axes.yaxis.set_minor_locator(FixedLocator([]))
    elif finite:
        axes.set_ylim(min(0.0, *finite), max(0.0, *finite) * 1.08 or 1)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}{sign}"))


def _name_ends(axes: "Axes", ends: Sequence[tuple[float, float, str, str]], high: float) -> None:
    """Names in a column at the right of axes `high` units high, as near to the ends of their lines as they fit."""
    points = [axes.transAxes.inverted().transform(axes.transData.transform(end[:2])) for end in ends]
    order = sorted(range(len(ends)), key=lambda i: float(points[i][1]))
    heights = spread([float(points[i][1]) for i in order], LINE / high)
    wide = WIDE - LEFT
    for i, height in zip(order, heights, strict=True):
        (x, y), (_, _, text, color) = points[i], ends[i]
        axes.plot([x, 1 + 6 / wide, 1 + 18 / wide], [y, y, height], transform=axes.transAxes, color=color,
                  linewidth=0.7, alpha=0.55, linestyle=(0, (1, 2)), clip_on=False, zorder=1)
        axes.text(1 + 22 / wide, height, text, transform=axes.transAxes, va="center", fontsize=10.5, color=color,
                  parse_math=False)


def spread(heights: Sequence[float], apart: float) -> list[float]:
    """Rising heights in [0, 1], moved as little as keeps them `apart`: neighbours that are too near become a block."""
    blocks: list[list[float]] = []      # each: the sum of what its members want for its lowest place, and their number
    for height in heights:
        blocks.append([min(max(height, 0.0), 1.0), 1])
        while len(blocks) > 1 and _low(blocks[-2], apart) + blocks[-2][1] * apart > _low(blocks[-1], apart):
            total, count = blocks.pop()
            blocks[-1][0] += total - count * blocks[-1][1] * apart
            blocks[-1][1] += count
    return [_low(block, apart) + apart * i for block in blocks for i in range(int(block[1]))]


def _low(block: Sequence[float], apart: float) -> float:
    """The lowest place of a block, inside [0, 1] where it fits."""
    total, count = block
    return max(0.0, min(total / count, 1 - apart * (count - 1)))
