"""One picture file as bytes of pixels, by Pillow and NumPy alone; what `data/` makes tensors of."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, features

from .errors import ConvatlasError

# JPEG 2000 and AVIF are not in every Pillow
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm",
                      ".pgm", ".pbm", ".pnm", ".tga"} | {suffix for suffix, feature in (
                          (".jp2", "jpg_2000"), (".avif", "avif")) if features.check(feature)})


class UnreadableImage(ConvatlasError):  # noqa: N818 - reads as what it is
    """One picture that cannot be decoded; its text names the file and the reason."""


def unreadable(path: Path, error: Exception) -> UnreadableImage:
    """The reason why a file is unreadable; on broken bytes Pillow raises nearly anything: struct.error, SyntaxError, …
    """
    if isinstance(error, UnidentifiedImageError):
        reason = "it is in no format that Pillow knows"
    else:
        reason = " ".join(str(error).split()) or type(error).__name__
    return UnreadableImage(f"cannot read the image {str(path)!r}: {reason}")


def read(path: Path) -> NDArray[np.uint8]:
    """A picture file as `to_array` gives it; raises UnreadableImage."""
    try:
        with Image.open(path) as image:
            return to_array(image)
    except Exception as error:
        raise unreadable(path, error) from error


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """A Pillow image as uint8, turned as its EXIF orientation says: grey kinds (H, W), others RGB (H, W, 3), without
    alpha.

    Raises UnreadableImage for pixels whose scale is not known.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):              # 'I;16' in its byte orders, and 'I' where Pillow widens 16 bits to 32
        wide: NDArray[Any] = np.asarray(image).astype(np.int64)
        if np.min(wide) < 0 or np.max(wide) > 65535:
            raise UnreadableImage(f"pixels run from {np.min(wide)} to {np.max(wide)}; save the picture with 8 or 16 "
                                  "bits")
        return np.rint(wide / 257).astype(np.uint8)         # 65535 / 257 = 255
    if image.mode == "F":
        raise UnreadableImage("pixels are 32-bit floats, whose scale is not known; save the picture with 8 or 16 bits")
    return np.array(image.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB"))
