"""A recipe that fits data and network: which one, and how long, in what batches, at what size and rate.

A paper's batches and epochs suit its own data: 600 pictures in batches of 256 are two steps an epoch. Nothing here asks
the machine: the same data and the same network give the same run everywhere.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import torch

from ..data.classes import DIGITS
from ..data.survey import SAMPLE
from ..draw.numbers import exact
from ..engine.least import learns
from ..errors import ConvatlasError
from ..net import registry
from ..net.card import plain
from ..net.model import by, pair
from ..recipes import recipe
from ..run import Run
from .task import Task

#   data sets by name that are alike enough for the recipe of a paper on one of them
ALIKE = (("digits", "mnist", "fashion-mnist", "fashion-small", "usps"), ("cifar10", "cifar100"), ("svhn",))
#   networks that segment, on data that comes along: recipes for minutes
ALONG = {("unet_same", "nuclei"): "unet_narrow"}
#   data of written characters, whose mirror images are other characters or none
CHARACTERS = {"digits", "mnist", "qmnist", "emnist", "kmnist", "usps", "svhn", "omniglot"}

SMALL = 64                          # pixels: pictures as CIFAR's, which are shifted rather than cropped
SIDES, MAPS = 32, 2                 # sizes are multiples of 32; the last map has at least 2×2 places
BATCHES = (16, 256)                 # at 8 images BatchNorm's error rises (Wu & He 2018, figure 1)
KNOWN = 5                           # time constants of BatchNorm's running statistics in a pass
PASSES = 200                        # at most, however few images


class Length(NamedTuple):
    """Optimiser steps of a whole run: at least, and at most."""

    least: int
    most: int


#   the recipes that are scaled: those of no paper, for one's own data
LENGTHS = {"modern": Length(2_000, 100_000), "finetune": Length(400, 20_000)}


class Choice(NamedTuple):
    """A recipe that was chosen for the user, and why."""

    recipe: str
    why: str
    said: frozenset[str] = frozenset()      # fields of the run that the user set: they stay

    @property
    def scales(self) -> bool:
        """True if it is made to fit the data."""
        return self.recipe in LENGTHS


class Found(NamedTuple):
    """Opened data, as far as a recipe depends on it."""

    name: str
    images: int                             # to learn from
    held: int                               # to validate on
    classes: tuple[str, ...]
    sizes: Sequence[tuple[int, int]]        # (height, width) of some pictures; none where they are not at hand
    gray: bool                              # as far as those pictures tell

    def __str__(self) -> str:
        """`photos: 600 images of 3 classes, 480 to learn from and 120 held out, 32×32 pixels`."""
        return (f"{self.name}: {exact(self.images + self.held)} images of {exact(len(self.classes))} "
                f"class{'es' * (len(self.classes) != 1)}, {exact(self.images)} to learn from and {exact(self.held)} "
                f"held out{self._spread()}")

    def _spread(self) -> str:
        if not self.sizes:
            return ""
        low, high = min(self.sizes, key=math.prod), max(self.sizes, key=math.prod)
        return f", {by(low)} pixels" if low == high else f", {by(low)} to {by(high)} pixels"

    @property
    def side(self) -> int | None:
        """The short side of the usual picture, in pixels."""
        return round(median(min(size) for size in self.sizes)) if self.sizes else None

    @property
    def characters(self) -> bool:
        """True for data that is called so, and for grey pictures whose classes are the ten digits or single letters."""
        words = set(re.split(r"[^a-z0-9]+", self.name.lower()))
        if words & CHARACTERS and "fashion" not in words:
            return True
        return self.gray and len(self.classes) >= len(DIGITS) and all(
            len(name) == 1 and name.isalnum() for name in self.classes)


def looked_at(task: Task[Any, Any, Any], source: Any) -> Found:
    """Opened data, as far as a recipe depends on it; some pictures are looked at, spread over the set."""
    count = len(source.train)
    shapes = [shape for index in range(0, count, max(1, -(-count // SAMPLE)))
              if (shape := task.shape(source, index)) is not None]
    return Found(source.name, count, len(source.val), source.classes, [(shape[-2], shape[-1]) for shape in shapes],
                 bool(shapes) and all(shape[0] == 1 for shape in shapes))


def choose(name: str, data: str, weights: str | None, said: Collection[str] = ()) -> Choice:
    """The recipe that trains the variant `name` on `data`, where the user names none.

    The paper's on the paper's data or on data like it, as in `ALIKE`; on any other `modern`, from `weights`
    `finetune`. Networks that segment keep their own, for no other is made for pixels, except as `ALONG` says.
    """
    found, keep = registry.variant(name), frozenset(said)
    own = recipe(found.recipe)
    if weights is None and (along := ALONG.get((found.name, data))) is not None:
        return Choice(along, f"made for {data}, which come along (--recipe {found.recipe} is this network's own)", keep)
    if found.segments:
        return Choice(found.recipe, "this network's own", keep)
    theirs = "" if found.recipe in LENGTHS else f" (--recipe {found.recipe} is its paper's)"
    if weights is not None:
        return Choice("finetune", f"for weights to begin from{theirs}, fitted to these images", keep)
    kin = next((names for names in ALIKE if data in names), ())
    if "source" in own.data.model_fields_set and own.data.source in kin:
        return Choice(found.recipe, f"its paper's, for {own.data.source}", keep)
    return Choice("modern", f"for data of one's own{theirs}, fitted to these images", keep)


def scaled(run: Run, choice: Choice, found: Found) -> tuple[Run, tuple[str, ...]]:
    """The run, made to fit the data it was found to have if its recipe is scaled, and sentences for people.

    - size: the network's own; of smaller pictures the next multiple of 32 above theirs at which the last map still has
      2×2 places (never with weights, which were trained at theirs);
    - batch: the power of two nearest below √N of N images, 16 to 256, so that a pass has about as many steps as a step
      has images (CIFAR's 50 000: 128 images, 391 steps);
    - rate: the recipe's times √(batch / the recipe's batch), the rule for AdamW (Malladi et al. 2022), which both
      recipes have; for SGD it would be the ratio itself (Goyal et al. 2017);
    - epochs: the recipe's, unless that makes fewer or more steps than `LENGTHS` has, at most 200; warm-up in
      proportion;
    - BatchNorm's running statistics: a momentum that knows a pass, where the authors' is smaller (0.0003 suits millions
      of steps; after 2 000 validation would still be at chance); never with weights;
    - augmentation: pictures of at most 64 pixels are shifted by an eighth as CIFAR's usually are; characters are
      neither mirrored nor cropped, but turned, scaled and moved a little; without weights both are seen whole;
    - loss: the network's own where that is not cross-entropy, which its outputs are made for;
    - a rate of its own for the classifier, as `finetune` has it, only where the classifier has weights (LeNet-5's
      has fixed codes).

    What the user set (`choice.said`) stays, and the rest goes by it: a given batch sets the rate and the epochs.
    """
    lines = [f"{found}."]
    if not choice.scales:
        return run, (*lines, f"Recipe {run.recipe}, {choice.why}.")
    base, told = recipe(choice.recipe), [f"Recipe {run.recipe}, {choice.why}"]

    def put(fields: Mapping[str, Any]) -> None:
        nonlocal run
        mine = [each for field, value in fields.items() if not _covered(field, choice.said) for each in (field, value)]
        run = run.change(*mine)

    if run.model.weights is None:
        put({"model.fields.image_size": input_size(run, found)})
    size = min(_image_size(run))
    put({"data.batch_size": batch_size(found.images)})
    factor = math.sqrt(run.data.batch_size / base.data.batch_size)
    put({"optim.lr": float(f"{base.optim.lr * factor:.3g}")})
    steps, length = -(-found.images // run.data.batch_size), LENGTHS[choice.recipe]
    put({"train.epochs": epochs(base.train.epochs, steps, length)})
    momentum = plain(registry.card(run.model.name, run.model.fields).spec).get("norm_momentum")
    if momentum is not None and run.model.weights is None:
        put({"model.fields.norm_momentum": max(momentum, float(f"{min(0.1, KNOWN / steps):.3g}"))})
    warm = base.schedule.warmup_epochs * run.train.epochs / base.train.epochs
    put({"schedule.warmup_epochs": round(warm, 1)})
    told.append(f"rate {run.optim.lr:g}")
    told.append(f"input {by(_image_size(run))}")
    small = found.side is not None and found.side <= SMALL
    whole = small and run.model.weights is None
    if whole:
        put({"preprocess.crop_pct": 1.0})
    if found.characters:
        put({"augment.flip": 0.0, "augment.policy": "none", "augment.erase": 0.0})
        if whole:
            put({"augment.crop": "centre", "augment.affine": (10.0, 0.1, 0.1, 5.0), "augment.padding_mode": "reflect"})
        if not run.augment.flip:
            told.append("no mirror images, for these are characters")
    elif whole:
        put({"augment.crop": "random", "augment.padding": size // 8})
    if base.optim.groups:
        with torch.device("meta"):
            net = registry.build(run.model.name, run.model.fields)
        if not list(net.get_classifier().parameters()):
            put({"optim.groups": ()})
    own = recipe(registry.variant(run.model.name).recipe).loss
    if own.name != "cross_entropy" and not any(field.startswith("loss.") for field in choice.said):
        put({"loss": own})
    return run, (*lines, f"{told[0]}: {', '.join(told[1:])}.")


def batch_size(images: int) -> int:
    """The largest power of two up to √images, within `BATCHES`."""
    low, high = BATCHES
    return min(max(1 << (math.isqrt(max(images, 1)).bit_length() - 1), low), high)


def epochs(usual: int, steps: int, length: Length) -> int:
    """Passes of `steps` each: the `usual` ones, or as many as bring the run's steps to within `length`."""
    return min(max(usual, -(-length.least // steps)), max(length.most // steps, 1), PASSES)


def input_size(run: Run, found: Found) -> int | tuple[int, int]:
    """The size that the network is given for these pictures."""
    own = _image_size(run)
    if found.side is None or found.side >= min(own) or own[0] != own[1]:
        return own if own[0] != own[1] else own[0]
    variant = registry.variant(run.model.name)
    with torch.device("meta"):
        reduction = variant.spec.build().feature_info[-1]["reduction"]
        for size in range(-(-max(found.side, MAPS * reduction) // SIDES) * SIDES, own[0], SIDES):
            try:
                if learns(registry.build(run.model.name, {**run.model.fields, "image_size": size})):
                    return size
            except (ConvatlasError, RuntimeError, ValueError):      # a network of one size
                continue
    return own[0]


def _image_size(run: Run) -> tuple[int, int]:
    return pair(registry.card(run.model.name, run.model.fields).spec.image_size)


def _covered(field: str, said: Collection[str]) -> bool:
    """True where the field was set, or one above or below it."""
    return any(each == field or each.startswith(f"{field}.") or field.startswith(f"{each}.") for each in said)
