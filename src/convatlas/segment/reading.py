"""Meaning of masks' pixels, as a record that a run can keep, and masks read by it."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..data.images import UnreadableImage
from ..errors import enumerated
from ..pixels import turned
from ..run import Record
from .masks import (
    EXACT,
    STRAIGHT,
    Head,
    Numbers,
    Seen,
    Stored,
    channels,
    flat_pixels,
    packed,
    stored,
    unpacked,
)

IGNORED = 255           # class of a pixel that does not count
# shades of a pixel of a JPEG, of a colour twice that, from every level: a square of such pixels has a value of its own
FAR, AREA = 24, 5
REACH = 7               # pixels of the square in which a level must be seen for a pixel between two levels to join it

Value = int | tuple[int, int, int]
Kind = Literal["classes", "instances", "binary"]


class Reading(Record):
    """The meaning of masks' pixels: which values stand for which class.

    Of `instances` and `binary` the classes are background and object, and every value of `instances` that is not the
    background's is an object of its own.
    """

    kind: Kind
    of: Literal["numbers", "colors", "alpha"] = Field("numbers", description="which side of a pixel is read")
    classes: tuple[str, ...] = ("background", "object")
    values: tuple[tuple[Value, ...], ...] = Field(((0,), ()), description="of each class; none: every other value")
    ignored: tuple[Value, ...] = Field((), description="values of pixels that do not count")
    blur: int = Field(0, ge=0, description="how far a pixel may be from its value, as in a JPEG; beyond it belongs to "
                      "the nearest value around. 0: values are exact")
    orientation: Literal["displayed", "stored"] | None = Field(
        None, description="how masks lie beside images that are turned by EXIF; None: as their sizes tell")


def read_mask(path: Path, reading: Reading, picture: Head) -> Numbers:
    """A mask as classes (H, W), 255 where a pixel does not count; of `instances` objects, 0 in the background and -1
    where a pixel does not count.

    `picture` is its image's, whose size it must have. Raises UnreadableImage, also for a value that is not known.
    """
    mask = stored(path)
    values = chosen(mask, reading.of, path)
    if picture.orientation != STRAIGHT and not mask.upright:
        lies = reading.orientation or lying(values.shape, picture)
        if lies is None:
            raise UnreadableImage(f"the image of the mask {str(path)!r} is turned by its EXIF orientation, and whether "
                                  "the mask is too cannot be told: data.mask_orientation says it")
        values = turned(values, picture.orientation) if lies == "stored" else values
    if values.shape != picture[:2]:
        raise UnreadableImage(f"the mask {str(path)!r} is {values.shape[0]}×{values.shape[1]} pixels, its image "
                              f"{picture.height}×{picture.width}")
    if reading.kind == "instances" and not reading.blur:
        objects = np.where(np.isin(values, _numbers(reading.values[0])), 0, values)
        found: Numbers = np.where(np.isin(values, _numbers(reading.ignored)), -1, objects)
        return found
    table = _table(reading)
    if reading.blur:
        return _nearest(values, reading, path)
    keys = np.array([value for value, _ in table], np.int64)
    order = np.argsort(keys)
    places = order[np.searchsorted(keys, values, sorter=order).clip(0, len(keys) - 1)]
    classes: Numbers = np.array([number for _, number in table], np.int64)[places]
    unknown = keys[places] != values
    if unknown.any():
        rest = next((number for number, own in enumerate(reading.values) if not own), None)
        if rest is None:
            raise UnreadableImage(f"the mask {str(path)!r} holds {words(np.unique(values[unknown]), reading.of)}; "
                                  f"known are {known(reading)}")
        classes[unknown] = rest
    return classes


def lying(shape: Sequence[int], picture: Head) -> Literal["displayed", "stored"] | None:
    """Lie of a mask beside its turned image, where its size tells; None where it fits both ways, or neither."""
    shown, kept = tuple(shape) == picture[:2], tuple(shape) == picture.stored
    return None if shown == kept else "displayed" if shown else "stored"


def strangers(seen: Seen, reading: Reading) -> list[int]:
    """Values of a mask that are not known; those of seams of blurred masks are. Raises UnreadableImage for a mask of
    another kind.
    """
    if seen.colored and reading.of == "numbers":
        raise UnreadableImage(f"the mask {str(seen.path)!r} is in colour, and those of training hold {known(reading)}")
    if reading.kind == "instances" or () in reading.values:
        return []
    if reading.of == "alpha":
        if not len(seen.opacities):
            raise UnreadableImage(f"the mask {str(seen.path)!r} has no alpha, and those of training are drawn in it")
        return [value for value in seen.opacities.tolist() if value not in dict(_table(reading))]
    values = _colors(seen.values, seen.palette, seen.path) if reading.of == "colors" and not seen.colored else (
        seen.values)
    table = np.array([value for value, _ in _table(reading)], np.int64)
    if not reading.blur:
        return [int(value) for value in values[~np.isin(values, table)]]
    if reading.blur > 1:
        values = chosen(stored(seen.path), reading.of, seen.path)
        off, _ = _levels(values, reading)
        return sorted(set(values[_unknown(values, off, reading)].tolist()))
    off = np.abs(values[:, None] - table[None]).min(axis=1) if reading.of == "numbers" else np.array([
        min(max(abs(a - b) for a, b in zip(unpacked(value), unpacked(level), strict=True)) for level in table.tolist())
        for value in values.tolist()])
    return [int(value) for value in values[(off > reading.blur) & (seen.flat > 0)]]


def chosen(mask: Stored, of: str, path: Path) -> Numbers:
    """The side of a mask's pixels that means something. Raises UnreadableImage where it has none."""
    if of == "alpha":
        if mask.alpha is None:
            raise UnreadableImage(f"the mask {str(path)!r} has no alpha, and others are drawn in theirs")
        return mask.alpha.astype(np.int64)
    if of == "numbers":
        if mask.colored:
            raise UnreadableImage(f"the mask {str(path)!r} is in colour, and others hold numbers")
        return mask.values
    return mask.values if mask.colored else _colors(mask.values, mask.palette, path)


def known(reading: Reading) -> str:
    """Values as words: `0 to 4`, or `#000000 and #ff0000`; ignored ones too."""
    own = _numbers(value for values in reading.values for value in values)
    said = (f"0 to {len(own) - 1}" if reading.of == "numbers" and len(own) > 2 and own == list(range(len(own)))
            else words(own, reading.of))
    ignored = _numbers(reading.ignored)
    return said + (f", or {words(ignored, reading.of)} where a pixel does not count" if ignored else "")


def words(values: Collection[int] | Numbers, of: str = "numbers") -> str:
    """As words: 1, 4 and 9; of many the first ten."""
    some = sorted(map(int, values))
    said = [as_word(value, of) for value in some[:10]]
    if some[10:]:
        return f"{', '.join(said)} and {len(some) - 10} more values"
    return enumerated(said)


def as_word(value: int, of: str) -> str:
    """A number as it is, a packed colour as #rrggbb."""
    return f"#{value:06x}" if of == "colors" else str(value)


def as_value(value: int, of: str) -> Value:
    """A packed colour as (red, green, blue)."""
    return unpacked(value) if of == "colors" else int(value)


def _numbers(values: Iterable[Value]) -> list[int]:
    return [packed(value) if isinstance(value, tuple) else value for value in values]


def _table(reading: Reading) -> list[tuple[int, int]]:
    """(value, class) of every value that is known."""
    return [(value, number) for number, own in enumerate(reading.values) for value in _numbers(own)] + [
        (value, IGNORED) for value in _numbers(reading.ignored)]


def _colors(values: Numbers, palette: Iterable[int], path: Path) -> Numbers:
    """Numbers of a palette, or shades of grey, as packed colours."""
    table = np.array([*palette], np.int64).reshape(-1, 3) if palette else np.arange(256)[:, None].repeat(3, axis=1)
    if values.size and (values.min() < 0 or values.max() >= len(table)):
        raise UnreadableImage(f"the mask {str(path)!r} holds the number {values.max()}, and others colours")
    found: Numbers = (table[:, 0] << 16 | table[:, 1] << 8 | table[:, 2])[values]
    return found


def shades_of(value: int, of: str) -> tuple[int, ...]:
    """A packed colour's three shades, a number's one."""
    return unpacked(value) if of == "colors" else (value,)


def _nearest(values: Numbers, reading: Reading, path: Path) -> Numbers:
    """The class of the nearest level; where edges were smoothed, of those that are seen around a pixel: between black
    and white lies grey, which is no third class there. What compression does to edges is small beside that.
    """
    off, classes = _levels(values, reading)
    unknown = _unknown(values, off, reading)
    if unknown.any():
        raise UnreadableImage(f"the mask {str(path)!r} holds {words(np.unique(values[unknown]), reading.of)}; known "
                              f"are {known(reading)}")
    return classes


def _levels(values: Numbers, reading: Reading) -> tuple[Numbers, Numbers]:
    """(how far a pixel is from its level, class), (H, W) each."""
    from scipy.ndimage import maximum_filter, minimum_filter

    table, colored = _table(reading), reading.of == "colors"
    shades, seams = channels(values, colored), reading.blur == 1 and len(table) > 2
    if seams:       # a pixel of a seam has darker and lighter ones around it
        sure = flat_pixels(values, colored, EXACT)
        if not colored:
            sure |= (shades[0] == maximum_filter(shades[0], 5)) | (shades[0] == minimum_filter(shades[0], 5))
    nearest, best = np.full(values.shape, 2**16), np.full(values.shape, 2**16)
    classes = np.zeros(values.shape, np.int64)
    for value, number in table:
        off = np.max([np.abs(shade.astype(np.int64) - level)
                      for shade, level in zip(shades, shades_of(value, reading.of), strict=True)], axis=0)
        np.minimum(nearest, off, out=nearest)
        if seams:
            off = off + 1000 * (maximum_filter((sure & (off <= reading.blur)).astype(np.uint8), REACH) == 0)
        classes[off < best] = number
        np.minimum(best, off, out=best)
    return nearest, classes


def _unknown(values: Numbers, off: Numbers, reading: Reading) -> NDArray[np.bool_]:
    """True (H, W) in the middle of an area that is far from every level."""
    from scipy.ndimage import minimum_filter

    if reading.blur == 1:
        return flat_pixels(values, reading.of == "colors", EXACT) & (off > 1)
    far = off > max(2 * FAR if reading.of == "colors" else FAR, reading.blur)
    found: NDArray[np.bool_] = minimum_filter(far, AREA)
    return found
