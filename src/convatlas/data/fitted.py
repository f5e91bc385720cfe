"""Preprocessing that is measured on the training images: means, contrast normalisation, whitening, components of
colour.

`fit` measures once, `normalization.apply` uses what it found; the tensors travel with the weights, so that evaluation
sees the same. Pixels are in [0, 1] throughout.

Global contrast normalisation is Goodfellow's (Maxout, 2013; in pylearn2), which Network in Network, All-CNN and Wide
ResNet took over: a picture less its mean, divided by its length / 55. That length is √(C·h·w) times its deviation, so
on CIFAR's 3·32·32 values their 55 means a deviation of 0.992; ours is 1, for pictures of any size.
"""

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from ..errors import ConvatlasError
from ..run import Augment, Preprocess
from .images import ImageSet, UnreadableImage
from .normalization import LEAST, contrast
from .transform import Transform, make_transform

ZCA_EPS = 0.1               # pylearn2's, added to the variances before their root: small ones are noise
ZCA_PICTURES = 50_000       # as many as CIFAR has to train on
ZCA_VALUES = 3 * 64 * 64    # of one picture, at most
CHUNK = 128                 # pictures added up at once
TELL_EVERY = 30.0           # seconds


def unnormalized(preprocess: Preprocess, image_size: int | tuple[int, int], in_chans: int) -> Transform:
    """The evaluation's transform up to pixels in [0, 1], through which `fit` looks."""
    return make_transform(preprocess.model_copy(update={"mean": (0.0,), "std": (1.0,), "fit": "none"}),
                          image_size, in_chans)


def fit(preprocess: Preprocess, augment: Augment, images: ImageSet, transform: Callable[[Tensor], Tensor],
        tell: Callable[[str], None] | None = None) -> dict[str, Tensor]:
    """Measurements on the training `images` that `preprocess.fit` and `augment.pca_from` = data ask for: float32
    tensors by name.

    channel: mean, std (C,). pixel_mean: mean (C, h, w). zca: mean (D,) and whitening (D, D) with D = C·h·w. Colours:
    pca_values (3,), pca_vectors (3, 3), one in each column. Empty where there is nothing to measure. `transform` makes
    uint8 (C, H, W) float32 (C, h, w) in [0, 1], as `unnormalised` does. The same images give the same tensors. Pictures
    that cannot be read are left out; whitening looks at 50 000 at most, evenly spaced. `tell` hears of the progress
    every half minute. Raises ConvatlasError where no picture can be read, or where they do not suit what is to be
    measured.
    """
    measures = [_MEASURES[preprocess.fit]()] if preprocess.fit in _MEASURES else []
    if augment.pca_colour and augment.pca_from == "data":
        measures.append(_Colors())
    if not measures:
        return {}
    most = ZCA_PICTURES if preprocess.fit == "zca" else len(images)
    chosen = [i for i in range(len(images)) if i * most % len(images) < most]
    for chunk in _chunks(images, chosen, transform, tell or (lambda sentence: None)):
        for measure in measures:
            measure.add(chunk.double())
    found = {name: tensor for measure in measures for name, tensor in measure.result().items()}
    return {name: tensor.float().contiguous() for name, tensor in found.items()}


def _chunks(images: ImageSet, chosen: list[int], transform: Callable[[Tensor], Tensor],
            tell: Callable[[str], None]) -> Iterator[Tensor]:
    """The pictures that can be read, transformed: float32 (n, C, h, w)."""
    done, read, told = list[Tensor](), 0, time.monotonic()
    for number, index in enumerate(chosen):
        if time.monotonic() - told > TELL_EVERY:
            told = time.monotonic()
            tell(f"Measuring the training images for the preprocessing: {number} of {len(chosen)}.")
        try:
            done.append(transform(images.read(index)))
        except UnreadableImage:
            continue
        read += 1
        if len(done) == CHUNK:
            yield torch.stack(done)
            done.clear()
    if done:
        yield torch.stack(done)
    if not read:
        raise ConvatlasError(f"preprocessing cannot be measured: none of {len(chosen)} training images can be read")


# -- measuring -------------------------------------------------------------------------------------------------------

class _Measure(Protocol):
    """Sums over pictures, float64 (n, C, h, w) at a time, and what follows from them."""

    def add(self, pictures: Tensor) -> None: ...

    def result(self) -> dict[str, Tensor]: ...


class _Moments:
    """Number, sum and sum of products of vectors (n, D); all in float64, where E[xxᵀ] − mmᵀ loses nothing that counts.
    """

    def __init__(self) -> None:
        self.count = 0
        self.sums = self.products = torch.zeros((), dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        self.count += len(rows)
        self.sums = self.sums + rows.sum(0)
        self.products = self.products + rows.T @ rows

    def mean(self) -> Tensor:
        return self.sums / self.count

    def covariance(self) -> Tensor:
        return self.products / self.count - torch.outer(self.mean(), self.mean())


class _Channel:
    """Mean and deviation of each channel over all pixels."""

    def __init__(self) -> None:
        self.moments = _Moments()

    def add(self, pictures: Tensor) -> None:
        self.moments.add(_pixels(pictures))

    def result(self) -> dict[str, Tensor]:
        deviation = self.moments.covariance().diagonal().clamp(min=0).sqrt()
        return {"mean": self.moments.mean(), "std": torch.where(deviation < LEAST, 1, deviation)}


class _PixelMean:
    """The mean picture."""

    def __init__(self) -> None:
        self.count, self.sums = 0, torch.zeros((), dtype=torch.float64)

    def add(self, pictures: Tensor) -> None:
        self.count += len(pictures)
        self.sums = self.sums + pictures.sum(0)

    def result(self) -> dict[str, Tensor]:
        return {"mean": self.sums / self.count}


class _Zca:
    """ZCA whitening after contrast normalisation: U (S + ε)^(−1/2) Uᵀ of the covariance U S Uᵀ."""

    def __init__(self) -> None:
        self.moments = _Moments()

    def add(self, pictures: Tensor) -> None:
        values = pictures[0].numel()
        if values > ZCA_VALUES:
            shape = "×".join(map(str, pictures.shape[1:]))
            raise ConvatlasError(f"preprocess.fit = 'zca' is refused for an input of {shape}: whitening is a matrix of "
                                 f"{values}², {4 * values**2:,} bytes; use 'gcn', or an image_size of 64 or less")
        self.moments.add(contrast(pictures).flatten(1))

    def result(self) -> dict[str, Tensor]:
        variances, directions = torch.linalg.eigh(self.moments.covariance())
        scaled = directions * (variances.clamp(min=0) + ZCA_EPS).rsqrt()
        return {"mean": self.moments.mean(), "whitening": scaled @ directions.T}


class _Colors:
    """Principal components of red, green and blue over all pixels (AlexNet, section 4.1), the largest first."""

    def __init__(self) -> None:
        self.moments = _Moments()

    def add(self, pictures: Tensor) -> None:
        if pictures.shape[1] != 3:
            raise ConvatlasError(f"augment.pca_from = 'data' needs red, green and blue, not {pictures.shape[1]} "
                                 "channels; set augment.pca_colour to 0")
        self.moments.add(_pixels(pictures))

    def result(self) -> dict[str, Tensor]:
        variances, directions = torch.linalg.eigh(self.moments.covariance())
        return {"pca_values": variances.flip(0).clamp(min=0), "pca_vectors": directions.flip(1)}


_MEASURES: dict[str, Callable[[], _Measure]] = {"channel": _Channel, "pixel_mean": _PixelMean, "zca": _Zca}


def _pixels(pictures: Tensor) -> Tensor:
    """(n, C, h, w) -> (n·h·w, C)."""
    return pictures.movedim(1, -1).flatten(0, 2)
