"""Normalization by what was measured on the training images (`fitted.fit`): channels, mean picture, contrast, ZCA
whitening.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import ConvatlasError
from ..run import MEASURED as MEASURED

LEAST = 1e-8                # a smaller deviation divides nothing: a picture of one colour stays 0


def apply(kind: str, values: Tensor, tensors: Mapping[str, Tensor], std: tuple[float, ...] | None = None) -> Tensor:
    """Normalise `values`, float32 (C, h, w) or (N, C, h, w) in [0, 1], as the preprocessing `kind` that was fitted
    says.

    `tensors` are `fit`'s; `std` is what pixel_mean divides by, one number or one per channel, 1 if left out. A picture
    comes out the same alone and in a batch. Raises ConvatlasError where `tensors` were fitted to another shape, or lack
    what `kind` needs.
    """
    return _APPLY[kind](values, tensors, std)


def _channel(values: Tensor, tensors: Mapping[str, Tensor], std: tuple[float, ...] | None) -> Tensor:
    shape = values.shape[-3:-2]
    mean, deviation = (_need("channel", tensors, name, shape).view(-1, 1, 1) for name in ("mean", "std"))
    return (values - mean) / deviation


def _pixel_mean(values: Tensor, tensors: Mapping[str, Tensor], std: tuple[float, ...] | None) -> Tensor:
    return (values - _need("pixel_mean", tensors, "mean", values.shape[-3:])) / torch.tensor(std
                                                                                             or (1.0,)).view(-1, 1, 1)


def _gcn(values: Tensor, tensors: Mapping[str, Tensor], std: tuple[float, ...] | None) -> Tensor:
    return contrast(values.double()).float()


def _zca(values: Tensor, tensors: Mapping[str, Tensor], std: tuple[float, ...] | None) -> Tensor:
    size = values.shape[-3:].numel()
    mean, whitening = _need("zca", tensors, "mean", (size,)), _need("zca", tensors, "whitening", (size, size))
    rows = _gcn(values, tensors, std).reshape(-1, size) - mean
    # One product per picture: in one of matrices, the last bits depend on how many pictures there are.
    return torch.stack([whitening @ row for row in rows]).view(values.shape)


_APPLY = {"channel": _channel, "pixel_mean": _pixel_mean, "gcn": _gcn, "zca": _zca}
def contrast(values: Tensor) -> Tensor:
    """Each picture of (…, C, h, w) to mean 0 and deviation 1, in float64: there a picture of one colour is really
    constant.
    """
    centered = values - values.mean((-3, -2, -1), keepdim=True)
    deviation = centered.square().mean((-3, -2, -1), keepdim=True).sqrt()
    return centered / torch.where(deviation < LEAST, 1, deviation)


def _need(kind: str, tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor of that name, which must have that shape."""
    found = tensors.get(name)
    if found is None:
        raise ConvatlasError(f"preprocess.fit = {kind!r} needs {name!r}, which is measured on the training images and "
                             "kept with the weights; it is not there")
    if found.shape != shape:
        raise ConvatlasError(f"preprocess.fit = {kind!r} was measured on another input: {name!r} is "
                             f"{tuple(found.shape)}, but {tuple(shape)} is needed; set image_size and in_chans as they "
                             "were in training")
    return found
