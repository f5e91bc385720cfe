"""Judging a network that segments on whole images: in training after every epoch, and by `convatlas eval`."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import run
from ..data.images import UnreadableImage
from ..engine.distributed import World, agree, gather, total
from ..engine.losses import per_image
from ..engine.watch import Watch
from ..errors import ConvatlasError
from ..net.segmenter import Segmenter
from .metrics import PixelMetrics, pixel_metrics
from .patches import WholeImages
from .picture import Picture
from .tiles import blocks, tiling

log = logging.getLogger("convatlas")

TILE = 1024         # side of what the network gets at once; smaller images are one tile


@dataclass(frozen=True)
class PixelResult:
    """Figures of a network on some images' pixels."""

    loss: float                 # mean over the images of the mean over their pixels
    confusion: Tensor           # int64 (K, K), [true, predicted], pixels
    count: int                  # images read
    skipped: int
    images_per_second: float

    @property
    def metrics(self) -> PixelMetrics:
        """FCN's four figures, and more."""
        return pixel_metrics(self.confusion)

    @property
    def top1(self) -> float:
        """The share of pixels that are right."""
        return self.metrics.accuracy

    @property
    def top5(self) -> float:
        """The same: pixels have no second guesses."""
        return self.metrics.accuracy

    @property
    def extras(self) -> Mapping[str, float]:
        """Further columns of metrics.csv."""
        return {"val_iou": self.metrics.mean_iou}


def validate(model: Segmenter, images: WholeImages, loss: run.Loss, world: World, num_classes: int, watch: Watch | None,
             stop: Callable[[], bool] = lambda: False,
             each: Callable[[int, Tensor], None] | None = None) -> PixelResult | None:
    """Go over the images; None as soon as `stop()` is true in one process. Every process gets the same result.

    `each(index, scores (K, H, W))` is called for every image of this process.
    """
    loss_of = per_image(loss.model_copy(update={"class_weights": "none", "pixels": "mean"}), num_classes)
    table = torch.zeros(num_classes, num_classes, dtype=torch.float64, device=world.device)
    sums = torch.zeros(2, dtype=torch.float64, device=world.device)
    training, began, mine = model.training, time.perf_counter(), list(images.mine())
    model.eval()
    try:
        for place in range(images.steps):
            if agree(world, stop())[0]:
                return None
            if place < len(mine):
                with torch.inference_mode():
                    scores = _add(model, images, mine[place], loss, loss_of, table, sums)
                if scores is not None and each is not None:
                    each(mine[place], scores)
            if watch is not None:
                watch.validating(place + 1, images.steps)
    finally:
        model.train(training)
    table, sums = total(world, table), total(world, sums)
    if not sums[1]:
        raise ConvatlasError("no image with a mask could be read"
                             + next((f": {reason}" for reason in images.skipped.values()), ""))
    skipped = len(gather(world, torch.tensor(sorted(images.skipped), dtype=torch.int64)))
    return PixelResult(float(sums[0] / sums[1]), table.long().cpu(), int(sums[1]), skipped,
                       int(sums[1]) / max(time.perf_counter() - began, 1e-9))


def _add(model: Segmenter, images: WholeImages, index: int, loss: run.Loss, loss_of: Callable[[Tensor, Tensor], Tensor],
         table: Tensor, sums: Tensor) -> Tensor | None:
    try:
        pixels, truth = images.pixels(index), images.truth(index).to(table.device)
    except UnreadableImage as error:
        if images.strict:
            raise
        if index not in images.skipped:
            images.skipped[index] = str(error)
            log.info("skipped: %s", error)
        return None
    scores = whole_scores(model, pixels.to(table.device))
    targets = torch.stack([truth.float(), torch.ones_like(truth, dtype=torch.float32)])[None]
    sums += torch.stack([loss_of(scores[None], targets).double()[0], sums.new_ones(())])
    counts = (truth != loss.ignore_index) & (truth >= 0) & (truth < len(table))
    cells = truth[counts] * len(table) + scores.argmax(dim=0)[counts]
    table += torch.bincount(cells, minlength=table.numel()).reshape(table.shape)
    return scores


def whole_scores(model: Segmenter, pixels: Tensor) -> Tensor:
    """Scores (K, H, W) of a whole normalised image (C, H, W), tile by tile where it is larger than one; mirrored beyond
    its edges.
    """
    picture = Picture(pixels, 0)
    cut = tiling(model, picture.size, TILE)
    scores = pixels.new_empty(model.num_classes, *picture.size, dtype=torch.float32)
    for block in blocks(cut, picture.read, lambda images: model(images).float()):
        high, wide = block.scores.shape[1:]
        scores[:, block.top : block.top + high, block.left : block.left + wide] = block.scores
    return scores
