"""A sheet of augmented images: what a recipe makes of training pictures before the network sees them."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..data.images import ImageSet, UnreadableImage
from ..data.loader import stable_seed
from ..data.mix import mix
from ..data.transform import Transform
from ..draw.canvas import show, write
from ..draw.markup import clipped
from ..draw.plots import MAX_LABEL, UNITS, WIDE, defaults, to_image
from ..errors import ConvatlasError
from ..run import Augment, Preprocess

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERSIONS = 8                        # of each picture, where they are random
CELL, GAP, APART = 84, 6, 22        # units: a picture's longer side, between two, between the groups of columns
CAPTION = 27                        # under a mixed picture
MARGIN, BESIDE = 24, 12             # around the sheet; between a class's name and its picture
LINE, HEAD = 16, 22                 # of the words under the title; of the columns' names
NARROW = 420                        # the narrowest sheet, for the sake of its title



# -- words -----------------------------------------------------------------------------------------------------------

def in_words(augment: Augment, preprocess: Preprocess) -> list[str]:
    """Augmentations that are on, a few words each; also the preprocessing, where it is measured on the training images.
    """
    a = augment
    low, high = a.short_side or (0, 0)
    border = "reflected" if a.padding_mode == "reflect" else "black"
    rotation, shift, scale, shear = a.affine
    bright, contrast, saturation, hue = a.jitter
    whose = "ImageNet's" if a.pca_from == "imagenet" else "the data's"
    lines = (
        (a.crop == "resized", f"random crops of {100 * a.scale[0]:.3g} to {_percent(a.scale[1])} of the area, "
                              f"aspect {a.ratio[0]:.3g} to {a.ratio[1]:.3g}"),
        (a.short_side, f"short side {low} to {high}"),
        (a.crop == "random", "random crops" + (f" with {a.padding} {border} pixels around" if a.padding else "")),
        (a.flip, f"mirrored: {_percent(a.flip)}"),
        (a.turns, "turned by a multiple of 90°"),
        (rotation, f"rotation ±{rotation:g}°"),
        (shift, f"shift ±{_percent(shift)}"),
        (scale, f"scale ±{_percent(scale)}"),
        (shear, f"shear ±{shear:g}°"),
        (a.elastic, f"elastic deformation of {a.elastic:g} pixels"),
        (bright, f"brightness ±{_percent(bright)}"),
        (contrast, f"contrast ±{_percent(contrast)}"),
        (saturation, f"saturation ±{_percent(saturation)}"),
        (hue, f"hue ±{360 * hue:.0f}°"),
        (a.pca_colour, f"colour noise along {whose} principal components, σ = {a.pca_colour:g}"),
        (a.policy == "trivial", "TrivialAugment"),
        (a.policy == "randaugment", f"RandAugment: {a.policy_ops} operations at strength {a.policy_magnitude} of 30"),
        (a.policy == "randaugment_inc", f"RandAugment, increasing: {a.policy_ops} operations at strength "
         f"{a.policy_magnitude} ± {a.policy_std:g} of 10, each in {_percent(a.policy_prob)}"),
        (a.policy == "autoaugment", "AutoAugment"),
        (a.erase, f"a rectangle erased{' to noise' if a.erase_fill == 'noise' else ''}: {_percent(a.erase)}"),
        (a.mixup, f"Mixup, α = {a.mixup:g}"),
        (a.cutmix, f"CutMix, α = {a.cutmix:g}"),
        ((a.mixup or a.cutmix) and a.mix_prob < 1, f"{_percent(a.mix_prob)} of the batches mixed"),
    )
    fit = {"channel": "normalised by the data's mean and deviation", "pixel_mean": "less the data's mean picture",
           "gcn": "global contrast normalisation", "zca": "global contrast normalisation, then ZCA whitening"}
    said = [text for on, text in lines if on] or ["no augmentation"]
    return [*said, fit[preprocess.fit]] if preprocess.fit in fit else said


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


# -- pictures --------------------------------------------------------------------------------------------------------

def viewable(values: Tensor, transform: Transform) -> np.ndarray:
    """The transform's result (C, h, w) as bytes to look at: (h, w) grey, or (h, w, 3).

    The normalisation is undone where it is the same for every picture. After contrast normalisation and whitening, zero
    is mid-grey and the largest values, but for one in two hundred, are black and white.
    """
    t = transform
    if t.fit in ("gcn", "zca"):
        largest = values.abs().flatten().quantile(0.995).clamp(min=1e-8)
        unit = 0.5 + values / (2 * largest)
    else:
        mean, std = torch.tensor(t.mean).view(-1, 1, 1), torch.tensor(t.std).view(-1, 1, 1)
        if t.fit == "channel":
            std = t.fitted["std"].view(-1, 1, 1)
        if t.fit in ("channel", "pixel_mean"):
            mean = t.fitted["mean"].view(len(std), -1, 1) if t.fit == "channel" else t.fitted["mean"]
        unit = values * std + mean
    return np.asarray(to_image((255 * unit.clamp(0, 1)).round().to(torch.uint8)))


def chosen(images: ImageSet, seed: int) -> Iterator[tuple[int, Tensor]]:
    """Index and pixels of readable pictures, at random: one of each class, then a second one of each, and so on."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).tolist()
    earlier: Counter[str] = Counter()
    rounds = []
    for index in order:
        label = str(images.labels[index].tolist())
        rounds.append((earlier[label], index))
        earlier[label] += 1
    for _, index in sorted(rounds, key=lambda pair: pair[0]):
        try:
            yield index, images.read(index)
        except UnreadableImage:
            continue


# -- the sheet -------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class _Row:
    """One training picture and what becomes of it."""

    name: str
    original: Tensor                                # uint8 (C, H, W)
    versions: list[Tensor]                          # float32 (C, h, w)
    mixed: tuple[Tensor, str] | None                # and the shares of its classes


def sheet(images: ImageSet, classes: Sequence[str], transform: Transform, title: str, words: Sequence[str], *,
          rows: int = 6, seed: int = 0) -> "Figure":
    """`rows` training pictures, each with eight versions that `transform`, the training's, makes of it (one if not
    random).

    Where its augmentation mixes, a last column shows each row's first version mixed with that of the row above, and the
    shares of their classes. `words` stand under the title. Raises ConvatlasError where no picture can be read.
    """
    found = _rows(images, classes, transform, rows, seed)
    if not found:
        raise ConvatlasError(f"none of the {len(images)} training images can be read")
    h, w = transform.size
    high, wide = CELL * h / max(h, w), CELL * w / max(h, w)         # of a cell
    below = GAP if found[0].mixed is None else CAPTION + GAP
    left = MARGIN + max(len(row.name) for row in found) * WIDE + BESIDE
    first = left + wide + APART                                     # of the augmented versions
    last = first + len(found[0].versions) * (wide + GAP) - GAP + APART
    right = max(last - APART if found[0].mixed is None else last + wide, NARROW) + MARGIN
    told = textwrap.wrap(" · ".join(words), int((right - 2 * MARGIN) / 5.8), break_long_words=False)
    top = MARGIN + 42 + LINE * len(told) + HEAD
    bottom = top + (high + below) * len(found) - GAP + MARGIN

    with defaults():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(right / UNITS, bottom / UNITS), dpi=UNITS, facecolor="white")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.axis("off")
        write(axes, MARGIN, MARGIN, clipped(title, int(right / 9)), "ink", 15, va="top", weight="bold")
        for i, line in enumerate(told):
            write(axes, MARGIN, MARGIN + 26 + LINE * i, line, "soft", va="top")
        write(axes, left, top - 7, "original", "soft")
        write(axes, first, top - 7, f"what the network trains on, {h}×{w}", "soft")
        if found[0].mixed is not None:
            write(axes, last, top - 7, "mixed", "soft")
        for i, row in enumerate(found):
            y = top + (high + below) * i
            write(axes, left - BESIDE, y + high / 2, row.name, "ink", 11, ha="right", va="center")
            show(axes, np.asarray(to_image(row.original)), left, y, wide, high)
            for k, values in enumerate(row.versions):
                show(axes, viewable(values, transform), first + k * (wide + GAP), y, wide, high)
            if row.mixed is not None:
                show(axes, viewable(row.mixed[0], transform), last, y, wide, high)
                write(axes, last + wide / 2, y + high + 3, row.mixed[1], "soft", 8, ha="center", va="top")
        axes.set_xlim(0, right)
        axes.set_ylim(bottom, 0)
        axes.set_aspect("auto")
    return figure


def _rows(images: ImageSet, classes: Sequence[str], transform: Transform, rows: int, seed: int) -> list[_Row]:
    picked = list(islice(chosen(images, seed), rows))
    count = VERSIONS if transform.random else 1
    versions = [[transform.seeded(pixels, stable_seed(seed, index, k)) for k in range(count)]
                for index, pixels in picked]
    labels = images.labels[torch.tensor([index for index, _ in picked], dtype=torch.int64)]
    always = transform.augment.model_copy(update={"mix_prob": 1.0})
    made = []
    for i, (_, pixels) in enumerate(picked):
        mixed = None
        if always.mixup or always.cutmix:
            batch, shares = mix(torch.stack([each[0] for each in versions]), labels, len(classes), always,
                                stable_seed(seed, i))
            mixed = batch[i], _shares(shares[i], classes)
        made.append(_Row(clipped(_name(labels[i], classes), MAX_LABEL), pixels, versions[i], mixed))
    return made


def _name(label: Tensor, classes: Sequence[str]) -> str:
    """The class, or the classes of a picture that may have several."""
    return (classes[int(label)] if label.dim() == 0
            else ", ".join(classes[k] for k in label.nonzero().flatten()) or "none")


def _shares(shares: Tensor, classes: Sequence[str]) -> str:
    """The two largest, in lines such as '62 % cat'."""
    largest = sorted(zip(shares.tolist(), classes, strict=True), key=lambda pair: -pair[0])[:2]
    return "\n".join(f"{_percent(round(share, 2))} {clipped(name, 10)}" for share, name in largest if share > 0.005)
