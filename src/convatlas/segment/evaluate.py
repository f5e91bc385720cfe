"""Evaluation of a network that segments, as in papers: FCN's figures, Dice, and of objects average precision, Rand and
warping error.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..draw.plots import confusion
from ..engine.distributed import World, gather
from ..engine.losses import probabilities
from ..engine.watch import Watch
from ..errors import ConvatlasError
from ..evaluation.files import DRAWN, csv_file, make_folder, png_file
from ..files import put
from ..net.segmenter import Segmenter
from ..run import Loss
from ..zoo import transforms
from .border_weights import parted
from .instances import instances
from .manifest import Judged
from .metrics import PixelMetrics, foreground_rand_error, instance_precision, rand_error
from .patches import WholeImages
from .validation import PixelResult, validate
from .warping import warping_error


@dataclass(frozen=True)
class PixelEvaluation:
    """The result of `convatlas.evaluate` for a network that segments; shares, 0 to 1."""

    result: PixelResult
    classes: tuple[str, ...]
    data: str
    model: str                          # its name
    objects: str                        # how objects were found
    # of objects, mean over images and thresholds 0.50, 0.55, …, 0.95 (Data Science Bowl 2018)
    average_precision: float | None
    rand_error: float | None            # mean over the images: the adapted one, as scikit-image has it
    warping_error: float | None         # likewise, of objects parted by a pixel where they touch
    part: str = "all"                   # of the data: train, val, test, or all of it
    foreground_rand_error: float | None = None      # likewise: as the challenge of ISBI 2012 counts pairs

    @property
    def metrics(self) -> PixelMetrics:
        """FCN's four figures, and Dice."""
        return self.result.metrics


def evaluate(net: Segmenter, name: str, asked: Judged, here: World, *, strict: bool = False,
             objects: Literal["none", "components", "watershed"] = "none",
             watch: Watch | None = None) -> PixelEvaluation:
    """The figures of `net` on the whole images that are to be judged; the processes share them.

    `objects` finds objects in the probability of everything that is not class 0 and compares them with those of the
    masks. Raises ConvatlasError where the data has more classes than the network, and with `strict` where an image
    cannot be read.
    """
    pairs, part = asked.pairs, asked.images
    if len(pairs.classes) > net.num_classes:
        raise ConvatlasError(f"{net.name} has {net.num_classes} classes, the data {len(pairs.classes)}")
    found: list[tuple[float, float, float, float]] = []

    def each(index: int, scores: Tensor) -> None:
        if objects == "none":
            return
        share = 1 - probabilities(scores[None], net.card.loss or Loss())[0, 0].cpu().numpy()
        truth, guess = part.instances_of(index).numpy(), instances(share, objects)
        apart, guessed = (parted(torch.from_numpy(each)).numpy() > 0 for each in (truth, guess))
        found.append((instance_precision([truth], [guess]), rand_error(truth, guess) if truth.any() else float("nan"),
                      warping_error(apart, guessed), foreground_rand_error(truth, guess)))

    images = WholeImages(part, transforms(net), rank=here.rank, world=here.size, strict=strict)
    judged = validate(net.to(here.device), images, net.card.loss or Loss(), here, net.num_classes, watch, each=each)
    assert judged is not None
    table = gather(here, torch.tensor(found, dtype=torch.float64).reshape(-1, 4)).numpy()
    precision, rand, warping, foreground = ((None, None, None, None) if objects == "none" else
                                            (float(np.nanmean(column)) for column in table.T))
    names = net.card.classes or pairs.classes
    return PixelEvaluation(judged, (*names, *map(str, range(len(names), net.num_classes))), pairs.name, name,
                           objects, precision, rand, warping, asked.part, foreground)


def figures(found: PixelEvaluation) -> dict[str, Any]:
    """All figures as plain values, for JSON."""
    s, judged = found.metrics, found.result
    return {"images": judged.count, "skipped": judged.skipped, "loss": judged.loss,
            "pixel_accuracy": s.accuracy, "pixel_error": 1 - s.accuracy, "mean_accuracy": s.mean_accuracy,
            "mean_iou": s.mean_iou, "frequency_weighted_iou": s.weighted_iou,
            "images_per_second": judged.images_per_second,
            **({} if found.average_precision is None
               else {"objects": found.objects, "average_precision": found.average_precision,
                     "rand_error": found.rand_error, "foreground_rand_error": found.foreground_rand_error,
                     "warping_error": found.warping_error}),
            "classes": [{"class": name, "iou": iou, "dice": dice}
                        for name, iou, dice in zip(found.classes, s.iou, s.dice, strict=True)],
            "confusion": judged.confusion.tolist()}


def write(found: PixelEvaluation, where: Path) -> list[Path]:
    """Write figures.json, classes.csv (IoU and Dice), confusion.csv and .png (to 100 classes; pixels) into a folder."""
    make_folder(where)
    s, matrix, names = found.metrics, found.result.confusion, found.classes
    written = [put(where / "figures.json", json.dumps(_finite(figures(found)), indent=2, ensure_ascii=False) + "\n"),
               csv_file(where / "classes.csv", ["class", "iou", "dice"],
                        ([*row] for row in zip(names, s.iou, s.dice, strict=True))),
               csv_file(where / "confusion.csv", ["true \\ predicted", *names],
                        ([name, *row] for name, row in zip(names, matrix.tolist(), strict=True)))]
    if len(names) <= DRAWN:
        written.append(png_file(where / "confusion.png", confusion(matrix, names)))
    return written


def _finite(tree: Any) -> Any:
    """JSON knows no nan: null in its place."""
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and tree != tree else tree
