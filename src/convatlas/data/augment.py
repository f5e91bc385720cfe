"""Augmentations as published, each for a whole batch at once.

A function takes pictures (n, C, H, W) and one seed per picture, int64 (n,); what happens to a picture depends on it and
its seed only. So one picture is a batch of one, and gets bit for bit what it gets among others: nothing here sums over
a batch, or uses matrix products, whose rounding changes with the number of rows.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as nn

from .draws import below, between, derived, normals, uniforms

Border = Literal["black", "reflect"]
TRIES = 10                                              # of a random box, until one fits
# Random Erasing's share of the area, height / width, and rows and columns that are left: (2017), section 4; timm's
ERASED = {"mean": ((0.02, 0.33), (0.3, 3.3), 0), "noise": ((0.02, 1 / 3), (0.3, 1 / 0.3), 1)}

# --- where: crops and mirror images -----------------------------------------------------------------------------------


def centered(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """The centre of a picture as (..., h, w), with black around it where it is smaller; rounds as torchvision does."""
    pads: list[int] = []
    for have, want in zip(reversed(pixels.shape[-2:]), reversed(size), strict=True):
        before = (want - have) // 2 if want > have else -round((have - want) / 2)
        pads += [before, want - have - before]
    return nn.pad(pixels, pads) if any(pads) else pixels


def padded(pixels: Tensor, pad: int, border: Border) -> Tensor:
    """`pad` more pixels on each side: AlexNet's and ResNet's black, or WRN's mirror, which does not repeat the edge."""
    if not pad:
        return pixels
    if border == "black":
        return nn.pad(pixels, [pad] * 4)
    return torch.from_numpy(np.pad(pixels.numpy(), [(0, 0)] * (pixels.dim() - 2) + [(pad, pad)] * 2, mode="reflect"))


def windows(pixels: Tensor, size: tuple[int, int], seeds: Tensor) -> Tensor:
    """AlexNet's offsets: of each picture a window (h, w), every place equally likely."""
    places = uniforms(seeds, 2, "window")
    h, w = size
    top = below(places[:, 0], pixels.shape[-2] - h + 1).numpy()
    left = below(places[:, 1], pixels.shape[-1] - w + 1).numpy()
    # a view: (n, C, tops, lefts, h, w)
    every = np.lib.stride_tricks.sliding_window_view(pixels.numpy(), (h, w), axis=(2, 3))
    return torch.from_numpy(every[np.arange(len(pixels)), :, top, left])


def mirrored(pixels: Tensor, probability: float, seeds: Tensor) -> Tensor:
    """Left and right exchanged in that share of the pictures."""
    chosen = (uniforms(seeds, 1, "flip")[:, 0] < probability).numpy()
    done = pixels.numpy().copy()
    done[chosen] = done[chosen][..., ::-1]
    return torch.from_numpy(done)


def short_sides(span: tuple[int, int], seeds: Tensor) -> list[int]:
    """VGG's scale jitter: the length of each picture's short side, every integer of the span equally likely."""
    low, high = span
    return (low + below(uniforms(seeds, 1, "short side")[:, 0], high - low + 1)).tolist()


def boxes(
    size: tuple[int, int] | Tensor, area: tuple[float, float], aspect: tuple[float, float], seeds: Tensor, salt: str,
    spare: int = 0
) -> tuple[Tensor, Tensor]:
    """Rectangles inside (h, w): (top, left, height, width) as int64 (n, 4), and whether one of ten tries fitted, (n,).

    `size` is one for all, or int64 (n, 2). The share of the area is uniform, the logarithm of width / height too, and
    so is the place; at least `spare` rows and columns are left.
    """
    h, w = _sides(size)
    draws = uniforms(seeds, 2 * TRIES + 2, salt)
    areas = between(draws[:, :TRIES], *area) * h * w
    aspects = between(draws[:, TRIES : 2 * TRIES], float(np.log(aspect[0])), float(np.log(aspect[1]))).exp()
    heights, widths = (areas / aspects).sqrt().round().long(), (areas * aspects).sqrt().round().long()
    fits = (heights > 0) & (heights <= h - spare) & (widths > 0) & (widths <= w - spare)
    first = fits.int().argmax(1, keepdim=True)
    height, width = heights.gather(1, first), widths.gather(1, first)
    top, left = below(draws[:, -2:-1], (h - height + 1).clamp(min=1)), below(draws[:, -1:],
                                                                             (w - width + 1).clamp(min=1))
    return torch.cat([top, left, height, width], 1), fits.any(1)


def inception_boxes(
    size: tuple[int, int] | Tensor, scale: tuple[float, float], ratio: tuple[float, float], seeds: Tensor
) -> Tensor:
    """GoogLeNet's crops, int64 (n, 4); where no try fits, the largest centre crop whose aspect is within `ratio`.

    `size` as in `boxes`.
    """
    h, w = _sides(size)
    found, fits = boxes(size, scale, ratio, seeds, "resized crop")
    width, height = (torch.minimum(w, (h.double() * ratio[1]).round().long()),
                     torch.minimum(h, (w.double() / ratio[0]).round().long()))
    center = torch.cat([(h - height) // 2, (w - width) // 2, height, width], 1)
    return torch.where(fits[:, None], found, center)


def _sides(size: tuple[int, int] | Tensor) -> tuple[Tensor, Tensor]:
    """Heights and widths, int64 (n, 1), or (1, 1) where all are the same."""
    sizes = size if isinstance(size, Tensor) else torch.tensor([size])
    return sizes[:, :1], sizes[:, 1:]


# --- shape: affine and elastic distortions ----------------------------------------------------------------------------


def affine_field(most: tuple[float, float, float, float], size: tuple[int, int], seeds: Tensor) -> Tensor:
    """Rotated, shifted, scaled, sheared about the centre: from where each pixel comes, in pixels from it, (n, 2, h, w).

    Each is uniform up to ± its largest value. The two axes are scaled apart, which also squeezes, and the shear is
    horizontal: with the shift the distortions of LeNet-5 (1998, section III-C).
    """
    h, w = size
    rotation, shift, scale, shear = most
    largest = torch.tensor([np.radians(rotation), np.radians(shear), shift * w, shift * h, scale, scale],
                           dtype=torch.float64)
    angle, slant, right, down, wider, higher = (between(uniforms(seeds, 6, "affine"), -1,
                                                        1) * largest).T[:, :, None, None]
    y, x = _center_grid(h, w)
    x_moved, y_moved = x - right, y - down          # backwards: unshift, unrotate, unshear, unscale
    x_turned = angle.cos() * x_moved + angle.sin() * y_moved
    y_turned = angle.cos() * y_moved - angle.sin() * x_moved
    x_from = (x_turned - slant.tan() * y_turned) / (1 + wider)
    y_from = y_turned / (1 + higher)
    return torch.stack([x_from - x, y_from - y], 1).float()


def displacement(seeds: Tensor, grid: int, sigma: float, size: tuple[int, int]) -> Tensor:
    """U-Net's deformation (2015, section 3.1): from where each pixel comes, in pixels from it, (n, 2, h, w), x first.

    Displacements from N(0, sigma²) at grid × grid points, whose outer ones lie on the picture's corners, and bicubic
    interpolation between them.
    """
    coarse = normals(seeds, 2 * grid * grid, "elastic").view(-1, 2, grid, grid) * sigma
    return nn.interpolate(coarse, size, mode="bicubic", align_corners=True)


def deform(images: Tensor, field: Tensor, mode: Literal["bilinear", "nearest"] = "bilinear",
           border: Border = "black") -> Tensor:
    """Pictures (n, C, H, W) read at each pixel's place plus `field` (n, 2, H, W), dx then dy; keeps the dtype.

    A label map takes the same field and mode="nearest": labels are then moved, never mixed.
    """
    if field.shape != (len(images), 2, *images.shape[-2:]):
        raise ValueError(f"images {tuple(images.shape)} need a field (n, 2, H, W) of their size, not "
                         f"{tuple(field.shape)}")
    h, w = images.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    scaled = torch.stack([(x + field[:, 0]) * 2 / max(w - 1, 1) - 1, (y + field[:, 1]) * 2 / max(h - 1, 1) - 1], -1)
    beyond = {"black": "zeros", "reflect": "reflection"}[border]
    return nn.grid_sample(images.float(), scaled, mode=mode, padding_mode=beyond, align_corners=True).to(images.dtype)


def _center_grid(h: int, w: int) -> tuple[Tensor, Tensor]:
    """The rows and columns of all pixels, counted from the centre: float64 (h, w) each."""
    rows, columns = torch.arange(h, dtype=torch.float64), torch.arange(w, dtype=torch.float64)
    y, x = torch.meshgrid(rows - (h - 1) / 2, columns - (w - 1) / 2, indexing="ij")
    return y, x


# --- colour -----------------------------------------------------------------------------------------------------------


def jittered(pixels: Tensor, most: tuple[float, float, float, float], seeds: Tensor) -> Tensor:
    """Photometric distortion: brightness, contrast, saturation and hue of each picture changed, in random order; on
    uint8.

    As torchvision's ColorJitter: the first three times a factor up to 1 ± their value, hue turned by up to ± its value.
    """
    draws = uniforms(seeds, 8, "jitter")
    ranges = [*((max(0.0, 1 - value), 1 + value) for value in most[:3]), (-most[3], most[3])]
    factors = torch.stack([between(draws[:, k], *span) for k, span in enumerate(ranges)], 1).tolist()
    orders = draws[:, 4:].argsort(1).tolist()
    done = [_adjusted(*picture, most) for picture in zip(pixels, factors, orders, strict=True)]
    return torch.stack(done)


def _adjusted(picture: Tensor, factors: Sequence[float], order: Sequence[int], most: Sequence[float]) -> Tensor:
    from torchvision.transforms.v2 import functional as F

    adjust = F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue
    for k in order:
        if most[k]:
            picture = adjust[k](picture, factors[k])
    return picture


def color_noise(deviation: float, values: Tensor, vectors: Tensor, seeds: Tensor) -> Tensor:
    """AlexNet's (2012, section 4.1): what is added to every pixel of each picture, (n, 3, 1, 1).

    The sum of the principal components, columns of `vectors` (3, 3), each times its eigenvalue times N(0, deviation²).
    """
    factors = normals(seeds, 3, "pca") * deviation * values
    red, green, blue = (factors[:, k, None] * vectors[:, k] for k in range(3))
    return (red + green + blue)[:, :, None, None]


def by_policy(pixels: Tensor, policy: Callable[[Tensor], Tensor], seeds: Tensor) -> Tensor:
    """Each picture through one of torchvision's policies, whose draws from torch's global generator come from its seed.
    """
    done = []
    with torch.random.fork_rng(devices=[]):
        for picture, seed in zip(pixels, derived(seeds, "policy").tolist(), strict=True):
            torch.default_generator.manual_seed(seed)       # torch.manual_seed would re-seed CUDA's generators as well
            done.append(policy(picture))
    return torch.stack(done)


@cache
def make_policy(name: str, ops: int, magnitude: int) -> Any:
    """`augment.policy` by name: torchvision's TrivialAugment, RandAugment, or AutoAugment as found on ImageNet."""
    from torchvision.transforms import v2

    if name == "randaugment":
        return v2.RandAugment(ops, magnitude)
    return {"trivial": v2.TrivialAugmentWide, "autoaugment": v2.AutoAugment}[name]()


# --- after normalisation ----------------------------------------------------------------------------------------------


def erased(values: Tensor, probability: float, seeds: Tensor, fill: Literal["mean", "noise"] = "mean") -> Tensor:
    """Random Erasing (2017): in that share of the pictures a rectangle is set to 0, the mean of normalised pixels, or
    to noise from N(0, 1), another value for each pixel and channel, as timm's `pixel` mode.
    """
    h, w = values.shape[-2:]
    chosen = uniforms(seeds, 1, "erase")[:, 0] < probability
    area, aspect, spare = ERASED[fill]
    found, fits = boxes((h, w), area, aspect, seeds, "erased box", spare)
    if fill == "noise":
        values = values.clone()
        for place in (chosen & fits).nonzero().flatten().tolist():
            top, left, height, width = found[place].tolist()
            box = values[place, :, top : top + height, left : left + width]
            box[:] = normals(seeds[place : place + 1], box.numel(), "erased noise").view(box.shape)
        return values
    top, left, height, width = found.T[:, :, None]
    rows = (torch.arange(h) >= top) & (torch.arange(h) < top + height)
    columns = (torch.arange(w) >= left) & (torch.arange(w) < left + width)
    inside = (chosen & fits)[:, None, None] & rows[:, :, None] & columns[:, None, :]
    return values.masked_fill(inside[:, None], 0)
