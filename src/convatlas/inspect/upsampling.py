"""Upsampling by convolution: zeros are put between the pixels of a map, then it is convolved; a transposed convolution
does both at once.

As in FCN and U-Net (Long et al. 2015; Ronneberger et al. 2015). Where the stride does not divide the kernel, pixels of
the result are reached by different numbers of weights: the checkerboard of Odena et al., "Deconvolution and
Checkerboard Artifacts", Distill 2016.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..draw.canvas import LETTER, MARGIN, below, canvas, least_width, write
from ..draw.cells import CELL, cells
from ..errors import ConvatlasError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LIMIT = 12      # cells along a side that a picture shows


@dataclass(frozen=True)
class Upsampling:
    """A map on its way up; every part is (h, w)."""

    image: Tensor
    kernel: Tensor              # of the transposed convolution
    stride: int
    spread: Tensor              # the image with stride − 1 zeros between its pixels and kernel − 1 around them
    convolved: Tensor           # `spread` through an ordinary convolution of stride 1 with the kernel turned by 180°
    transposed: Tensor          # the image through torch's transposed convolution
    overlaps: Tensor            # how many pixels of the image reach each pixel of the result
    bilinear: Tensor            # the image enlarged `stride` times by interpolation, without weights to learn

    @property
    def difference(self) -> float:
        """The largest absolute difference between the two ways to convolve upwards."""
        return float((self.convolved - self.transposed).abs().max())

    @property
    def checkerboard(self) -> bool:
        """True if pixels in the middle of the result are reached by different numbers of pixels: the stride does not
        divide the kernel.
        """
        return self.kernel.shape[0] % self.stride != 0


def upsampling(image: Tensor | None = None, kernel: Tensor | int = 3, stride: int = 2) -> Upsampling:
    """The steps for a map (h, w) (default: 3×3, 1 to 9) and a square kernel, or the side of one of ones."""
    image = torch.arange(1.0, 10.0).reshape(3, 3) if image is None else image
    weights = torch.ones(kernel, kernel) if isinstance(kernel, int) else kernel
    if image.ndim != 2 or weights.ndim != 2 or weights.shape[0] != weights.shape[1]:
        raise ConvatlasError(f"a map {tuple(image.shape)} and a kernel {tuple(weights.shape)} are refused: both have "
                             "two sides, the kernel equal ones")
    if stride < 1 or weights.shape[0] < 1:
        raise ConvatlasError(f"kernel {weights.shape[0]} with stride {stride} is refused: both are at least 1")
    spread = _spread(image, stride, weights.shape[0] - 1)
    convolved = F.conv2d(spread[None, None], weights.flip(0, 1)[None, None])[0, 0]
    ones = torch.ones_like(image)[None, None]
    return Upsampling(
        image, weights, stride, spread, convolved,
        F.conv_transpose2d(image[None, None], weights[None, None], stride=stride)[0, 0],
        F.conv_transpose2d(ones, torch.ones_like(weights)[None, None], stride=stride)[0, 0],
        F.interpolate(image[None, None], scale_factor=stride, mode="bilinear", align_corners=False)[0, 0])


def _spread(image: Tensor, stride: int, around: int) -> Tensor:
    """Zeros between the pixels and around them."""
    high, wide = (stride * (length - 1) + 1 for length in image.shape)
    spread = image.new_zeros(high + 2 * around, wide + 2 * around)
    spread[around : around + high : stride, around : around + wide : stride] = image
    return spread


# -- the picture -----------------------------------------------------------------------------------------------------

GAP, UNDER = 60, 62         # units between two grids, and under a row of them


def draw(result: Upsampling) -> "Figure":
    """Above: the map, zeros put in, the kernel, the result.

    Below: how often each pixel is reached, and bilinear interpolation.
    """
    sides = [*result.spread.shape, *result.convolved.shape, *result.bilinear.shape]
    if max(sides) > LIMIT:
        raise ConvatlasError(f"{max(sides)} cells along a side are too many to draw, at most {LIMIT}: take a smaller "
                             "map, kernel or stride")
    k, s = result.kernel.shape[0], result.stride
    title = "Upsampling by convolution: put zeros in, then convolve"
    even = (f"{s} does not divide {k}: pixels are reached unevenly, a checkerboard" if result.checkerboard else
            f"{s} divides {k}: away from the border every pixel is reached equally often")
    lines = [f"a {k}×{k} kernel, stride {s}; a transposed convolution gives the same, the largest difference is "
             f"{result.difference:g}", even]
    above = [(result.image, "map", ""), (result.spread, f"zeros put in: {s - 1} between, {k - 1} around", "→"),
             (result.kernel, "kernel", "∗"), (result.convolved, "convolved", "=")]
    under = [(result.overlaps, "pixels of the map that reach it", ""),
             (result.bilinear, "bilinear: nothing learned, no checkerboard", "")]
    top = below(lines) + 14
    middle = top + CELL * max(len(values) for values, *_ in above) + UNDER
    high = middle + CELL * max(len(values) for values, *_ in under) + UNDER - 10
    wide = 2 * MARGIN + max(sum(_width(values, word) + GAP for values, word, _ in row) for row in (above, under)) - GAP
    with canvas(max(wide, least_width(title, lines)), high, title, lines) as (figure, axes):
        for row, y in ((above, top), (under, middle)):
            tall, x = CELL * max(len(values) for values, *_ in row), float(MARGIN)
            for values, word, sign in row:
                _grid(axes, result, values, x, y + (tall - CELL * len(values)) / 2)
                write(axes, x - GAP / 2, y + tall / 2, sign, "ink", 18, ha="center", va="center")
                write(axes, x, y + (tall + CELL * len(values)) / 2 + 20, word, "soft", 10.5)
                x += _width(values, word) + GAP
    return figure


def _width(values: Tensor, word: str) -> float:
    """Units of a grid and of the word under it."""
    return max(CELL * values.shape[1], LETTER * len(word))


def _grid(axes: "Axes", result: Upsampling, values: Tensor, x: float, y: float) -> None:
    """Pixels of the map in colour, the zeros put between them grey, results in shades."""
    if values is result.image or values is result.spread:
        around = result.kernel.shape[0] - 1
        real = (torch.ones_like(values) if values is result.image
                else _spread(torch.ones_like(result.image), result.stride, around))
        marked, faint = ([(i, j) for i, j in where.nonzero().tolist()] for where in (real, real == 0))
        cells(axes, values, x, y, marked=marked, faint=faint)
    elif values is result.kernel:
        cells(axes, values, x, y)
    else:
        cells(axes, values, x, y, shades=(0.65 * values / values.abs().max().clamp(min=1e-12)).clamp(min=0))
