"""The one table of rules: samples of any kind as bytes of pixels, grey or RGB.

stored as                   becomes
truth values                0 and 255
8 bits                      as they are
16 bits, whole numbers      0 to 255: of `Decoding.range`, else of what the file itself says, else of 0 to 65535
floats                      0 to 255: of `Decoding.range`, else of 0 to 1; NaN and infinities are refused
grey                        one channel; everything else three: red, green, blue
palette, CMYK, YCbCr, Lab   RGB, as Pillow converts them
white is 0 (TIFF)           inverted
transparent                 laid on white; further channels without a meaning are dropped
several pages, frames       the first
EXIF's orientation          turned as it says
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ConvatlasError

DIM = 4095      # 16-bit pictures that nowhere exceed it hold 12 bits, or less
NOTES = {
    "pages": "have several pages or frames: the first is used",
    "alpha": "are transparent in places: they are laid on white",
    "damaged": "are damaged in places, as libtiff says",
    "dim": "have 16 bits and nowhere exceed 4095, so that they look almost black: if their values have another range, "
           "say it with data.range when training",
}

Range = tuple[float, float]
Pixels = NDArray[np.uint8]
Samples = NDArray[Any]


class UnreadableImage(ConvatlasError):  # noqa: N818 - reads as what it is
    """One picture that cannot be decoded; its text names the file and the reason."""


class Decoding(NamedTuple):
    """The settings by which pictures are decoded."""

    least: int | None = None        # pixels that the short side needs; a JPEG four times as large is scaled down
    range: Range | None = None      # the values of black and white where pixels have more than 8 bits
    most: int | None = None         # pixels that a picture may have; None: as memory allows


class Layout(NamedTuple):
    """The meaning of samples (H, W) or (H, W, C)."""

    range: Range | None = None          # of values with more than 8 bits
    inverted: bool = False              # 0 is white
    palette: Pixels | None = None       # (256, 3), or (256,) grey: samples are its rows
    channels: int | None = None         # as many are meant, of more; 1: there is no axis for it
    cmyk: bool = False
    alpha: str = ""                     # of the last channel: "straight", "premultiplied"; else none
    key: tuple[int, ...] | None = None  # the sample that stands for transparency


def eight_bits(values: Samples, span: Range | None = None) -> Pixels:
    """Values of any kind as uint8, by the rules above; raises UnreadableImage where their scale is not known."""
    kind = values.dtype.kind
    if values.dtype == np.uint8:
        return np.asarray(values, np.uint8)
    if kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if kind not in "iuf":
        raise UnreadableImage(f"its pixels are {values.dtype}: save it as whole numbers or floats")
    usual = (0.0, 1.0) if kind == "f" else (0.0, 65535.0)
    if kind == "f" and (wrong := values.size - np.count_nonzero(np.isfinite(values))):
        raise UnreadableImage(f"{wrong} of its {values.size} values are not finite numbers")
    if span is None and values.size and not usual[0] <= values.min() <= values.max() <= usual[1]:
        raise UnreadableImage(f"its values run from {values.min():g} to {values.max():g}, whose scale is not known: "
                              "say it with data.range when training")
    low, high = span or usual
    if kind == "u" and values.dtype.itemsize == 2:
        return _table(low, high)[values]
    return _scaled(values, low, high)


def _scaled(values: Samples, low: float, high: float) -> Pixels:
    return np.rint((values.astype(np.float64).clip(low, high) - low) * 255 / (high - low)).astype(np.uint8)


@cache
def _table(low: float, high: float) -> Pixels:
    """All 16-bit values as bytes."""
    return _scaled(np.arange(65536), low, high)


def colors(samples: Samples, layout: Layout) -> Pixels:
    """Samples (H, W) or (H, W, C) as grey (H, W) or RGB (H, W, 3)."""
    if layout.channels is not None and samples.ndim == 3:
        samples = samples[..., 0] if layout.channels == 1 else samples[..., : layout.channels]
    if layout.palette is not None:
        looked = np.take(layout.palette, samples, axis=0)
        return 255 - looked if layout.inverted else looked
    clear = None if layout.key is None else (samples == np.array(layout.key)).reshape(*samples.shape[:2], -1).all(2)
    alpha: Pixels | None
    if layout.alpha:
        alpha = eight_bits(samples[..., -1])
        pixels = eight_bits(samples[..., :-1], layout.range)
        if pixels.shape[2] == 1:
            pixels = pixels[..., 0]
    else:
        alpha = None if clear is None else np.where(clear, np.uint8(0), np.uint8(255))
        pixels = eight_bits(samples, layout.range)
    if layout.inverted:
        pixels = 255 - pixels
    if layout.cmyk:
        pixels = np.array(Image.frombuffer("CMYK", pixels.shape[1::-1], pixels.tobytes()).convert("RGB"))
    if layout.alpha == "premultiplied" and alpha is not None:
        pixels = _divided(pixels, alpha)
    return pixels if alpha is None else on_white(pixels, alpha)


def on_white(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Grey (H, W) or RGB (H, W, 3) laid on white by its opacity (H, W), 255 being opaque; those pixels do not change.
    """
    if (alpha == 255).all():
        return pixels
    share = alpha.astype(np.uint16).reshape(*alpha.shape, *(1,) * (pixels.ndim - 2))
    return ((pixels * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)


def _divided(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Colours that were multiplied by their opacity, as Pillow divides them."""
    share = alpha.astype(np.uint16).reshape(*alpha.shape, *(1,) * (pixels.ndim - 2))
    return np.where(share == 0, 0, np.minimum(255, pixels * np.uint16(255) // np.maximum(share, 1))).astype(np.uint8)


def turned(pixels: Samples, orientation: int) -> Samples:
    """Pixels (H, W, …) as they are shown, where EXIF's orientation is 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels
