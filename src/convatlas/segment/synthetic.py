"""Synthetic cells: images of round and long cells that touch, under uneven light, with membranes, noise and blur, from
a seed.

They are here so that `convatlas train unet cells` has something to learn on any machine: telling a cell from the
background is easy in most places, and hard where two touch, where the light fades, and where a vesicle looks like a
small cell.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

CELLS = "cells"         # what the data set is called
SIDE = 256              # pixels
Field = NDArray[np.float64]


def cells(count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """`count` images uint8 (1, 256, 256), each with its instances int64 (256, 256): 0 is the background."""
    return [_one(np.random.default_rng([seed, number])) for number in range(count)]


def _one(dice: np.random.Generator) -> tuple[Tensor, Tensor]:
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    instances, distance = np.zeros((SIDE, SIDE), np.int64), np.full((SIDE, SIDE), 9.0)
    for _ in range(dice.integers(14, 34)):
        inside = _shape(dice, x, y)
        # of two that overlap, each pixel goes to the one whose middle is nearer
        new = (inside < 1) & (inside < distance)
        if ((inside < 1) & (instances > 0)).sum() > 0.35 * max((inside < 1).sum(), 1):
            continue
        instances[new] = instances.max() + 1
        distance = np.minimum(distance, inside)
    instances = _relabeled(instances)
    edges = _edges(instances)
    body = np.where(instances > 0, 0.52 + 0.1 * (1 - distance.clip(0, 1)), 0.3)
    body += dice.normal(0, 0.05, instances.max() + 1)[instances]        # no two cells are alike
    body[edges & (instances > 0)] = 0.74                                # membranes
    for _ in range(dice.integers(8, 20)):                               # vesicles, anywhere
        cx, cy, r = dice.uniform(0, SIDE), dice.uniform(0, SIDE), dice.uniform(1.5, 4)
        body[(x - cx) ** 2 + (y - cy) ** 2 < r**2] += dice.choice([-0.18, 0.2])
    light = 1 + 0.35 * _smooth(dice, 3)
    shown = _blurred(body * light, 1.1) + 0.06 * _smooth(dice, 12) + dice.normal(0, 0.045, body.shape)
    return torch.from_numpy((shown.clip(0, 1) * 255).round().astype(np.uint8))[None], torch.from_numpy(instances)


def _shape(dice: np.random.Generator, x: Field, y: Field) -> Field:
    """Distance of each pixel from a cell's middle, 1 at its border: an ellipse with a wavy outline."""
    cx, cy, angle = dice.uniform(0, SIDE), dice.uniform(0, SIDE), dice.uniform(0, np.pi)
    long = dice.uniform(11, 26)
    short = long * dice.uniform(0.45, 1.0)
    u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    turn = np.arctan2(v, u)
    wave = sum(dice.normal(0, 0.05) * np.cos(k * turn + dice.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5))
    found: Field = np.hypot(u / long, v / short) / (1 + wave)
    return found


def _relabeled(instances: NDArray[np.int64]) -> NDArray[np.int64]:
    """Without cells of fewer than 30 pixels, numbered from 1."""
    numbers, places, sizes = np.unique(instances, return_inverse=True, return_counts=True)
    kept = (numbers > 0) & (sizes >= 30)
    new: NDArray[np.int64] = np.where(kept, np.cumsum(kept), 0)[places.reshape(instances.shape)]
    return new


def _edges(instances: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Pixels with a neighbour of another number."""
    edges = np.zeros(instances.shape, bool)
    for axis in (0, 1):
        differ = np.diff(instances, axis=axis) != 0
        edges = edges | np.pad(differ, [(0, 1) if i == axis else (0, 0) for i in (0, 1)])
        edges = edges | np.pad(differ, [(1, 0) if i == axis else (0, 0) for i in (0, 1)])
    return edges


def _smooth(dice: np.random.Generator, points: int) -> Field:
    """A smooth random field, about -1 to 1: `points` × `points` numbers, bicubic between them."""
    coarse = torch.from_numpy(dice.uniform(-1, 1, (1, 1, points, points)))
    field: Field = F.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=True)[0, 0].numpy()
    return field


def _blurred(field: Field, sigma: float) -> Field:
    reach = np.arange(-4, 5)
    kernel = np.exp(-(reach**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    wide = np.pad(field, 4, mode="reflect")
    rows = sum(weight * wide[4 + k : 4 + k + SIDE] for k, weight in zip(reach, kernel, strict=True))
    blurred: Field = sum(weight * np.asarray(rows)[:, 4 + k : 4 + k + SIDE]
                         for k, weight in zip(reach, kernel, strict=True))
    return blurred
