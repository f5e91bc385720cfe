"""The contract of whatever answers, a network or a deployed folder: all that prediction and evaluation ask of it."""

from typing import Any, Protocol, Self

import torch

from .card import Card


class Scorer(Protocol):
    """Anything that gives scores for images and has a mode for training: any `nn.Module`."""

    training: bool

    def __call__(self, images: Any, /) -> Any:
        """Scores (N, K) from images (N, C, H, W)."""
        ...

    def train(self, mode: bool = True, /) -> Self:
        """Itself, in the mode for training or for answering."""
        ...

    def eval(self) -> Self:
        """Itself, in the mode for answering."""
        ...


class Answers(Scorer, Protocol):
    """A network that knows what its images and scores are."""

    card: Card

    @property
    def name(self) -> str:
        """The registered name."""
        ...

    @property
    def num_classes(self) -> int:
        """Scores per image."""
        ...

    @property
    def in_chans(self) -> int:
        """Channels of the input."""
        ...

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the images it is for."""
        ...

    def check_image_size(self, size: tuple[int, int] | None = None) -> None:
        """A ConvatlasError, if it takes no images of this (height, width)."""
        ...

    def to(self, device: torch.device, /) -> Self:
        """Itself, on `device`."""
        ...
