"""Up-sampling by transposed convolution; cropping and padding of maps that meet."""

import torch
from torch import Tensor, nn


def bilinear_(weight: Tensor) -> None:
    """Bilinear interpolation as the kernel (C, C, k, k) of a transposed convolution, each channel for itself (Long et
    al. 2015).
    """
    size = weight.shape[-1]
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 else factor - 0.5
    slope = 1 - (torch.arange(size, device=weight.device) - center).abs() / factor
    nn.init.zeros_(weight)
    with torch.no_grad():
        weight[range(len(weight)), range(len(weight))] = (slope[:, None] * slope).to(weight.dtype)


def bilinear_up(channels: int, kernel: int, stride: int, *, learned: bool) -> nn.ConvTranspose2d:
    """A transposed convolution without bias that begins as bilinear interpolation, and stays it unless `learned`."""
    layer = nn.ConvTranspose2d(channels, channels, kernel, stride, bias=False)
    bilinear_(layer.weight)
    layer.weight.requires_grad_(learned)
    return layer


def crop(x: Tensor, offset: int, height: int, width: int) -> Tensor:
    """Crop: `height` rows and `width` columns of (N, C, H, W), `offset` pixels from the top and from the left."""
    return x[:, :, offset : offset + height, offset : offset + width]


def crop_center(x: Tensor, like: Tensor) -> Tensor:
    """Centre crop: the middle of (N, C, H, W), as large as `like`."""
    height, width = like.shape[2], like.shape[3]
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]


def pad_to(x: Tensor, like: Tensor) -> Tensor:
    """Padding of (N, C, H, W) with zeros at the bottom and right until it is as large as `like`."""
    return nn.functional.pad(x, [0, like.shape[3] - x.shape[3], 0, like.shape[2] - x.shape[2]])
