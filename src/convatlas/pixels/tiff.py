"""TIFF files that are not read whole: what Pillow reads in their header, as the meaning of their samples."""

from pathlib import Path

import numpy as np
from PIL import TiffImagePlugin

from .rules import Layout, Range, UnreadableImage
from .whole import ORIENTATION, said, samples_in_planes

PHOTOMETRIC, COMPRESSION, COLORMAP, EXTRA = 262, 259, 320, 338
WHITE_IS_0, PALETTE, YCBCR = 0, 3, 6
JPEG = 7
# of Pillow's modes: how many of the channels are meant, and what the last one is
MODES = {"1": (1, ""), "L": (1, ""), "P": (1, ""), "I": (1, ""), "F": (1, ""), "LA": (2, "straight"),
         "La": (2, "premultiplied"), "RGB": (3, ""), "RGBA": (4, "straight"), "CMYK": (4, "")}


def tiff_pixels(path: Path) -> int:
    """Pixels of a TIFF's first page; raises whatever Pillow raises of other files."""
    with TiffImagePlugin.TiffImageFile(path) as image:
        return image.width * image.height


def tiff_layout(path: Path, span: Range | None) -> tuple[Layout, int, frozenset[str]]:
    """The meaning of the samples of a TIFF's first page as they are stored, EXIF's orientation, and keys of `NOTES`.

    `span` is the range of more than 8 bits. Raises UnreadableImage for what cannot be read in parts.
    """
    with TiffImagePlugin.TiffImageFile(path) as image:
        tags, mode = image.tag_v2, "I" if image.mode.startswith("I;16") else image.mode
        bits, _, own = said(image)
        samples_in_planes(image)
        orientation, notes = tags.get(ORIENTATION, 1), frozenset({"pages"} if image.is_animated else ())
        photometric, extra = tags.get(PHOTOMETRIC, 0), tags.get(EXTRA, ())
        by_jpeg = tags.get(COMPRESSION) == JPEG
        colormap = tags.get(COLORMAP)
    if mode not in MODES or (photometric == YCBCR and not by_jpeg and mode != "L"):
        raise UnreadableImage(f"it is too large to be read whole, and of the kind {mode} (photometric interpretation "
                              f"{photometric}), which is not read in parts: save it as grey or RGB")
    channels, alpha = MODES[mode]
    if alpha and 1 in extra[:1]:
        alpha = "premultiplied"
    palette = None
    if photometric == PALETTE and colormap is not None:
        palette = np.zeros((256, 3), np.uint8)
        table = np.array(colormap).reshape(3, -1).T >> 8
        palette[: len(table)] = table
    elif 1 < bits < 8:
        palette = np.arange(256).clip(0, 2**bits - 1).astype(np.uint8) * np.uint8(255 // (2**bits - 1))
    return (Layout(own if span is None else span, photometric == WHITE_IS_0, palette, channels, mode == "CMYK", alpha),
            orientation, notes)
