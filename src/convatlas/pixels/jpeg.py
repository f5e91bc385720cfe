"""Plain JPEG files by libjpeg-turbo without Pillow, whose way takes half as long again or twice as long: with
simplejpeg, where it is installed.

Pillow decodes by libjpeg-turbo too, and pixels are equal: benchmarks/jpeg_decoders.py.
"""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from .rules import Pixels

START, END_OF_HEADER = 0xD8, 0xDA
# baseline, extended, progressive: what is coded by Huffman's method
SIZES = (0xC0, 0xC1, 0xC2)
HARMLESS = (0xC4, 0xDB, 0xDD, 0xE0, 0xEE, 0xFE)         # tables, restarts, JFIF, Adobe, comments


class Plain(NamedTuple):
    """The size of a JPEG with nothing in its header that could change how it looks."""

    width: int
    height: int
    channels: int       # 1 or 3


def content(path: Path) -> bytes | None:
    """The bytes of a JPEG file; None of other files, and where simplejpeg is not there to decode them."""
    if _simplejpeg() is None:
        return None
    with path.open("rb") as file:
        head = file.read(2)
        return head + file.read() if head == bytes([0xFF, START]) else None


def plain(content: bytes) -> Plain | None:
    """Size and channels of a JPEG in 8 bits, grey or in three colours, with nothing in its header to be judged.

    None of any other file, and where there is: EXIF, which may turn the picture, profiles, further pictures.
    """
    place, found = 2, None
    if content[:2] != bytes([0xFF, START]):
        return None
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == END_OF_HEADER:
            return found
        if marker in SIZES and found is None and length >= 8:
            height, width = (int.from_bytes(content[place + at : place + at + 2], "big") for at in (5, 7))
            bits, channels = content[place + 4], content[place + 9]
            if bits != 8 or channels not in (1, 3) or not width * height:
                return None
            found = Plain(width, height, channels)
        elif marker not in HARMLESS:
            return None
        place += 2 + length
    return None


def decoded(content: bytes, size: Plain) -> Pixels | None:
    """Grey (H, W) or RGB (H, W, 3); None where the bytes are broken: Pillow then says why, or shows what there is."""
    module = _simplejpeg()
    if module is None:
        return None
    try:
        pixels: Pixels = module.decode_jpeg(content, "GRAY" if size.channels == 1 else "RGB")
    except ValueError:
        return None
    return pixels[..., 0] if size.channels == 1 else pixels


@cache
def _simplejpeg() -> Any:
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg
