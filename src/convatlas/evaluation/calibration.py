"""Calibration, how far confidence is from accuracy: expected calibration error, reliability diagram, temperature (Guo
et al. 2017).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..draw.plots import COLORS, UNITS, defaults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 15           # as Guo et al. 2017 take in their tables
STEPS = 60          # halvings of the range of temperatures, in logarithms
COOLEST, HOTTEST = 0.01, 100.0


@dataclass(frozen=True)
class Bin:
    """Images whose confidence lies in one of equal parts of 0 to 1; nan where there are none."""

    count: int
    confidence: float       # mean
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """Distance between confidence and accuracy."""

    error: float            # expected calibration error: the bins' gaps, weighed by their images; 0 to 1
    bins: tuple[Bin, ...]
    # scores divided by it would give the least loss on these images; above 1: too confident. nan: unknown
    temperature: float
    cooled: float           # the expected calibration error with it

    @property
    def bound(self) -> float | None:
        """The bound at which the search for the temperature ended, for the least loss lies beyond; None where it does
        not.
        """
        return next((end for end in (COOLEST, HOTTEST) if math.isclose(self.temperature, end, rel_tol=1e-6)), None)


def calibrate(log_probabilities: Tensor, labels: Tensor, *, exclusive: bool = True, bins: int = BINS) -> Calibration:
    """Of log-probabilities (N, K) and class numbers (N,); where classes are not `exclusive` there is no temperature.

    The temperature is found on the images that it is then judged on: it describes the network, and promises nothing for
    others.
    """
    heat = temperature(log_probabilities, labels) if exclusive else math.nan
    error, found = _reliability(log_probabilities.exp(), labels, bins)
    cooled = error if math.isnan(heat) else _reliability((log_probabilities / heat).softmax(dim=1), labels, bins)[0]
    return Calibration(error, found, heat, cooled)


def _reliability(probabilities: Tensor, labels: Tensor, bins: int) -> tuple[float, tuple[Bin, ...]]:
    confidence, predictions = probabilities.double().max(dim=1)
    right = (predictions == labels).double()
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1        # bin m is ((m − 1) / M, m / M]
    counts = torch.bincount(place, minlength=bins)
    sums = [torch.zeros(bins, dtype=torch.float64).index_add_(0, place, each) for each in (confidence, right)]
    error = (sums[0] - sums[1]).abs().sum().item() / max(len(labels), 1)
    means = [(each / counts).tolist() for each in sums]         # 0 / 0 is nan
    return error, tuple(Bin(*row) for row in zip(counts.tolist(), *means, strict=True))


def temperature(log_probabilities: Tensor, labels: Tensor) -> float:
    """The T in [0.01, 100] of least mean −ln softmax(log p / T) at the labels; nan of no images.

    The loss is convex in 1 / T, so that the sign of its slope says on which side the least one lies.
    """
    if not len(labels):
        return math.nan
    scores = log_probabilities.double()
    wanted = scores.gather(1, labels[:, None]).mean()
    low, high = math.log(1 / HOTTEST), math.log(1 / COOLEST)        # of 1 / T
    for _ in range(STEPS):
        middle = (low + high) / 2
        shares = F.softmax(scores * math.exp(middle), dim=1)
        slope = (shares * scores).sum(dim=1).mean() - wanted
        low, high = (low, middle) if slope > 0 else (middle, high)
    return math.exp(-(low + high) / 2)


# -- the reliability diagram -----------------------------------------------------------------------------------------

def draw(found: Calibration) -> "Figure":
    """Per bin of confidence how often it is right, over how many images there are."""
    wide, high = 420, 500
    text: dict[str, Any] = {"fontsize": 10.5, "color": COLORS["soft"]}
    with defaults():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(wide / UNITS, high / UNITS), dpi=UNITS, facecolor=COLORS["paper"])
        shares = figure.add_axes((62 / wide, 150 / high, 340 / wide, 266 / high))
        counts = figure.add_axes((62 / wide, 50 / high, 340 / wide, 70 / high))
        _draw_shares(shares, found.bins)
        _draw_counts(counts, found.bins)
    shares.set_ylabel("share that is right", **text)
    counts.set_ylabel("images", **text)
    counts.set_xlabel("confidence: the probability of the predicted class", **text)
    figure.text(14 / wide, 1 - 26 / high, "Is it right as often as it says?", fontsize=13, fontweight="bold",
                color=COLORS["ink"])
    figure.text(14 / wide, 1 - 46 / high, "orange: surer than it is right;  pale blue: right more often "
                "than sure", **text)
    figure.text(14 / wide, 1 - 63 / high, f"expected calibration error (the mean gap): {100 * found.error:.1f} %",
                **text)
    return figure


def _draw_shares(axes: "Axes", bins: Sequence[Bin]) -> None:
    from matplotlib.ticker import PercentFormatter

    _plain(axes)
    axes.plot([0, 1], [0, 1], color=COLORS["soft"], linewidth=1, linestyle=(0, (4, 3)))
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    for i, part in enumerate(bins):
        low, high = sorted((part.accuracy, part.confidence)) if part.count else (0.0, 0.0)
        boasts, x, width = part.confidence > part.accuracy, (i + 0.5) / len(bins), 0.9 / len(bins)
        axes.bar(x, low, width, color=COLORS["accent"])
        axes.bar(x, high - low, width, bottom=low, color=COLORS["wrong" if boasts else "accent"], alpha=0.45)


def _draw_counts(axes: "Axes", bins: Sequence[Bin]) -> None:
    from matplotlib.ticker import FuncFormatter

    _plain(axes)
    counts = [part.count for part in bins]
    axes.bar([(i + 0.5) / len(bins) for i in range(len(bins))], counts, 0.9 / len(bins), color=COLORS["soft"])
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, 2 * max(*counts, 1))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", " ")))
    axes.minorticks_off()


def _plain(axes: "Axes") -> None:
    """From 0 to 100 %, without a frame."""
    from matplotlib.ticker import PercentFormatter

    axes.set_facecolor(COLORS["paper"])
    axes.set_xlim(0, 1)
    axes.tick_params(length=0, labelsize=10, labelcolor=COLORS["soft"], pad=6)
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.grid(axis="y", color=COLORS["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(COLORS["line"])
