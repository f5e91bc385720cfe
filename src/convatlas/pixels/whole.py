"""Picture files, whole, by Pillow: their samples and what they mean."""

import io
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..files import regular
from ..memory import available_bytes
from . import jpeg
from .hush import hushed
from .rules import DIM, Decoding, Layout, Pixels, Range, Samples, UnreadableImage, colors, turned

ORIENTATION, BITS, PHOTOMETRIC, MAX_SAMPLE, PLANES = 0x0112, 258, 262, 281, 284    # tags of TIFF, the first EXIF's too
MOST = 89_478_485       # pixels that are decoded unless a setting says otherwise; above, Pillow itself warns of a bomb
BYTES_PER_PIXEL = 12    # while a picture is decoded: Pillow's four, and copies
# libtiff hands over samples in the machine's byte order, and Pillow takes these for the file's
NATIVE = {"I;16S": "I;16NS", "I;16BS": "I;16NS", "I;32S": "I;32NS", "I;32BS": "I;32NS", "F;32F": "F;32NF",
          "F;32BF": "F;32NF"}


class Decoded(NamedTuple):
    """A picture: grey (H, W) or RGB (H, W, 3), and keys of `NOTES`."""

    pixels: Pixels
    notes: frozenset[str] = frozenset()
    kind: str = "u"                     # of the stored samples' dtype
    largest: float | None = None        # of whole numbers of more than 8 bits, whose range nothing says


AS_IT_IS = Decoding()


def unreadable(path: Path | str, error: Exception) -> UnreadableImage:
    """The reason why a file is unreadable; on broken bytes Pillow raises nearly anything: struct.error, SyntaxError, …
    """
    if isinstance(error, UnidentifiedImageError):
        reason = "it is in no format that Pillow knows"
    elif isinstance(error, Image.DecompressionBombError):
        reason = f"{str(error).rstrip('.')}; allow more with --max-pixels (data.max_pixels)"
    else:
        reason = " ".join(str(error).split()) or type(error).__name__
    return UnreadableImage(f"cannot read the image {str(path)!r}: {reason}")


def read(path: Path, how: Decoding = AS_IT_IS) -> Pixels:
    """The pixels of a picture file: grey (H, W) or RGB (H, W, 3); raises UnreadableImage."""
    return decode(path, how).pixels


def decode(source: Path | bytes, how: Decoding = AS_IT_IS, name: str | None = None) -> Decoded:
    """A picture file, or the bytes of one, by the rules above; raises UnreadableImage, which calls it `name`."""
    try:
        if isinstance(source, Path) and source.exists() and not regular(source):
            raise UnreadableImage("it is no regular file")
        return _decoded(source, how)
    except Exception as error:
        raise unreadable(name or (str(source) if isinstance(source, Path) else "bytes"), error) from error


def to_array(image: Image.Image, span: Range | None = None) -> Pixels:
    """A Pillow image by the rules above, which `span` is the range for; raises UnreadableImage."""
    return _turned(colors(*_samples(image, span)), image)


def check_size(width: int, height: int, most: int | None) -> None:
    """Raise UnreadableImage for more pixels than may be decoded, before they are."""
    limit = most_pixels() if most is None else most
    if width * height > limit:
        raise UnreadableImage(f"it has {width}×{height} pixels, and {limit} are decoded at most: allow more with "
                              "--max-pixels (data.max_pixels)")


@cache
def most_pixels() -> int:
    """Pixels of the largest picture that is decoded unless a setting says otherwise: an eighth of the memory that is
    free when the first one is.
    """
    return min(MOST, available_bytes() // 8 // BYTES_PER_PIXEL or MOST)


def _turned(pixels: Pixels, image: Image.Image) -> Pixels:
    """The pixels of a loaded image, turned as it says; a TIFF is turned by Pillow, and says nothing any more."""
    return np.ascontiguousarray(turned(pixels, image.getexif().get(ORIENTATION, 1)))


def _decoded(source: Path | bytes, how: Decoding) -> Decoded:
    if how.most is not None and how.most > MOST:        # Pillow's own bound gives way to what was asked for
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or how.most, how.most)
    content = source if isinstance(source, bytes) else jpeg.content(source)
    plain = jpeg.plain(content) if content is not None else None
    if content is not None and plain is not None and (how.least is None
                                                      or min(plain.width, plain.height) < 4 * how.least):
        check_size(plain.width, plain.height, how.most)
        if (pixels := jpeg.decoded(content, plain)) is not None:
            return Decoded(pixels)
    # never by its name: of one that is turned Pillow would map the pixels as if it were not
    with (source.open("rb") if content is None and isinstance(source, Path) else io.BytesIO(content or b"")) as file, \
            Image.open(file) as image:
        if how.least is not None and image.format == "JPEG" and image.mode in ("L", "RGB"):
            image.draft(None, (2 * how.least, 2 * how.least))       # the smallest of 1/1, 1/2, 1/4, 1/8 not below it
        check_size(*image.size, how.most)
        complaints: list[str] = []
        by_libtiff = any(tile[0] == "libtiff" for tile in _tiles(image))
        try:
            with hushed(complaints) if by_libtiff else nullcontext():
                samples, layout = _samples(image, how.range, lambda: Image.open(file))
        except Exception as error:
            if complaints:
                raise UnreadableImage(f"{error} ({complaints[0].rstrip('.')})") from error
            raise
        if samples.dtype.kind == "f" and layout.range is not None and 0 < samples.max() <= 1 < layout.range[1] / 100:
            raise UnreadableImage(f"its values run to {samples.max():g}, and those of the training images to "
                                  f"{layout.range[1]:g}: bring it to that scale")
        pixels = _turned(colors(samples, layout), image)
        pages = _several(image)
    wide = layout.range is None and samples.dtype.kind in "iu" and samples.dtype.itemsize > 1
    largest = float(samples.max()) if wide else None
    found = {"pages": pages, "damaged": bool(complaints), "alpha": _transparent(samples, layout),
             "dim": largest is not None and 0 < largest <= DIM}
    return Decoded(pixels, frozenset(note for note, true in found.items() if true), samples.dtype.kind, largest)


def plain(source: Path | bytes) -> bool:
    """True for a picture of one page, in 8 bits and without transparency, as far as its head says."""
    with (source.open("rb") if isinstance(source, Path) else io.BytesIO(source)) as file, Image.open(file) as image:
        deep = any(re.search(r"16|12|32", _raw(tile)) for tile in _tiles(image))
        return (image.mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr") and not deep and not image.has_transparency_data
                and not _several(image))


def _several(image: Image.Image) -> bool:
    """True where there are further pages or frames, be they broken; not of a camera's JPEG that holds a preview (MPO).
    """
    try:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except Exception:       # as many kinds as in decoding
        return True


def _transparent(samples: Samples, layout: Layout) -> bool:
    return layout.key is not None or bool(layout.alpha and (samples[..., -1] < np.iinfo(samples.dtype).max).any())


def _samples(image: Image.Image, span: Range | None,
             again: Callable[[], Image.Image] | None = None) -> tuple[Samples, Layout]:
    """The image's samples, loaded, and their meaning; `again` opens its file once more."""
    bits, inverted, own = said(image)
    span = own if span is None else span
    scale = _unscaled(image)
    if again is not None and (deep := _deep(image, bits, again)) is not None:
        return deep[0], Layout(span, inverted, cmyk=image.mode == "CMYK", alpha=deep[1], key=_key(image, 1))
    if image.mode.startswith("I") or image.mode == "F":
        scaled = any(tile[0].startswith("ppm") for tile in _tiles(image))       # to 16 bits, by the file's own maximum
        if any(tile[0] == "libtiff" for tile in _tiles(image)):
            _unpack(image, lambda raw: NATIVE.get(raw, raw))
        image.load()
        wide: Samples = np.asarray(image)
        return (wide.astype(np.uint16) if image.mode.startswith("I;16") else wide,
                Layout((0, 65535) if scaled else span, inverted, key=_key(image, 1)))
    image.load()
    if image.mode in ("1", "L"):
        return np.array(image.convert("L")), Layout(key=_key(image, scale))
    if image.mode in ("LA", "La"):
        return np.array(image.convert("LA")), Layout(alpha="straight")
    if image.mode in ("PA", "RGBA", "RGBa") or (image.mode == "P" and image.has_transparency_data):
        return np.array(image.convert("RGBA")), Layout(alpha="straight")
    return np.array(image.convert("RGB")), Layout(key=_key(image, 1) if image.mode == "RGB" else None)


def _tiles(image: Image.Image) -> list[Any]:
    """The parts of an image that is not loaded yet: (decoder, box, offset, arguments)."""
    return list(getattr(image, "tile", ()))


def _raw(tile: Any) -> str:
    """The layout of a part's samples, in Pillow's words."""
    arguments = tile[3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def said(image: Image.Image) -> tuple[int, bool, Range | None]:
    """A TIFF's word on its samples: (bits, 0 is white and Pillow leaves it so, the range of their values)."""
    tags = getattr(image, "tag_v2", None)
    return (0, False, None) if tags is None else (
        max(tags.get(BITS, (1,))), tags.get(PHOTOMETRIC) == 0 and image.mode[0] in "IF",
        said_range(max(tags.get(BITS, (1,))), tags.get(MAX_SAMPLE)))


def said_range(bits: int, top: Any) -> Range | None:
    """The range of values that a TIFF itself names: by bits that fill no byte, or a largest value of so many bits.

    Other largest values are those that occur, and differ from file to file.
    """
    top = max(top) if isinstance(top, tuple) else top
    if bits == 16 and top in (1023, 4095, 16383):
        return 0, top
    return (0, 2**bits - 1) if 8 < bits < 16 else None


def _unscaled(image: Image.Image) -> int:
    """Factor by which Pillow spreads the few bits of a grey PNG over a byte, but not its transparent grey."""
    return {"L;2": 85, "L;4": 17}.get(next((_raw(tile) for tile in _tiles(image)), ""), 1)


def _key(image: Image.Image, scale: int) -> tuple[int, ...] | None:
    """The sample that stands for transparency, where the file names one."""
    found = image.info.get("transparency")
    if image.mode == "1" and isinstance(found, int):
        return (255 if found else 0,)
    if isinstance(found, int):
        return (found * scale,)
    return found if isinstance(found, tuple) else None


def _deep(image: Image.Image, bits: int, again: Callable[[], Image.Image]) -> tuple[Samples, str] | None:
    """Samples of 16 bits (H, W, C) that Pillow would cut to 8, and what the last one is; None of other images.

    Pillow unpacks the upper byte of each sample; told that the byte order is the other one, it unpacks the lower.
    """
    raws = {_raw(tile) for tile in _tiles(image)}
    planes = bits == 16 and image.mode not in ("I", "F") and all(len(raw) == 1 for raw in raws) and len(raws) > 1
    if planes:
        order = "L" if image.tag_v2.prefix == b"II" else "B"       # type: ignore[attr-defined]
        return _both(image, again, lambda raw: f"{raw};16{order}"), "straight" if image.mode == "RGBA" else ""
    if len(raws) != 1 or image.mode.startswith("I"):
        return None
    raw, = raws
    if raw == "LA;16B":
        _unpack(image, lambda _: "RGBA")
        pairs = np.array(image).astype(np.uint16)
        return pairs[..., ::2] * 256 + pairs[..., 1::2], "straight"
    if not re.fullmatch(r"\w+;16[BLN]", raw):
        return None
    samples_in_planes(image)
    kind = {"RGBa": "premultiplied", "RGBA": "straight"}.get(raw.partition(";")[0], "")
    return _both(image, again, lambda raw: raw.replace("RGBa", "RGBA")), kind


def samples_in_planes(image: Image.Image) -> None:
    """Raise UnreadableImage for a TIFF of 16-bit colours in compressed planes, of which Pillow reads the upper bytes.
    """
    tags = getattr(image, "tag_v2", {})
    if (max(tags.get(BITS, (1,))) == 16 and tags.get(PLANES) == 2 and len(tags.get(BITS, ())) > 1
            and any(tile[0] == "libtiff" for tile in _tiles(image))):
        raise UnreadableImage("its 16 bits lie in compressed planes: save it with its channels side by side")


def _both(image: Image.Image, again: Callable[[], Image.Image], raw: Callable[[str], str]) -> Samples:
    """Upper and lower bytes put together."""
    _unpack(image, raw)
    native = "B" if sys.byteorder == "little" else "L"
    other = {"B": "L", "L": "B", "N": native}
    with again() as second:
        _unpack(second, lambda each: raw(each)[:-1] + other[raw(each)[-1]])
        upper: Samples = np.array(image).astype(np.uint16)
        upper *= 256
        upper += np.array(second)
        return upper


def _unpack(image: Image.Image, raw: Callable[[str], str]) -> None:
    """Load an image whose samples are unpacked in another way."""
    tiles: list[Any] = image.tile       # type: ignore[attr-defined]
    for number, tile in enumerate(tiles):
        rest = (raw(_raw(tile)), *tile[3][1:]) if isinstance(tile[3], tuple) else raw(_raw(tile))
        tiles[number] = type(tile)(*tile[:3], rest)
    image.load()
