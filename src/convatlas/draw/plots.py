"""Figures and small pictures of a run: curves, confusion matrix, filters. Figures are matplotlib's, without pyplot.

`svg` makes a figure part of a page: its text is the page's own font, its colours are the page's CSS variables.
"""

import base64
import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from PIL import Image
from torch import Tensor

from ..engine.records import rank
from .markup import clipped, safe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {                 # CSS variable of the page -> colour where there is no page (a light background)
    "ink": "#1c232c",
    "soft": "#66707c",
    "line": "#dde2e8",
    "paper": "#fdfdfc",     # of text on a dark cell
    "train": "#7b8693",
    "accent": "#2460c4",    # validation, and what is right
    "wrong": "#c4501c",
}
MIDTONES = {"accent": "#3f7fe0", "wrong": "#dc6a30"}       # of a heat map, which has no variables: for light and dark
UNITS = 72                  # SVG user units per inch of a figure; the page shows one unit as one CSS pixel
NUMBERED, NAMED, MAPPED = 20, 40, 100       # confusion matrix: most classes with counts, with names, at all
MAX_LABEL = 16              # characters of a class name on an axis
WIDE = 6.2                  # units per character of a label, about


# -- curves ----------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Panel:
    """One small graph over the epochs."""

    title: str
    lines: tuple[tuple[str, str, str], ...]     # (column of metrics.csv, label, colour)
    kind: Literal["loss", "error", "rate"] = "loss"     # error: the columns are accuracies, shown as 100 · (1 - share)


PANELS = {
    "loss": Panel("Loss", (("train_loss", "training", "train"), ("val_loss", "validation", "accent"))),
    "error": Panel("Top-1 error", (("train_top1", "training", "train"), ("val_top1", "validation", "accent")), "error"),
    "lr": Panel("Learning rate", (("lr", "", "soft"),), "rate"),
}


def best_row(rows: Sequence[Mapping[str, float]]) -> Mapping[str, float] | None:
    """The row whose weights were kept (`records.rank`), of equals the earliest."""
    return max(rows, key=rank, default=None)


def curves(rows: Sequence[Mapping[str, float]], panels: Sequence[str] = ("loss", "error", "lr")) -> "Figure":
    """Rows of metrics.csv as graphs side by side, each 320×230 units; the best epoch is marked in each."""
    wide, high = 320, 230
    with defaults():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(wide * len(panels) / UNITS, high / UNITS), dpi=UNITS)
        for i, name in enumerate(panels):
            right = 64 if len(PANELS[name].lines) > 1 else 8        # room for the labels of the lines
            left, bottom, top = 44, 38, 34
            box = ((wide * i + left) / (wide * len(panels)), bottom / high,
                   (wide - left - right) / (wide * len(panels)), (high - bottom - top) / high)
            _draw(figure.add_axes(box), rows, PANELS[name], right / (wide - left - right))
    return figure


def _draw(axes: "Axes", rows: Sequence[Mapping[str, float]], panel: Panel, margin: float) -> None:
    epochs, best = [row["epoch"] for row in rows], best_row(rows)
    lines = [[100 * (1 - row[column]) if panel.kind == "error" else row[column] for row in rows]
             for column, _, _ in panel.lines]
    main, color = lines[-1], COLORS[panel.lines[-1][2]]
    unit = " %" if panel.kind == "error" else ""
    _scale(axes, epochs, [value for line in lines for value in line if math.isfinite(value)], panel, unit)
    if best is not None and len(rows) > 1:
        axes.axvline(best["epoch"], color=COLORS["soft"], linewidth=0.9, dashes=(1.5, 3))
    for values, (_, _, shade) in zip(lines, panel.lines, strict=True):
        axes.plot(epochs, values, color=COLORS[shade], linewidth=1.8, solid_joinstyle="round",
                  marker="o" if len(rows) < 4 else None, markersize=5, clip_on=False)
    _label_ends(axes, epochs, lines, panel)
    axes.text(0, 1.1, panel.title, transform=axes.transAxes, fontsize=12.5, fontweight="bold", color=COLORS["ink"])
    if best is not None:
        told = len(rows) - 1 if panel.kind == "rate" else rows.index(best)
        axes.text(1 + margin, 1.1, f"{main[told]:.3g}{unit} at epoch {epochs[told]:.0f}", transform=axes.transAxes,
                  ha="right", fontsize=10.5, color=color)
        if panel.kind != "rate":
            axes.plot(epochs[told], main[told], "o", color=color, markersize=7, clip_on=False)


def _scale(axes: "Axes", epochs: Sequence[float], finite: Sequence[float], panel: Panel, unit: str) -> None:
    """Axes, ticks and grid for these values."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(COLORS["line"])
    axes.tick_params(length=0, labelsize=10.5, labelcolor=COLORS["soft"], pad=6)
    axes.set_xlabel("epoch", fontsize=10.5, color=COLORS["soft"], labelpad=3)
    axes.grid(axis="y", color=COLORS["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    if epochs:
        pad = 0.5 if len(epochs) == 1 else 0.03 * (epochs[-1] - epochs[0])
        axes.set_xlim(epochs[0] - pad, epochs[-1] + pad)
        ticks = MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]).tick_values(epochs[0], epochs[-1])
        inside = [tick for tick in ticks if epochs[0] <= tick <= epochs[-1]]
        axes.xaxis.set_major_locator(FixedLocator(inside if len(epochs) > 1 else list(epochs)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    else:
        axes.xaxis.set_major_locator(FixedLocator([]))
    if not finite:
        axes.yaxis.set_major_locator(FixedLocator([]))
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color=COLORS["soft"], fontsize=10.5)
        return
    # A rate that falls in steps of ten is read on a logarithmic axis, a cosine is not.
    smooth = panel.kind == "rate" and len(set(finite)) > len(finite) / 2
    marks = [] if smooth else log_ticks(finite)
    if marks:
        low = min(value for value in finite if value > 0)
        axes.set_yscale("symlog", linthresh=low, linscale=0.35)         # shows zero too
        axes.set_ylim(0 if marks[0] == 0 else low * 0.82, max(finite) * 1.2)
        axes.yaxis.set_major_locator(FixedLocator(marks))
        axes.yaxis.set_minor_locator(FixedLocator([]))
    else:
        axes.set_ylim(min(0.0, *finite), max(0.0, *finite) * 1.1 or 1)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}{unit}"))


def log_ticks(values: Sequence[float]) -> list[float]:
    """Ticks 1, 2, 5 (or 1) times powers of ten where values span more than a factor of twelve; else none: linear."""
    positive = [value for value in values if value > 0]
    if not positive or min(values) < 0 or max(positive) < 12 * min(positive):
        return []
    low, high = min(positive), max(positive)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1, 2, 5), (1, 3), (1,)):
        ticks = [m * 10.0**p for p in powers for m in mantissas if low * 0.82 <= m * 10.0**p <= high * 1.2]
        if len(ticks) <= 6:
            break
    return [0.0, *ticks] if min(values) == 0 else ticks


def _label_ends(axes: "Axes", epochs: Sequence[float], lines: Sequence[Sequence[float]], panel: Panel) -> None:
    """Each line's label right of its end; two that would overlap are moved apart."""
    apart = 0.09                # of the height of the axes, one line of text
    ends = []
    for values, (_, label, color) in zip(lines, panel.lines, strict=True):
        if label and values and math.isfinite(values[-1]):
            x, y = axes.transAxes.inverted().transform(axes.transData.transform((epochs[-1], values[-1])))
            ends.append((float(y), float(x), label, COLORS[color]))
    ends.sort()
    heights = [end[0] for end in ends]
    if len(ends) == 2 and heights[1] - heights[0] < apart:
        middle = max(sum(heights) / 2, apart / 2)
        heights = [middle - apart / 2, middle + apart / 2]
    for height, (_, x, label, color) in zip(heights, ends, strict=True):
        axes.text(x + 0.035, height, label, transform=axes.transAxes, va="center", fontsize=10.5, color=color)


# -- confusion -------------------------------------------------------------------------------------------------------

def confusion(matrix: Tensor, classes: Sequence[str]) -> "Figure":
    """The counts (K, K), [true, predicted], as a picture: with numbers to 20 classes, with class names to 40.

    Right answers and mistakes have two colours; a mistake is the darker, the larger its share of the true class.
    """
    if matrix.shape != (len(classes), len(classes)):
        raise ValueError(f"a matrix of shape {tuple(matrix.shape)} does not fit {len(classes)} classes")
    k = len(classes)
    named, cell = k <= NAMED, 42 if k <= 10 else 34 if k <= NUMBERED else max(600 / k, 6)
    labels = [clipped(name, MAX_LABEL) for name in classes] if named else [str(i) for i in range(k)]
    longest = max(map(len, labels), default=1) * WIDE
    flat = longest < cell - 4 or not named          # column names fit above their columns
    left, top = 24 + longest + 8, 24 + (16 if flat else longest * 0.72 + 10)
    right, bottom = 4 if flat else longest * 0.72, 4
    wide, high = left + k * cell + right, top + k * cell + bottom
    with defaults():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(wide / UNITS, high / UNITS), dpi=UNITS)
        axes = figure.add_axes((left / wide, bottom / high, k * cell / wide, k * cell / high))
        axes.axis("off")
        axes.set_xlim(0, k)
        axes.set_ylim(k, 0)
        if k <= NUMBERED:
            _cells(axes, matrix, cell)
        else:
            _heat(axes, matrix)
        name: dict[str, Any] = {"fontsize": min(11.0, max(cell * 0.75, 6)) if named else 10, "color": COLORS["ink"]}
        side: dict[str, Any] = {"fontsize": 10.5, "color": COLORS["soft"], "ha": "center", "va": "center"}
        turn: dict[str, Any] = {"ha": "center"} if flat else {"ha": "left", "rotation": 45, "rotation_mode": "anchor"}
        gap = 6 / cell
        for i in range(0, k, 1 if named else 10):
            axes.text(-gap, i + 0.5, labels[i], ha="right", va="center", parse_math=False, **name)
            axes.text(i + 0.5, -gap, labels[i], va="bottom", parse_math=False, **name, **turn)
        axes.text(-(left - 10) / cell, k / 2, "true class", rotation=90, **side)
        axes.text(k / 2, -(top - 10) / cell, "predicted class", **side)
    return figure


def _strengths(matrix: Tensor) -> Tensor:
    """The opacity (K, K) of each cell: by its share of the true class; of mistakes, against the worst."""
    share = matrix.double() / matrix.sum(1, keepdim=True).clamp(min=1)
    right = torch.eye(len(matrix), dtype=torch.bool)
    worst = share.masked_fill(right, 0).max().clamp(min=0.2)        # a few mistakes in all stay pale
    # The square root lets a single mistake be seen beside a frequent one.
    strength = torch.where(right, 0.1 + 0.45 * share, 0.2 + 0.8 * (share / worst).clamp(max=1).sqrt())
    return strength * (matrix > 0)


def _cells(axes: "Axes", matrix: Tensor, cell: float) -> None:
    from matplotlib.patches import Rectangle

    k, strength = len(matrix), _strengths(matrix)
    axes.hlines(range(k + 1), 0, k, color=COLORS["line"], linewidth=0.6)
    axes.vlines(range(k + 1), 0, k, color=COLORS["line"], linewidth=0.6)
    for i, j in matrix.nonzero().tolist():
        count, opacity = f"{int(matrix[i, j])}", float(strength[i, j])
        axes.add_patch(Rectangle((j + 0.02, i + 0.02), 0.96, 0.96, facecolor=COLORS["accent" if i == j else "wrong"],
                                 alpha=round(opacity, 3), linewidth=0))
        size = min(12.0, cell * 0.36, (cell - 5) / (0.62 * len(count)))
        axes.text(j + 0.5, i + 0.52, count, ha="center", va="center", fontsize=size,
                  color=COLORS["paper" if i != j and opacity > 0.62 else "ink"])


def _heat(axes: "Axes", matrix: Tensor) -> None:
    k = len(matrix)
    picture = torch.zeros(k, k, 4)
    right = torch.eye(k, dtype=torch.bool)
    for where, color in ((right, MIDTONES["accent"]), (~right, MIDTONES["wrong"])):
        picture[where, :3] = torch.tensor([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    strength = _strengths(matrix).float()
    picture[..., 3] = torch.where(right, 1.8 * strength, strength).clamp(max=1)        # no number to read on it
    axes.imshow(picture.numpy(), extent=(0, k, k, 0), interpolation="none", aspect="auto")
    axes.plot([0, k, k, 0, 0], [0, 0, k, k, 0], color=COLORS["line"], linewidth=0.8, clip_on=False)


# -- pictures --------------------------------------------------------------------------------------------------------

def filter_pictures(filters: Tensor, limit: int = 96) -> list[Image.Image]:
    """The first `limit` filters (cout, cin, h, w) as pictures of h×w pixels: colour for cin 3, else grey, the mean.

    Each is scaled by its largest weight; zero is mid-grey, so that the sign can be seen.
    """
    if filters.ndim != 4:
        raise ValueError(f"filters must have the shape (cout, cin, h, w), not {tuple(filters.shape)}")
    weights = filters[:limit].detach().to("cpu", torch.float32).nan_to_num(0, 0, 0)
    if weights.shape[1] not in (1, 3):
        weights = weights.mean(1, keepdim=True)
    largest = weights.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    return [to_image(picture) for picture in (127.5 + 127.5 * weights / largest).round().to(torch.uint8)]


def to_image(pixels: Tensor) -> Image.Image:
    """A picture uint8 (C, H, W) for PIL: grey, colour, colour with opacity; for other C the mean over the channels."""
    if pixels.shape[0] not in (1, 3, 4):
        pixels = pixels.float().mean(0, keepdim=True).to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).squeeze(2).contiguous().cpu().numpy())


def data_uri(image: Image.Image) -> str:
    """The picture as a PNG inside a `data:` address."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


# -- into a page -----------------------------------------------------------------------------------------------------

def svg(figure: "Figure", name: str, title: str) -> str:
    """The figure as an `<svg>` element for HTML; `name` begins its ids, `title` is what a screen reader says.

    The same figure gives the same text. It is as wide as its container, at most one CSS pixel per unit.
    """
    file = io.StringIO()
    with defaults(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")       # the page's own font draws it
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    # Only ids that something points to are kept, numbered: they cannot meet those of another figure.
    targets = dict.fromkeys(re.findall(r'(?:url\(|href=")#([^)"]+)', text))
    numbers = {target: f"{name}-{i}" for i, target in enumerate(targets)}
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{numbers[m[1]]}"' if m[1] in numbers else "", text)
    text = re.sub(r'(url\(|href=")#([^)"]+)', lambda m: f"{m[1]}#{numbers[m[2]]}", text)
    text = text.replace("xlink:href", "href")
    for variable, color in COLORS.items():
        text = text.replace(f": {color}", f": var(--{variable})")
    text = re.sub(r"; font-family: [^;\"]+|stroke-linecap: square; ?| transform=\"rotate\(-0 [^)]*\)\"", "", text)
    text = re.sub(r"\s*\n\s*", "\n", text).replace(" \n", "\n").replace("\n", " ").replace("> <", "><")
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert box is not None
    head = (f'<svg viewBox="0 0 {box[1]} {box[2]}" style="max-width: {float(box[1]):.0f}px" role="img" '
            f'aria-label="{safe(title)}">')
    return re.sub(r"^<svg[^>]*>", lambda _: head, text).strip()


@contextmanager
def defaults() -> Iterator[None]:
    """Matplotlib as it ships, whatever the user's matplotlibrc says, with text as text; put back at the end."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "convatlas"})
        yield
