"""Algebra of folding, and the contract of a part that folds itself."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Foldable(nn.Module, ABC):
    """A part that computes the same function with fewer layers once it is trained.

    `convatlas.fold` copies the model, folds convolutions and normalisations below the part first, then calls `folded`.
    """

    @abstractmethod
    def folded(self) -> nn.Module:
        """The layer or layers that take this part's place in eval mode; may be the part itself, changed."""


def scale_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """BatchNorm in eval mode as an affine map, x · scale + shift; both (C,), in float64, without gradient."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a BatchNorm without running statistics cannot be folded")
    mean, var = norm.running_mean.double(), norm.running_var.double()
    scale = (var + norm.eps).rsqrt()
    shift = -mean * scale
    if norm.affine:
        weight, bias = norm.weight.detach().double(), norm.bias.detach().double()
        scale, shift = scale * weight, shift * weight + bias
    return scale, shift


def fold_after(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that computes norm(conv(x))."""
    scale, shift = scale_shift(norm)
    bias = shift if conv.bias is None else shift + conv.bias.double() * scale
    return _like(conv, conv.weight.double() * scale.view(-1, 1, 1, 1), bias)


def fold_before(norm: nn.BatchNorm2d, conv: nn.Conv2d) -> nn.Conv2d:
    """One convolution that computes conv(norm(x)), for a convolution without padding."""
    scale, shift = (v.view(conv.groups, -1) for v in scale_shift(norm))
    weight = torch.unflatten(conv.weight.double(), 0, (conv.groups, -1))                # (groups, cout/g, cin/g, k, k)
    bias = torch.einsum("goikl,gi->go", weight, shift).flatten()
    if conv.bias is not None:
        bias = bias + conv.bias.double()
    return _like(conv, (weight * scale[:, None, :, None, None]).flatten(0, 1), bias)


def unpadded(conv: nn.Conv2d) -> bool:
    """True for a convolution that never sees a border: only then may something before it be folded in."""
    return type(conv) is nn.Conv2d and conv.padding in ((0, 0), 0, "valid")


def _like(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution of the same geometry and type with these values, in the old one's precision."""
    new = type(conv)(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,       # type: ignore[arg-type]
                     conv.groups, bias=True, padding_mode=conv.padding_mode, device=conv.weight.device,
                     dtype=conv.weight.dtype)
    assert new.bias is not None
    with torch.no_grad():
        new.weight.copy_(weight)
        new.bias.copy_(bias)
    return new.train(conv.training)
