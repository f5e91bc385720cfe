"""U-Net's weight map: pixels between two cells that nearly touch count most (Ronneberger et al. 2015, eq. 2)."""

import numpy as np
import torch
from torch import Tensor

W0, SIGMA = 10.0, 5.0           # as published, section 3
REACH = 6                       # standard deviations, beyond which the exponential is below 1e-15


def border_weights(instances: Tensor, w0: float = W0, sigma: float = SIGMA) -> Tensor:
    """w0 · exp(−(d1 + d2)² / 2σ²) in the background, 0 in cells: float32 (H, W) from instances int64 (H, W), 0 being
    the background.

    d1 and d2 are the distances, in pixels, to the nearest and to the second nearest cell. The class weights w_c come on
    top.
    """
    from scipy.ndimage import distance_transform_edt, find_objects

    numbers = instances.numpy()
    height, width = numbers.shape
    nearest, second = np.full((2, height, width), np.inf)
    reach = int(np.ceil(REACH * sigma))
    for number, box in enumerate(find_objects(numbers), start=1):
        if box is None:
            continue
        # a cell matters only within reach of it
        around = tuple(slice(max(side.start - reach, 0), side.stop + reach) for side in box)
        distance = distance_transform_edt(numbers[around] != number)
        first = nearest[around]
        second[around] = np.minimum(second[around], np.maximum(first, distance))
        nearest[around] = np.minimum(first, distance)
    weights = w0 * np.exp(-((nearest + second) ** 2) / (2 * sigma**2))
    return torch.from_numpy(np.where(numbers > 0, 0, weights).astype(np.float32))


def parted(instances: Tensor) -> Tensor:
    """The instances with one pixel of background where two of them touch, as the paper's training data has it: int64
    (H, W).
    """
    ridge = torch.zeros_like(instances, dtype=torch.bool)
    for axis in (0, 1):
        here, there = (instances.narrow(axis, 0, instances.shape[axis] - 1),
                       instances.narrow(axis, 1, instances.shape[axis] - 1))
        ridge.narrow(axis, 0, instances.shape[axis] - 1).logical_or_((here != there) & (here > 0) & (there > 0))
    return instances.masked_fill(ridge, 0)
