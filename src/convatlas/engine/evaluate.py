"""Measure a network on labelled images: every image exactly once, however many processes share the work."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .. import run
from .distributed import World, agree, gather
from .losses import per_image, probabilities
from .metrics import average_precision, confusion, right, top
from .watch import Watch

if TYPE_CHECKING:
    from ..data.loader import Loader
    from ..data.stream_loader import StreamLoader


@dataclass(frozen=True)
class Evaluation:
    """What a network does on a set of images; the rows (count,) are in the order of `indices`, which rise."""

    loss: float                 # mean per image
    top1: float                 # share, 0 to 1
    top5: float                 # share; with fewer than five classes, 1
    count: int                  # images read
    skipped: int                # images that could not be read
    confusion: Tensor           # int64 (K, K), [true, predicted]; an image of several labels counts once for each
    indices: Tensor             # int64 (count,), in the image set
    labels: Tensor              # int64 (count,), or (count, K) of 0 and 1
    predictions: Tensor         # int64 (count,): the best-scored class
    right: Tensor               # bool (count,): whether that is the label, or one of them
    confidence: Tensor          # float32 (count,), the prediction's `losses.probabilities`
    images_per_second: float    # reading, transforming and computing
    mean_ap: float | None = None    # of images with several labels: mean average precision over the classes


def evaluate(
    model: nn.Module, loader: "Loader | StreamLoader", loss: run.Loss, world: World, num_classes: int, watch: Watch | None = None
) -> Evaluation:
    """Run `model`, already on `world.device`, in evaluation mode over the loader's images, and put its mode back.

    `loader` gives each process its share; all get the same result. Raises what the loader raises (ConvatlasError).
    """
    measured = measure(model, loader, loss, world, num_classes, watch, stop=lambda: False)
    assert measured is not None
    return measured


def measure(
    model: nn.Module,
    loader: "Loader | StreamLoader",
    loss: run.Loss,
    world: World,
    num_classes: int,
    watch: Watch | None,
    stop: Callable[[], bool],
) -> Evaluation | None:
    """`evaluate`, given up with None as soon as `stop()` is true in one process."""
    loss_of = per_image(loss.model_copy(update={"class_weights": "none"}), num_classes)
    columns: list[tuple[Tensor, ...]] = []
    training, began = model.training, time.perf_counter()
    model.eval()
    try:
        with torch.inference_mode():
            for done, batch in enumerate(loader.epoch(0), start=1):
                if agree(world, stop())[0]:
                    return None
                scores = model(batch.images.to(world.device, non_blocking=True)).float()
                labels, indices = batch.labels.to(world.device, non_blocking=True), batch.indices
                real = indices >= 0
                if not real.all():      # fillers count for nothing
                    scores, labels, indices = scores[real], labels[real], indices[real]
                predictions, in_top5 = top(scores, labels)
                confidence = probabilities(scores, loss).gather(1, predictions[:, None]).squeeze(1)
                column = (indices, labels, predictions, right(scores, labels), in_top5, confidence, loss_of(scores, labels))
                columns.append((*column, scores) if labels.ndim == 2 else column)
                if watch is not None:
                    watch.validating(done, loader.steps)
    finally:
        model.train(training)
    gathered = [gather(world, torch.cat(parts)) for parts in zip(*columns, strict=True)]
    # In the order of the images, and summed in double precision: the same for any number of processes.
    order = gathered[0].argsort()
    indices, labels, predictions, correct, in_top5, confidence, losses, *scored = (column[order] for column in gathered)
    count = len(indices)
    rows, true = labels.nonzero(as_tuple=True) if labels.ndim == 2 else (torch.arange(count), labels)
    return Evaluation(
        loss=losses.double().sum().item() / max(count, 1),
        top1=correct.sum().item() / max(count, 1),
        top5=in_top5.sum().item() / max(count, 1),
        count=count,
        skipped=len(unreadable(world, loader)),
        confusion=confusion(true, predictions[rows], num_classes),
        indices=indices,
        labels=labels,
        predictions=predictions,
        right=correct,
        confidence=confidence,
        images_per_second=count / max(time.perf_counter() - began, 1e-9),
        mean_ap=average_precision(scored[0], labels) if scored else None,
    )


def unreadable(world: World, loader: "Loader | StreamLoader") -> list[int]:
    """The indices of images that any process failed to read so far."""
    return sorted(set(gather(world, torch.tensor(sorted(loader.skipped), dtype=torch.int64)).tolist()))
