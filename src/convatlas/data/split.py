"""The parts of data as training takes them, and a share held out, class by class, where there is one part only."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..errors import ConvatlasError
from .images import ImageSet, Source, Subset
from .parts import Part

Images = TypeVar("Images")


class Parts(NamedTuple, Generic[Images]):
    """The parts of data as a Source has them: to learn from, to validate training on, and the test part."""

    train: Images
    val: Images
    test: Images | None
    own: bool           # all of them the data's own


def own_parts(found: Mapping[Part, Images], where: str, *, for_eval: bool) -> Parts[Images] | None:
    """The parts of data; None where all there is is a part to learn from, of which some must be held out.

    A test part is validated on where there is no other. Without a part to learn from, `for_eval` takes what there is
    for all three; otherwise it is a ConvatlasError, in which `where` names the data.
    """
    judged = found.get("val", found.get("test"))
    if judged is None:
        return None
    if "train" in found:
        return Parts(found["train"], judged, found.get("test"), True)
    if not for_eval:
        raise ConvatlasError(f"{where} has no part to learn from, only {' and '.join(map(repr, sorted(found)))}; add a "
                             "part 'train'")
    return Parts(judged, judged, found.get("test", judged), False)


@dataclass(frozen=True)
class Split:
    """The policy for data without parts of its own: hold out a share by seed, or, for evaluation, nothing.

    Evaluation also takes data of one class, and data without a part to learn from.
    """

    val_fraction: float = 0.2
    seed: int = 0
    for_eval: bool = False

    def source(
        self, name: str, where: str, classes: tuple[str, ...], found: Mapping[Part, ImageSet],
        notes: tuple[str, ...] = (), *, multi_label: bool = False, layout: str = "",
    ) -> Source:
        """The parts that were found as a Source, all of them in `train` where there are none; `where` names the data in
        a sentence.
        """
        own = own_parts(found, where, for_eval=self.for_eval)
        if own is not None:
            return Source(name, classes, own.train, own.val, notes, multi_label, own.test, own.own, layout)
        images = found["train"]
        if self.for_eval:
            note = f"{where} has no validation part: all its {len(images)} images are judged."
            return Source(name, classes, images, images, (*notes, note), multi_label, layout=layout)
        # Several labels per picture leave no classes to stratify by: all pictures count as one.
        strata = torch.zeros(len(images), dtype=torch.int64) if multi_label else images.labels
        kept, held = stratified(strata, self.val_fraction, self.seed)
        if not len(held):
            raise ConvatlasError(f"{where} has one image per class, so none can be held out for validation; add images")
        lone = [] if multi_label else [label for number, label in enumerate(classes)
                                       if (images.labels == number).sum() == 1]
        if lone:
            notes = (*notes, f"One image only, trained on and never judged: {', '.join(map(repr, lone))}.")
        return Source(name, classes, Subset(images, kept), Subset(images, held), notes, multi_label, layout=layout)


def stratified(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split 0..N-1 into (kept, held out), both rising, with about `fraction` of every class held out.

    `ceil(fraction · N)` places are shared among the classes in proportion, whole places by largest remainder; the
    members are the first of each class in one permutation of all indices. Every class with two images or more has at
    least one on each side; a class with one image keeps it.
    """
    values = labels.numpy()
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    wanted = math.ceil(round(fraction * len(values), 6))        # rounded first: 0.1 · 30 is a little more than 3
    exact = counts * (wanted / len(values))
    places = np.floor(exact).astype(np.int64)
    by_remainder = np.argsort(-(exact - places), kind="stable")
    places[by_remainder[: wanted - int(places.sum())]] += 1
    places = np.where(counts > 1, np.clip(places, 1, np.maximum(counts - 1, 1)), 0)

    # RandomState, because NumPy promises never to change its stream (NEP 19): the split of a run must be found again.
    order = np.random.RandomState(seed % 2**32).permutation(len(values))
    held = np.zeros(len(values), dtype=bool)
    for number, count in enumerate(places):
        held[order[group[order] == number][:count]] = True
    return torch.from_numpy(np.flatnonzero(~held)), torch.from_numpy(np.flatnonzero(held))
