"""Masks of images that are turned by their EXIF orientation, which lie as these are displayed or as they are stored."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from ..data.images import UnreadableImage
from ..errors import ConvatlasError
from .layouts import Pair
from .masks import STRAIGHT, Head, Seen, head
from .reading import Reading, lying

Lie = Literal["displayed", "stored"]


def understood_orientation(asked: Literal["auto"] | Lie, reading: Reading, pairs: Sequence[Pair],
                           seen: Mapping[Path, Seen]) -> tuple[Lie | None, tuple[str, ...]]:
    """(lie of masks beside images that EXIF turns, a sentence about it): as `asked` (data.mask_orientation), as
    `reading` has it, or as sizes tell. Raises ConvatlasError where it matters and cannot be told.
    """
    if asked != "auto":
        return asked, ()
    if reading.orientation is not None:
        return reading.orientation, ()
    votes, unclear = set[Lie](), list[Path]()
    for image, masks in pairs:
        picture = _head(image)
        if picture is None or picture.orientation == STRAIGHT or not masks:
            continue
        mask = seen.get(masks[0])
        shape = _shape(masks[0]) if mask is None else None if mask.upright else mask.shape
        if shape is None:
            continue
        if (lies := lying(shape, picture)) is not None:
            votes.add(lies)
        elif shape == picture[:2]:
            unclear.append(image)
    if unclear and len(votes) != 1:
        more = f" and {len(unclear) - 1} more" if unclear[1:] else ""
        raise ConvatlasError(f"{str(unclear[0])!r}{more} is turned by its EXIF orientation, and whether its mask is "
                             "cannot be told from their sizes: --set data.mask_orientation=displayed if masks lie as "
                             "images are shown, stored if they lie as images are stored")
    if len(votes) != 1:
        return None, (("Of images that EXIF turns some masks lie as displayed, some as stored, as their sizes tell.",)
                      if votes else ())
    lies, = votes
    return lies, (f"Masks of images that EXIF turns lie as these are {lies}, as their sizes tell "
                  f"(data.mask_orientation = {lies}).",)


def _head(path: Path) -> Head | None:
    try:
        return head(path)
    except UnreadableImage:
        return None


def _shape(path: Path) -> tuple[int, int] | None:
    found = _head(path)
    return None if found is None or found.orientation != STRAIGHT else found[:2]
