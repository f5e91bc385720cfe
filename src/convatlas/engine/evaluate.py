"""Evaluation on labelled images: every image exactly once, however many processes share the work."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from .. import run
from ..net.answering import Scorer
from .distributed import World, agree, gather
from .losses import per_image, probabilities
from .memory import scored
from .metrics import average_precision, confusion, right, top
from .watch import Watch


class Batches(Protocol):
    """Batches of labelled images: `Loader`, `StreamLoader`, or anything else that gives images, labels and indices.

    The images have a method `to(device, non_blocking=)`, whose result the network takes.
    """

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        ...

    @property
    def skipped(self) -> Mapping[int, str]:
        """Images that could not be read so far: index -> reason."""
        ...

    def epoch(self, epoch: int) -> Iterator[Any]:
        """The batches of one process; as many for each."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """Metrics and predictions on a set of images; the rows (count,) are in the order of `indices`, which rise."""

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
    scores: Tensor | None = None    # float32 (count, K), where they were asked for

    @property
    def extras(self) -> Mapping[str, float]:
        """Further columns of metrics.csv: none."""
        return {}


def evaluate(
    model: Scorer, loader: Batches, loss: run.Loss, world: World, num_classes: int, watch: Watch | None = None,
    keep_scores: bool = False,
) -> Evaluation:
    """Run `model`, already on `world.device`, in evaluation mode over the loader's images, and put its mode back.

    `loader` gives each process its share; all get the same result. Raises what the loader raises (ConvatlasError).
    """
    measured = measure(model, loader, loss, world, num_classes, watch, stop=lambda: False, keep_scores=keep_scores)
    assert measured is not None
    return measured


def measure(
    model: Scorer,
    loader: Batches,
    loss: run.Loss,
    world: World,
    num_classes: int,
    watch: Watch | None,
    stop: Callable[[], bool],
    keep_scores: bool = False,
) -> Evaluation | None:
    """Evaluate as `evaluate` does, but give up with None as soon as `stop()` is true in one process."""
    columns: list[tuple[Tensor, ...]] = []
    training, began = model.training, time.perf_counter()
    model.eval()
    try:
        with torch.inference_mode():
            for done, batch in enumerate(loader.epoch(0), start=1):
                if agree(world, stop())[0]:
                    return None
                scores = scored(model, batch.images, world)
                labels, indices = batch.labels.to(world.device, non_blocking=True), batch.indices
                real = indices >= 0
                if not real.all():      # fillers count for nothing
                    scores, labels, indices = scores[real], labels[real], indices[real]
                columns.append(_judged(scores, labels, indices, loss, keep_scores))
                if watch is not None:
                    watch.validating(done, loader.steps)
    finally:
        model.train(training)
    gathered = [gather(world, torch.cat(parts)) for parts in zip(*columns, strict=True)]
    return _summary(gathered, num_classes, len(unreadable(world, loader)), time.perf_counter() - began, keep_scores)


def evaluation_of(scores: Tensor, labels: Tensor, indices: Tensor, loss: run.Loss, *, skipped: int,
                  seconds: float) -> Evaluation:
    """The evaluation of scores (N, K) that are there already, with `Evaluation`'s labels and indices; nothing is
    computed twice.
    """
    return _summary(_judged(scores, labels, indices, loss, True), scores.shape[1], skipped, seconds, True)


def _judged(scores: Tensor, labels: Tensor, indices: Tensor, loss: run.Loss, keep_scores: bool) -> tuple[Tensor, ...]:
    """Columns of a batch: index, labels, prediction, right, in the top five, confidence, loss, and scores if needed."""
    loss_of = per_image(loss.model_copy(update={"class_weights": "none"}), scores.shape[1])
    predictions, in_top5 = top(scores, labels)
    confidence = probabilities(scores, loss).gather(1, predictions[:, None]).squeeze(1)
    column = (indices, labels, predictions, right(scores, labels), in_top5, confidence, loss_of(scores, labels))
    return (*column, scores) if labels.ndim == 2 or keep_scores else column


def _summary(columns: Sequence[Tensor], num_classes: int, skipped: int, seconds: float,
             keep_scores: bool) -> Evaluation:
    # In the order of the images, and summed in double precision: the same for any number of processes.
    order = columns[0].argsort()
    indices, labels, predictions, correct, in_top5, confidence, losses, *scored = (column[order] for column in columns)
    count = len(indices)
    rows, true = labels.nonzero(as_tuple=True) if labels.ndim == 2 else (torch.arange(count), labels)
    return Evaluation(
        loss=losses.double().sum().item() / max(count, 1),
        top1=correct.sum().item() / max(count, 1),
        top5=in_top5.sum().item() / max(count, 1),
        count=count,
        skipped=skipped,
        confusion=confusion(true, predictions[rows], num_classes),
        indices=indices,
        labels=labels,
        predictions=predictions,
        right=correct,
        confidence=confidence,
        images_per_second=count / max(seconds, 1e-9),
        mean_ap=average_precision(scored[0], labels) if labels.ndim == 2 else None,
        scores=scored[0] if keep_scores else None,
    )


def unreadable(world: World, loader: Batches) -> list[int]:
    """The indices of images that any process failed to read so far."""
    return sorted(set(gather(world, torch.tensor(sorted(loader.skipped), dtype=torch.int64)).tolist()))
