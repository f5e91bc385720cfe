"""Predictions for single pictures: each above bars of its likeliest classes, as AlexNet's Figure 4, left."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data import ImageSet, Transform
from ..data.images import ranged
from ..data.sampling import permutation
from ..draw.markup import clipped
from ..draw.plots import COLORS, UNITS, defaults
from ..engine.losses import probabilities
from ..errors import ConvatlasError
from ..net.model import Convnet
from ..net.segmenter import of_images
from ..run import Loss
from .pictures import ending, inputs, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE, GAP, BAR, CAPTION, TOP, COLUMNS = 150, 26, 18, 22, 70, 4      # units of a figure, and pictures in a row
LETTERS = 22                                                        # of a class on a bar
# of the width: a bar of 100 %; its figure stands behind it
FULL = 0.8


@dataclass(frozen=True)
class Guess:
    """One picture and the likeliest classes, best first; `truth` is its class's name where that is known."""

    name: str
    pixels: Tensor                  # uint8 (C, H, W)
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    truth: str | None
    truth_probability: float | None     # None too for a class that the network does not know
    truth_rank: int | None              # 1: the likeliest

    @property
    def right(self) -> bool | None:
        """True if the likeliest class is the true one; None where that is not known."""
        return None if self.truth is None else self.truth_rank == 1


def predictions(model: Convnet, images: ImageSet, transform: Transform, *, classes: Sequence[str] = (),
                count: int | None = None, seed: int = 0, wrong: bool = False, top: int = 5,
                batch_size: int = 64) -> list[Guess]:
    """Predictions of `model`, in eval mode, for `images`, or `count` of them that `seed` chooses; only mistakes if
    `wrong`.

    `transform` is `convatlas.transforms(model)`; `classes` name the labels, and without them no truth is known. Classes
    are matched by name where the model knows names. Unreadable pictures are reported and left out. Raises
    ConvatlasError where there is nothing to show.
    """
    of_images(model, "look at it with `convatlas inspect segmentation`")
    if wrong and not classes:
        raise ConvatlasError("--wrong needs images whose classes are known: give them with --data")
    if images.labels.ndim > 1 and classes:
        raise ConvatlasError("these images have several labels each; one class per image is drawn")
    names = model.card.classes or (tuple(classes) if len(classes) == model.num_classes
                                   else tuple(map(str, range(model.num_classes))))
    images = ranged(images, transform.range)
    order = permutation(len(images), seed).tolist() if count is not None else list(range(len(images)))
    found: list[Guess] = []
    for guess in _guesses(model, images, transform, order, names, classes, top, batch_size):
        if not (wrong and guess.right):
            found.append(guess)
        if len(found) == count:
            break
    if not found:
        raise ConvatlasError(f"none of the {len(images)} images is classified wrongly" if wrong
                             else "none of the images can be read")
    return found


def _guesses(model: Convnet, images: ImageSet, transform: Transform, order: Sequence[int], names: Sequence[str],
             classes: Sequence[str], top: int, batch_size: int) -> Iterator[Guess]:
    device = next(model.parameters()).device
    for numbers, x in inputs(images, order, transform, batch_size):
        with torch.inference_mode():
            shares = probabilities(model(x.to(device)).float(), model.card.loss or Loss()).cpu()
        best = shares.topk(min(top, shares.shape[1]))
        for row, i in enumerate(numbers):
            truth = classes[int(images.labels[i])] if classes else None
            place = names.index(truth) if truth in names else None
            share = None if place is None else float(shares[row, place])
            rank = None if share is None else int((shares[row] > share).sum()) + 1
            yield Guess(images.name(i), images.read(i), tuple(names[j] for j in best.indices[row].tolist()),
                        tuple(best.values[row].tolist()), truth, share, rank)


def draw(guesses: Sequence[Guess], title: str) -> "Figure":
    """The pictures in rows of four, under each its true class or its name, then a bar per class; the true one is blue.
    """
    columns, bars = min(COLUMNS, len(guesses)), max(len(guess.classes) for guess in guesses)
    cell = SIDE + CAPTION + BAR * bars + GAP
    wide, high = GAP + (SIDE + GAP) * max(columns, 3), TOP + cell * -(-len(guesses) // columns)
    with defaults():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(wide / UNITS, high / UNITS), dpi=UNITS, facecolor=COLORS["paper"])
        figure.text(GAP / wide, 1 - 14 / high, title, color=COLORS["ink"], fontsize=12.5, fontweight="bold", va="top",
                    parse_math=False)
        figure.text(GAP / wide, 1 - 38 / high, _legend(guesses), color=COLORS["soft"], fontsize=9.5, va="top")
        for number, guess in enumerate(guesses):
            x, y = GAP + (SIDE + GAP) * (number % columns), TOP + cell * (number // columns)
            show(figure.add_axes((x / wide, 1 - (y + SIDE) / high, SIDE / wide, SIDE / high)), guess.pixels)
            below = CAPTION + BAR * bars
            axes = figure.add_axes((x / wide, 1 - (y + SIDE + below) / high, SIDE / wide, below / high))
            axes.set(xlim=(0, 1), ylim=(below, 0))
            axes.axis("off")
            _bars(axes, guess)
    return figure


def _legend(guesses: Sequence[Guess]) -> str:
    if all(guess.truth is None for guess in guesses):
        return "bars: the likeliest classes and their probabilities"
    return "bars: probabilities; blue: the true class, orange: another one that the network takes it for"


def _bars(axes: "Axes", guess: Guess) -> None:
    """The caption and the bars of one picture; y in units, from the top."""
    style: dict[str, Any] = {"va": "center", "parse_math": False}
    known = guess.truth is not None
    caption = clipped(guess.truth, LETTERS) if guess.truth is not None else ending(guess.name, LETTERS)
    axes.text(0, CAPTION / 2, caption, fontsize=9.5, fontweight="bold" if known else "normal",
              color=COLORS["ink"], **style)
    if known and guess.truth not in guess.classes:
        share = guess.truth_probability
        told = "not a class of the network" if share is None else f"{100 * share:.2g} %, rank {guess.truth_rank}"
        axes.text(1, CAPTION / 2, told, fontsize=8, ha="right", color=COLORS["wrong"], **style)
    for rank, (name, share) in enumerate(zip(guess.classes, guess.probabilities, strict=True)):
        y = CAPTION + BAR * rank
        true = name == guess.truth
        color = COLORS["accent" if true else "wrong" if known and rank == 0 else "train"]
        axes.barh(y + BAR / 2, FULL * share, BAR - 4, color=color, alpha=0.4, linewidth=0)
        axes.plot([0, 0], [y + 2, y + BAR - 2], color=color, linewidth=1.6, clip_on=False)
        axes.text(0.03, y + BAR / 2 + 0.5, clipped(name, LETTERS), fontsize=8.5, color=COLORS["ink"],
                  fontweight="bold" if true else "normal", **style)
        axes.text(1, y + BAR / 2 + 0.5, f"{100 * share:.0f} %" if share >= 0.01 else "<1 %", fontsize=8, ha="right",
                  color=COLORS["soft"], **style)
