"""The data's class numbers in the network's: classes are one where their names are."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..data import ImageSet, Subset
from ..data.shards.stream import Stream
from ..errors import ConvatlasError, some
from ..net.answering import Answers
from ..weights.classes import plain


class Matched(NamedTuple):
    """Images with the network's class numbers, the names of these, and what the user should know of it."""

    images: ImageSet
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Renumbered:
    """An image set whose labels are another list's numbers of the same names."""

    def __init__(self, images: ImageSet, labels: Tensor) -> None:
        self.images, self.labels = images, labels
        self.read, self.name = images.read, images.name

    def __len__(self) -> int:
        return len(self.images)


def match(images: ImageSet, classes: Sequence[str], net: Answers, strict: bool = False) -> Matched:
    """The images whose classes `net` knows: by the name as it is, else regardless of case, `_` and `-`.

    Pictures of others are left out. Raises ConvatlasError where it knows none of them, with `strict` where it does not
    know all, and where it has too few.
    """
    known = net.card.classes
    if not known:
        return _by_place(images, classes, net)
    if tuple(classes) == known[: len(classes)]:
        return Matched(images, known)
    numbers = places(classes, known)
    unknown = [name for name, number in zip(classes, numbers, strict=True) if number < 0]
    # read shard by shard, or of several labels: none can be left out
    apart = isinstance(images, Stream) or images.labels.ndim > 1
    if unknown and (strict or apart or len(unknown) == len(classes)):
        raise ConvatlasError(f"the data has classes that the model does not know: {some(unknown)}; it knows "
                             f"{some(known)}")
    notes = taken(classes, known)
    table = torch.tensor(numbers)
    if unknown:
        there = table[images.labels] >= 0
        if not there.any():
            raise ConvatlasError(f"no image is of a class that the model knows: they are of {some(unknown)}; it knows "
                                 f"{some(known)}")
        notes.append(f"{int((~there).sum())} of {len(images)} images are left out: the model does not know "
                     f"{some(unknown)}")
        images = Subset(images, there.nonzero().flatten())
    return Matched(_renumbered(images, table, len(known)), known, tuple(notes))


def places(classes: Sequence[str], known: Sequence[str]) -> list[int]:
    """Each class's number among the `known` ones, by the name as it is, else regardless of case, `_` and `-`; −1 for a
    stranger.
    """
    loosely = {plain(name): number for number, name in reversed(list(enumerate(known)))}
    exactly = {name: number for number, name in enumerate(known)}
    return [exactly.get(name, loosely.get(plain(name), -1)) for name in classes]


def taken(classes: Sequence[str], known: Sequence[str]) -> list[str]:
    """A note on classes whose names are not quite those of the `known` ones."""
    return [f"{name!r} is taken for the model's {known[number]!r}"
            for name, number in zip(classes, places(classes, known), strict=True)
            if number >= 0 and known[number] != name]


def _by_place(images: ImageSet, classes: Sequence[str], net: Answers) -> Matched:
    if len(classes) > net.num_classes:
        raise ConvatlasError(f"{net.name} has {net.num_classes} classes, the data {len(classes)}")
    rest = range(len(classes), net.num_classes)
    note = (f"the weights do not name their classes: the data's {len(classes)} are taken for the first of their "
            f"{net.num_classes}, in order")
    return Matched(images, (*classes, *(f"class {number}" for number in rest)), (note,))


def _renumbered(images: ImageSet, numbers: Tensor, count: int) -> ImageSet:
    if isinstance(images, Stream):
        return images.relabeled(numbers[images.labels])
    if images.labels.ndim == 1:
        return Renumbered(images, numbers[images.labels])
    labels = images.labels.new_zeros(len(images), count)
    labels[:, numbers] = images.labels
    return Renumbered(images, labels)
