"""Measure a network that segments, as papers do: FCN's figures, Dice, and of objects average precision, Rand and warping error."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..engine.distributed import gather, world
from ..engine.losses import probabilities
from ..engine.watch import Watch
from ..errors import ConvatlasError
from ..net.model import Convnet
from ..net.segmenter import Segmenter
from ..run import Data, Loss
from ..weights.checkpoints import load
from ..zoo import transforms
from .border_weights import parted
from .instances import instances
from .judging import Judged, judge
from .pairs import open_pairs
from .patches import WholeImages
from .scores import PixelScores, instance_precision, rand_error
from .warping import warping_error


@dataclass(frozen=True)
class PixelEvaluation:
    """What `evaluate_pixels` returns; shares, 0 to 1."""

    judged: Judged
    classes: tuple[str, ...]
    data: str
    objects: str                        # how objects were found
    average_precision: float | None     # of objects, mean over images and thresholds 0.50, 0.55, …, 0.95 (Data Science Bowl 2018)
    rand_error: float | None            # mean over the images (ISBI 2012)
    warping_error: float | None         # likewise, of objects parted by a pixel where they touch

    @property
    def scores(self) -> PixelScores:
        """FCN's four figures, and Dice."""
        return self.judged.scores


def evaluate_pixels(model: str | Path | Convnet, data: str, *, split: Literal["val", "train"] = "val",
                    objects: Literal["none", "components", "watershed"] = "none", device: str = "auto",
                    masks: Literal["auto", "classes", "instances", "binary"] = "auto", watch: Watch | None = None) -> PixelEvaluation:
    """Measure on whole images of `data` (`cells`, or a folder of images and masks): its held-out part, or with `split` the other.

    `objects` finds objects in the probability of everything that is not class 0 and compares them with those of the masks. Under
    torchrun the processes share the images.
    """
    with world(device) as here:
        net = model if isinstance(model, Convnet) else load(model)
        if not isinstance(net, Segmenter):
            raise ConvatlasError(f"{net.name} gives scores for images, not for pixels")
        pairs = open_pairs(Data(source=data, masks=masks))
        if len(pairs.classes) > net.num_classes:
            raise ConvatlasError(f"{net.name} has {net.num_classes} classes, the data {len(pairs.classes)}")
        chosen = pairs.val if split == "val" else pairs.train
        if watch and here.main:
            for note in pairs.notes:
                watch.tell(note)
        found: list[tuple[float, float, float]] = []

        def each(index: int, scores: Tensor) -> None:
            if objects == "none":
                return
            share = 1 - probabilities(scores[None], net.card.loss or Loss())[0, 0].cpu().numpy()
            truth, guess = chosen.instances_of(index).numpy(), instances(share, objects)
            apart, guessed = (parted(torch.from_numpy(each)).numpy() > 0 for each in (truth, guess))
            found.append((instance_precision([truth], [guess]), rand_error(truth, guess) if truth.any() else float("nan"),
                          warping_error(apart, guessed)))

        images = WholeImages(chosen, transforms(net), rank=here.rank, world=here.size)
        judged = judge(net.to(here.device), images, net.card.loss or Loss(), here, net.num_classes, watch if here.main else None, each=each)
        assert judged is not None
        table = gather(here, torch.tensor(found, dtype=torch.float64).reshape(-1, 3)).numpy()
        means = (None, None, None) if objects == "none" else tuple(float(np.nanmean(column)) for column in table.T)
        return PixelEvaluation(judged, net.card.classes or pairs.classes, pairs.name, objects, *means)
