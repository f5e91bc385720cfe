"""Images of a trial as its network saw them, for figures that training does not report."""

from typing import Literal

import torch
from torch import Tensor

from ...data.source import open_data
from ...run import Run
from ...runs import folder
from ...zoo import transforms
from .trial import Trial


def run_of(trial: Trial) -> Run:
    """The run that was trained."""
    assert trial.folder is not None
    return folder.run_of(trial.folder)


def seen(trial: Trial, part: Literal["train", "val"]) -> tuple[Tensor, Tensor]:
    """Network inputs float32 (N, C, H, W), not augmented, of a part of the trial's images, and labels int64 (N,)."""
    source = open_data(run_of(trial).data)
    images, transform = source.train if part == "train" else source.val, transforms(trial.network())
    return torch.stack([transform(images.read(i)) for i in range(len(images))]), images.labels
