"""Experiments on the nuclei that come along: how networks are trained on them in minutes, and what is measured."""

from collections.abc import Iterable

import torch
from scipy import ndimage
from torch import Tensor

from ...data.transform import make_transform
from ...run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train
from ...segment.metrics import pixel_metrics
from ...segment.pairs import open_pairs
from ...segment.patches import WholeImages
from .trial import Trial

SIDE = 160      # pixels of every image


def learning(model: Model, *, epochs: int, lr: float = 4e-3) -> Run:
    """AdamW along a cosine, eight patches per step, turned, mirrored, deformed a little; no weights of classes."""
    return Run(
        model=model,
        data=Data(source="nuclei", batch_size=8),
        preprocess=Preprocess(mean=(0.5,), std=(0.5,), crop_pct=1.0),
        augment=Augment(elastic=4.0, flip=0.5, turns=True, jitter=(0.2, 0.2, 0, 0)),
        optim=Optim(name="adamw", lr=lr, weight_decay=0.05, decay_bias=False),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        train=Train(epochs=epochs),
    )


def test_images(trial: Trial) -> list[tuple[Tensor, Tensor]]:
    """Network inputs float32 (3, 160, 160) and classes int64 (160, 160) of the images that a trial is judged by."""
    run, network = trial.run, trial.network()
    pairs = open_pairs(run.data)
    whole = WholeImages(pairs.val, make_transform(run.preprocess, network.image_size, network.in_chans))
    return [(whole.pixels(i), whole.truth(i)) for i in range(len(pairs.val))]


def iou(found: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Intersection over union in per cent, the mean of both classes, of pairs of classes found and true, (…) int64."""
    table = torch.zeros(4, dtype=torch.int64)
    for labels, truth in found:
        counts = truth < 2
        table += torch.bincount(truth[counts] * 2 + labels[counts], minlength=4)
    return 100 * pixel_metrics(table.reshape(2, 2)).mean_iou


def to_outline(truth: Tensor) -> Tensor:
    """Distance in pixels of each pixel (H, W) to the nearest one of the other class; half a pixel beside an outline."""
    inside = truth.numpy() == 1
    if inside.all() or not inside.any():
        return torch.full(truth.shape, torch.inf)
    distance = ndimage.distance_transform_edt(inside) + ndimage.distance_transform_edt(~inside)
    return torch.from_numpy(distance) - 0.5
