"""Mask files: their values as they are stored, before anything is known of what they mean."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from .. import bounded
from ..data.images import UnreadableImage
from ..pixels import check_size
from ..pixels.hush import hushed
from ..pixels.whole import ORIENTATION

Numbers = NDArray[np.int64]
MOST = 4096             # distinct colours of one mask that are remembered: those of most pixels
BLURRED = ("JPEG", "MPO", "WEBP", "AVIF")           # formats that may change values
LOSSLESS = 4096         # bytes at a WebP's beginning that say whether it does
# range of values around a pixel of a flat area: of numbers and colours that may have changed, and where none has
WIDEST, EXACT = {False: 8, True: 20}, 0
STRAIGHT = 1            # EXIF's orientation of a picture that is shown as it is stored


class Stored(NamedTuple):
    """One mask as its file has it."""

    values: Numbers                     # (H, W): numbers, palette indices, or colours packed by `packed`
    colored: bool
    blurred: bool                       # in a format that may change values
    alpha: NDArray[np.uint8] | None     # (H, W), where there is one
    palette: Sequence[int]              # of indices: red, green, blue of the first, and so on
    upright: bool                       # turned as its own EXIF orientation says


@dataclass(frozen=True)
class Seen:
    """The values that occur in one mask, sorted; `flat` counts pixels among neighbours of the same value."""

    path: Path
    shape: tuple[int, int]
    colored: bool
    blurred: bool
    upright: bool
    values: Numbers
    counts: Numbers
    flat: Numbers
    opacities: Numbers
    palette: Sequence[int]


class Head(NamedTuple):
    """A picture's size as displayed, and its EXIF orientation."""

    height: int
    width: int
    orientation: int

    @property
    def stored(self) -> tuple[int, int]:
        """(height, width) as the file has them."""
        return (self.width, self.height) if self.orientation > 4 else (self.height, self.width)


def packed(color: Sequence[int]) -> int:
    """A colour as one number, 0xRRGGBB."""
    return color[0] << 16 | color[1] << 8 | color[2]


def unpacked(value: int) -> tuple[int, int, int]:
    """The reverse."""
    return value >> 16 & 255, value >> 8 & 255, value & 255


def stored(path: Path) -> Stored:
    """A mask from its file: a picture of any mode that Pillow knows, or an array (H, W) as .npy; else UnreadableImage.

    Colours of which red, green and blue are equal are numbers; floats are, if they are whole.
    """
    try:
        if path.suffix.lower() == ".npy":
            return _of_array(bounded.array(path), path)
        return _of_picture(path.read_bytes(), path)
    except UnreadableImage:
        raise
    except Exception as error:      # on broken bytes Pillow raises nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(f"cannot read the mask {str(path)!r}: {reason}") from error


def survey(path: Path) -> Seen:
    """Values of one mask. Raises UnreadableImage."""
    mask = stored(path)
    if not mask.colored and mask.values.min(initial=0) >= 0 and mask.values.max(initial=0) < 2**16:
        counts = np.bincount(mask.values.ravel())
        values = np.flatnonzero(counts)
        counts = counts[values]
    else:
        values, counts = np.unique(mask.values, return_counts=True)
    flat = counts
    # few values need no proof that they are no seams between others
    if mask.blurred or (len(values) > 2 and (mask.colored or (64 <= values.max() <= 255 and values.min() >= 0))):
        inner = mask.values[flat_pixels(mask.values, mask.colored, WIDEST[mask.colored] if mask.blurred else EXACT)]
        here, many = np.unique(inner, return_counts=True)
        flat = np.zeros_like(counts)
        flat[np.searchsorted(values, here)] = many
    if len(values) > MOST and mask.colored:
        most = np.sort(np.argsort(-np.maximum(counts, flat * len(values)), kind="stable")[:MOST])
        values, counts, flat = values[most], counts[most], flat[most]
    opacities = np.unique(mask.alpha).astype(np.int64) if mask.alpha is not None else np.empty(0, np.int64)
    height, width = mask.values.shape
    used = mask.palette[: 3 * (int(values.max(initial=0)) + 1)]
    return Seen(path, (height, width), mask.colored, mask.blurred, mask.upright, values.astype(np.int64),
                counts.astype(np.int64), flat.astype(np.int64), opacities, used)


def flat_pixels(values: Numbers, colored: bool, widest: int) -> NDArray[np.bool_]:
    """True (H, W) where a pixel and its eight neighbours differ by at most `widest`; the edge has fewer neighbours."""
    from scipy.ndimage import maximum_filter, minimum_filter

    flat = np.ones(values.shape, bool)
    for channel in channels(values, colored):
        high, low = maximum_filter(channel, 3, mode="nearest"), minimum_filter(channel, 3, mode="nearest")
        flat &= high.astype(np.int32) - low <= widest
    return flat


def channels(values: Numbers, colored: bool) -> list[NDArray[Any]]:
    """Values as their channels, (H, W) each: red, green and blue of colours."""
    if colored:
        return [(values >> shift & 255).astype(np.uint8) for shift in (16, 8, 0)]
    return [values.astype(np.uint8) if values.size and values.min() >= 0 and values.max() < 256 else values]


def head(path: Path) -> Head:
    """Size and orientation, from the file's head. Raises UnreadableImage."""
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(ORIENTATION, STRAIGHT)
            orientation = orientation if orientation in range(1, 9) else STRAIGHT
            width, height = image.size
            # Pillow gives a TIFF's size as it will be when it is read, which turns it
            swapped = orientation > 4 and image.format != "TIFF"
            return Head(width, height, orientation) if swapped else Head(height, width, orientation)
    except Exception as error:
        raise UnreadableImage(f"cannot read {str(path)!r}: {' '.join(str(error).split())}") from error


def _of_picture(content: bytes, path: Path) -> Stored:
    # bytes: of a path Pillow may map the file, and then it gets turned TIFFs wrong
    with Image.open(BytesIO(content)) as image, hushed([]) if image.format == "TIFF" else nullcontext():
        check_size(*image.size, None)
        if image.format != "MPO" and (pages := getattr(image, "n_frames", 1)) > 1:
            raise UnreadableImage(f"the mask {str(path)!r} has {pages} pages: save the one that counts")
        upright = image.getexif().get(ORIENTATION, STRAIGHT) != STRAIGHT
        blurred = image.format in BLURRED and b"VP8L" not in content[:LOSSLESS]
        palette = (image.getpalette("RGB") or []) if image.mode in ("P", "PA") else []
        shown = ImageOps.exif_transpose(image)
        if shown.mode in ("CMYK", "YCbCr", "HSV", "LAB", "RGBX"):
            shown = shown.convert("RGB")
        return _of_array(np.asarray(shown), path)._replace(blurred=blurred, palette=palette, upright=upright)


def _of_array(pixels: NDArray[Any], path: Path) -> Stored:
    alpha = None
    if pixels.ndim == 3 and 1 in (pixels.shape[0], pixels.shape[2]):
        pixels = pixels.squeeze(2 if pixels.shape[2] == 1 else 0)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        alpha, pixels = pixels[:, :, -1], pixels[:, :, :-1] if pixels.shape[2] == 4 else pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and (pixels.shape[2] != 3 or pixels.dtype != np.uint8)):
        raise UnreadableImage(f"the mask {str(path)!r} holds {pixels.dtype} of shape {pixels.shape}: a mask is numbers "
                              "(H, W) or 8-bit colours (H, W, 3)")
    if pixels.ndim == 3:
        red, green, blue = (pixels[:, :, channel].astype(np.int64) for channel in range(3))
        if (red == green).all() and (green == blue).all():
            return Stored(red, False, False, alpha, (), False)
        return Stored(red << 16 | green << 8 | blue, True, False, alpha, (), False)
    if pixels.dtype.kind == "f":
        whole = np.rint(pixels)
        if not np.isfinite(pixels).all() or (whole != pixels).any():
            odd = pixels[~(whole == pixels)].ravel()[0]
            raise UnreadableImage(f"the mask {str(path)!r} holds {odd:g}: a mask's numbers are whole")
        pixels = whole
    elif pixels.dtype.kind not in "bui":
        raise UnreadableImage(f"the mask {str(path)!r} holds {pixels.dtype}: a mask is numbers or colours")
    return Stored(pixels.astype(np.int64), False, False, alpha, (), False)
