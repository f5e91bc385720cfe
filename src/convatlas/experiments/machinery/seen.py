"""Images of a trial as its network saw them, for figures that training does not report."""

from typing import Literal

import torch
from torch import Tensor

from .trial import Trial


def seen(trial: Trial, part: Literal["train", "val"]) -> tuple[Tensor, Tensor]:
    """Network inputs float32 (N, C, H, W), not augmented, of a part of the trial's images, and labels int64 (N,)."""
    source, transform = trial.images(trial.network())
    images = source.train if part == "train" else source.val
    return torch.stack([transform(images.read(i)) for i in range(len(images))]), images.labels
