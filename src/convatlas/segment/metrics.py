"""Segmentation metrics: FCN's four figures, Dice, pixel and Rand error, and average precision of instances."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))      # of the Data Science Bowl 2018

Numbers = NDArray[np.integer]


@dataclass(frozen=True)
class PixelMetrics:
    """Of a confusion matrix (K, K), [true, predicted], of pixels; shares, 0 to 1. Absent classes count in no mean."""

    accuracy: float                 # of all pixels, the share that is right
    mean_accuracy: float            # mean over the classes of the share of their pixels that is right
    mean_iou: float                 # mean over the classes of intersection over union
    weighted_iou: float             # the same, weighted by how many pixels each class has
    iou: tuple[float, ...]          # of each class; nan where it is nowhere
    dice: tuple[float, ...]         # of each class: twice the intersection over the sum of both


def pixel_metrics(confusion: Tensor) -> PixelMetrics:
    """Long et al. 2015, section 5, and Dice."""
    table = confusion.double()
    right, true, called = table.diagonal(), table.sum(dim=1), table.sum(dim=0)
    union = true + called - right
    iou, recall = right / union, right / true       # nan where there is nothing
    dice = 2 * right / (true + called)
    return PixelMetrics(
        accuracy=float(right.sum() / table.sum().clamp(min=1)), mean_accuracy=float(recall.nanmean()),
        mean_iou=float(iou.nanmean()), weighted_iou=float((true * iou.nan_to_num()).sum() / table.sum().clamp(min=1)),
        iou=tuple(iou.tolist()), dice=tuple(dice.tolist()))


def overlaps(truth: Numbers, found: Numbers) -> NDArray[np.int64]:
    """Pixels that each true object shares with each found one: int64 (objects + 1, found + 1); row and column 0 are the
    background.
    """
    rows, columns = (np.unique(each, return_inverse=True) for each in (truth, found))
    table = np.zeros((len(rows[0]), len(columns[0])), np.int64)
    np.add.at(table, (rows[1].ravel(), columns[1].ravel()), 1)
    for axis, (numbers, _) in enumerate((rows, columns)):
        if numbers[0] != 0:                         # no background: an empty row or column for it
            table = np.insert(table, 0, 0, axis=axis)
    return table


def instance_precision(truth: Sequence[Numbers], found: Sequence[Numbers],
                       thresholds: Sequence[float] = THRESHOLDS) -> float:
    """Mean over images and thresholds of TP / (TP + FP + FN), as the Data Science Bowl 2018 scored: label maps (H, W),
    0 the background.

    An object is found if one of the prediction overlaps it with an intersection over union above the threshold. An
    image without objects counts 1 if none are found.
    """
    values = []
    for true, guess in zip(truth, found, strict=True):
        table = overlaps(true, guess)
        both, real, called = table[1:, 1:], table[1:].sum(axis=1), table[:, 1:].sum(axis=0)
        iou = both / np.maximum(real[:, None] + called[None, :] - both, 1)
        for threshold in thresholds:
            hits = int((iou > threshold).any(axis=1).sum())
            total = len(real) + len(called) - hits
            values.append(hits / total if total else 1.0)
    return float(np.mean(values)) if values else float("nan")


def rand_error(truth: Numbers, found: Numbers) -> float:
    """Adapted Rand error of two label maps, by scikit-image: 1 − the F-score of pairs of pixels, over the pixels that
    are not background in `truth`; what `found` calls background is one segment more, as SNEMI3D counts.
    """
    from skimage.metrics import adapted_rand_error

    return float(adapted_rand_error(truth, found)[0])


def foreground_rand_error(truth: Numbers, found: Numbers) -> float:
    """Foreground-restricted Rand error of two label maps: 1 − the F-score of pairs of pixels as the challenge of ISBI
    2012 counts them (Arganda-Carreras et al. 2015; `RandError` in Fiji's Trainable Weka Segmentation).

    Pixels are those that are not background in `truth`; of these, what `found` calls background is in no segment. NaN
    where no two pixels are in one.
    """
    table = overlaps(truth, found)[1:].astype(np.float64)
    both, real, called = (float((sizes * (sizes - 1)).sum()) for sizes in (
        table[:, 1:], table.sum(axis=1), table[:, 1:].sum(axis=0)))
    return 1 - 2 * both / (real + called) if real + called else float("nan")
