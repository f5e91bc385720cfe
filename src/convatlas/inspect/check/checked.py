"""A check of a data set: its census, duplicates, leaks and probable label errors, in one pass over the pictures."""

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ... import zoo
from ...engine.threads import threads_for
from ...errors import ConvatlasError
from ...net.model import Convnet
from ...net.segmenter import Segmenter
from ...run import Data
from ...weights.checkpoints import load
from . import duplicates, features, label_errors
from .census import SIDE, Census, Watch, take
from .opened import LEARNED, WHOLE, Opened, Part, open_all

FEW = 10            # pictures, below which a class is told to have few
UNEVEN = 10         # times more pictures of one class than of another
LEAST = 50          # labelled pictures that a search for label errors needs

Where = Literal["parts", "classes", "within"]
WHERE: tuple[tuple[Where, str, str], ...] = (
    ("parts", "leaks", "in two parts"), ("classes", "conflicts", "in two classes"),
    ("within", "duplicates", "twice in one class and part"))


@dataclass(frozen=True)
class Twins:
    """Pictures that are one, by number, and where they lie: in two parts, in two classes of one part, or within one."""

    members: tuple[int, ...]
    distance: float                 # 0: the same pixels
    across: Where


@dataclass(frozen=True)
class LabelError:
    """A label that may be wrong."""

    index: int
    given: str
    other: str                      # the likeliest other class
    probability: float              # that the label is wrong


@dataclass(frozen=True)
class Checked:
    """All that was found; pictures go by their numbers over all parts."""

    opened: Opened
    census: Census
    exact: tuple[Twins, ...]
    near: tuple[Twins, ...]
    near_limit: float
    errors: tuple[LabelError, ...]
    probe: str                      # how label errors were looked for, or why not
    noise: float | None             # estimated share of wrong labels
    starts: tuple[int, ...]         # number of each part's first picture

    def place(self, index: int) -> tuple[Part, int]:
        """A picture's part and its number there."""
        number = int(self.census.part[index])
        return self.opened.parts[number], index - self.starts[number]

    def name(self, index: int) -> str:
        """A picture's name."""
        part, place = self.place(index)
        return part.images.name(place)

    def label(self, index: int) -> str:
        """The name of a picture's class; empty where it has none."""
        number = int(self.census.label[index])
        return self.opened.classes[number] if number >= 0 else ""

    @property
    def parts(self) -> dict[str, int]:
        """Images of each part of the data."""
        found = Counter[str]()
        for part in self.opened.parts:
            if part.judged:
                found[part.name] += len(part.images)
        return dict(found)

    def per_class(self) -> list[tuple[str, dict[str, int]]]:
        """Images of each class, by part; pixels, by `all`, where there are masks."""
        names = self.opened.classes
        if self.opened.kind == "masks":
            pixels = np.zeros(len(names), np.int64) if self.census.pixels is None else self.census.pixels
            return [(name, {WHOLE: int(count)}) for name, count in zip(names, pixels, strict=True)]
        counts: dict[str, NDArray[np.int64]] = {}
        for part in self.opened.parts:
            if part.judged:
                labels = part.images.labels.numpy()
                here = (labels.sum(0).astype(np.int64) if labels.ndim > 1
                        else np.bincount(labels, minlength=len(names)))
                counts[part.name] = counts.get(part.name, np.zeros(len(names), np.int64)) + here
        return [(name, {part: int(each[number]) for part, each in counts.items()}) for number, name in enumerate(names)]

    def findings(self) -> list[tuple[str, int, str]]:
        """(kind, number, sentence) of all that deserves a look, the gravest first; kinds without any are left out."""
        def twins(groups: Sequence[Twins], across: Where) -> int:
            return sum(len(group.members) - 1 for group in groups if group.across == across)

        found = [("unreadable", len(self.census.unreadable), "image(s) cannot be read")]
        for across, kind, where in WHERE:
            where = "twice in one part" if across == "within" and self.opened.kind != "classes" else where
            found.append((f"exact_{kind}", twins(self.exact, across), f"image(s) lie {where}, with the same pixels"))
            found.append((f"near_{kind}", twins(self.near, across), f"image(s) lie {where}, nearly the same"))
        found.append(("label_errors", len(self.errors), "label(s) may be wrong, the likeliest first"))
        found += [("odd", count, what) for what, count in self.census.odd.most_common()]
        return [each for each in found + self._of_classes() if each[1]]

    def _of_classes(self) -> list[tuple[str, int, str]]:
        if self.opened.kind == "masks":
            return [("empty_classes", sum(not counts[WHOLE] for _, counts in self.per_class()),
                     "class(es) have no pixels")]
        totals = [sum(counts.values()) for _, counts in self.per_class()]
        few = sum(total < FEW for total in totals)
        uneven = min(totals, default=0) * UNEVEN <= max(totals, default=0) and not few
        colors = {form.split(", ")[1] for form in self.census.forms} if self.census.forms else set()
        return [("few", few, f"class(es) have fewer than {FEW} images"),
                ("uneven", int(uneven), f"imbalance: the largest class has {max(totals, default=0):,} images, the "
                 f"smallest {min(totals, default=0):,}"),
                ("modes", len(colors) if len(colors) > 1 else 0, f"modes of pixels side by side: "
                 f"{', '.join(sorted(colors))}")]

    def document(self) -> dict[str, Any]:
        """All of it as JSON."""
        def group(twins: Twins) -> dict[str, Any]:
            return {"across": twins.across, "distance": round(twins.distance, 4),
                    "images": [{"name": self.name(i), "part": self.place(i)[0].name, "class": self.label(i)}
                               for i in twins.members]}

        readable = self.census.readable
        judged = readable[self.judged[readable]]
        sizes = Counter(map(tuple, self.census.size[judged].tolist()))
        return {
            "name": self.opened.name, "layout": self.opened.layout, "kind": self.opened.kind,
            "notes": list(self.opened.notes), "parts": self.parts,
            "classes": [{"name": name, "pixels" if self.opened.kind == "masks" else "images": counts}
                        for name, counts in self.per_class()],
            "findings": [{"kind": kind, "count": count, "what": what} for kind, count, what in self.findings()],
            "sizes": [{"height": height, "width": width, "images": count}
                      for (height, width), count in sizes.most_common(100)],
            "forms": dict(self.census.forms.most_common()), "bytes": self.census.bytes,
            "odd": {what: {"images": count, "names": [self.name(i) for i in self.census.examples[what]]}
                    for what, count in self.census.odd.most_common()},
            "unreadable": [{"name": self.name(i), "reason": why} for i, why in self.census.unreadable.items()],
            "exact": [group(each) for each in self.exact], "near": [group(each) for each in self.near],
            "near_limit": self.near_limit,
            "label_errors": [{"name": self.name(each.index), "part": self.place(each.index)[0].name,
                              "class": each.given, "other": each.other, "probability": round(each.probability, 4)}
                             for each in self.errors],
            "label_noise": self.noise, "probe": self.probe,
        }

    @property
    def judged(self) -> NDArray[np.bool_]:
        """True for pictures of the data, false for those of a run's own."""
        return np.array([part.judged for part in self.opened.parts])[self.census.part]


def check(config: Data, *, seed: int = 0, run: Path | None = None, workers: int | None = None,
          watch: Watch = lambda what, done, total: None) -> Checked:
    """Check the data that `config.source` names, by itself or with a network that was trained, a `run` folder or file.

    Pictures are read once, by `workers` threads (left out: as many as cores). Thumbnails, features and scores lie in a
    temporary folder, some 8 kB per picture, which is removed. Raises ConvatlasError where training would refuse the
    data.
    """
    workers = workers or os.cpu_count() or 1
    opened = open_all(config, seed, run)
    model = None if run is None or opened.kind != "classes" else load(run)
    if isinstance(model, Segmenter):
        raise ConvatlasError(f"{str(run)!r} segments, and {opened.name} has images with classes: name a network that "
                             "classifies")
    with tempfile.TemporaryDirectory(prefix="convatlas-check-") as place:
        folder = Path(place)
        census = take(opened, folder, workers, watch)
        same = duplicates.exact(census)
        with threads_for(0, torch.device("cpu")):       # small sums: a second thread costs more than it gains
            alike, limit = duplicates.near(census, same, watch)
        errors, probe, noise = _label_errors(opened, census, folder, workers, seed, model, str(run), watch)
        census.thumbnails = np.zeros((0, 3, SIDE, SIDE), np.uint8)      # their file is removed
    starts = tuple(np.cumsum([0, *(len(part.images) for part in opened.parts)])[:-1].tolist())
    exact = tuple(_twins(opened, census, group) for group in same if _is_told(opened, census, group))
    near = tuple(_twins(opened, census, group) for group in alike if _is_told(opened, census, group))
    return Checked(opened, census, tuple(sorted(exact, key=_gravity)), tuple(sorted(near, key=_gravity)), limit, errors,
                   probe, noise, starts)


def _gravity(twins: Twins) -> tuple[int, float]:
    """The gravest first, of these the nearest."""
    return [across for across, _, _ in WHERE].index(twins.across), twins.distance


def _is_told(opened: Opened, census: Census, group: duplicates.Group) -> bool:
    """False for pictures that a run's own data alone has twice."""
    return any(opened.parts[census.part[i]].judged for i in group.members)


def _twins(opened: Opened, census: Census, group: duplicates.Group) -> Twins:
    parts = {opened.parts[census.part[i]].name for i in group.members}
    labels = {int(census.label[i]) for i in group.members}
    across: Where = "parts" if len(parts) > 1 else "classes" if len(labels) > 1 else "within"
    return Twins(group.members, group.distance, across)


def _label_errors(opened: Opened, census: Census, folder: Path, workers: int, seed: int, model: Convnet | None,
                  run: str, watch: Watch) -> tuple[tuple[LabelError, ...], str, float | None]:
    """(the labels, how they were looked for, the estimated share of wrong ones)."""
    if opened.kind != "classes":
        what = "several labels" if opened.kind == "labels" else "a mask"
        return (), f"Wrong labels are not looked for: each image has {what}.", None
    rows = census.readable[census.label[census.readable] >= 0]
    labels, classes = census.label[rows], len(opened.classes)
    if len(rows) < LEAST or len(np.unique(labels)) < 2:
        return (), f"Wrong labels are not looked for: that needs {LEAST} readable images of two classes.", None
    found, by = features.of_thumbnails(census, rows, folder, workers, seed, watch), "random patches as filters"
    if model is not None:
        hidden = features.of_network(model, zoo.transforms(model), opened, census, rows, folder, 64, watch)
        found, by = features.joined(found, hidden, folder), f"{by} and the last hidden layer of {run}"
    # pictures with the same pixels in one fold
    fold = census.digest[rows].view(("u8", 2))[:, 0].astype(np.int64) % label_errors.FOLDS
    got = label_errors.suspects(found, labels, fold, classes, seed, folder, watch)
    errors = tuple(LabelError(int(rows[row]), opened.classes[labels[row]], opened.classes[other], float(share))
                   for row, share, other in zip(got.rows.tolist(), got.probability, got.other.tolist(), strict=True))
    share = f"About {100 * got.noise:.1f} %" if got.noise >= 0.001 else "Fewer than 0.1 %"
    how = (f"Each label by a linear probe that has not seen it, on {by}; it predicts {100 * got.accuracy:.1f} % of the "
           f"labels. {share} are estimated to be wrong.")
    return errors, how, got.noise


__all__ = ["LEARNED", "Checked", "LabelError", "Twins", "check"]
