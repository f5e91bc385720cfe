"""A census of pictures in one pass: size, mode, digest of the pixels, and a thumbnail of each, in bounded memory.

Some 60 bytes per picture stay in memory; thumbnails lie in a file.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image
from torch import Tensor
from torch.nn import functional as F

from ...data import ImageSet, UnreadableImage
from ...engine.threads import threads_for
from ...segment.pairs import Masked
from .opened import Opened, path_of, reads_in_threads

SIDE = 32               # of a thumbnail
CHUNK = 256             # pictures that are read between two writes
FLAT = 3.0              # grey levels: a smaller standard deviation shows nothing
TINY, LONG = 16, 5      # pixels of the short side; times that the long side is longer
EXAMPLES = 200          # pictures of one oddity that are remembered
TURNED = int(ExifTags.Base.Orientation)

Watch = Callable[[str, int, int], None]     # (what goes on, how many are done, of how many)


class Fact(NamedTuple):
    """One picture as it was read, or the reason why it could not be."""

    error: str | None = None
    size: tuple[int, int] = (0, 0)          # height, width
    digest: bytes = bytes(16)               # of the pixels, and of height and width
    colored: bool = False
    thumbnail: Tensor | None = None         # uint8 (3, SIDE, SIDE)
    length: int = 0                         # of the file, in bytes
    form: str = ""                          # format and mode, such as 'JPEG, RGB'
    odd: tuple[str, ...] = ()               # what is odd about the file
    pixels: NDArray[np.int64] | None = None     # of each class, where there is a mask


@dataclass
class Census:
    """Facts of all pictures; arrays have one row per picture, in the order of the parts."""

    part: NDArray[np.int16]
    label: NDArray[np.int64]                # the class; -1 where there is none
    size: NDArray[np.int32]                 # (N, 2): height, width; 0 where unreadable
    digest: NDArray[np.void]
    thumbnails: NDArray[np.uint8]           # (N, 3, SIDE, SIDE), in a file
    flat: NDArray[np.bool_]
    colored: bool = False                   # some picture has colours
    unreadable: dict[int, str] = field(default_factory=dict)
    forms: Counter[str] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[int]] = field(default_factory=dict)        # of each oddity
    bytes: int = 0
    pixels: NDArray[np.int64] | None = None     # of each class

    @property
    def readable(self) -> NDArray[np.int64]:
        """The numbers of pictures that could be read."""
        return np.flatnonzero(self.size[:, 0] > 0)

    def note(self, what: str, index: int) -> None:
        """Count an oddity."""
        self.odd[what] += 1
        if self.odd[what] <= EXAMPLES:
            self.examples.setdefault(what, []).append(index)


def take(opened: Opened, folder: Path, workers: int, watch: Watch) -> Census:
    """The census of all parts; `folder` takes the thumbnails, `workers` threads read files."""
    total = sum(len(part.images) for part in opened.parts)
    parts = [np.full(len(part.images), number, np.int16) for number, part in enumerate(opened.parts)]
    single = opened.kind == "classes"
    labels = [part.images.labels.numpy() if single and part.judged else np.full(len(part.images), -1, np.int64)
              for part in opened.parts]
    shape = total, 3, SIDE, SIDE
    thumbnails: NDArray[np.uint8] = np.memmap(folder / "thumbnails", np.uint8, "w+", shape=shape)
    census = Census(np.concatenate(parts), np.concatenate(labels), np.zeros((total, 2), np.int32),
                    np.zeros(total, "V16"), thumbnails, np.zeros(total, np.bool_))
    masked: Sequence[Masked | None] = opened.masked or [None] * len(opened.parts)
    index = 0
    with threads_for(0, torch.device("cpu")):       # each of our threads computes by itself
        for number, part in enumerate(opened.parts):
            mask = masked[number] if number < len(masked) else None
            for fact in _facts(part.images, mask, len(opened.classes), workers):
                _add(census, index, fact, opened.parts[census.part[index]].judged)
                index += 1
                if index % CHUNK == 0 or index == total:
                    watch("reading", index, total)
    return census


def _facts(images: ImageSet, masked: Masked | None, classes: int, workers: int) -> Iterator[Fact]:
    def fact(index: int) -> Fact:
        return _fact(images, index, masked, classes)

    with ThreadPoolExecutor(workers if reads_in_threads(images) else 1) as pool:
        for first in range(0, len(images), CHUNK):      # else the pool would run ahead without limit
            yield from pool.map(fact, range(first, min(first + CHUNK, len(images))))


def _fact(images: ImageSet, index: int, masked: Masked | None, classes: int) -> Fact:
    try:
        pixels = images.read(index)
        counts = None
        if masked is not None:
            mask = masked.classes_of(index)
            counts = torch.bincount(mask[(mask >= 0) & (mask < classes)].flatten(), minlength=classes).numpy()
        path = path_of(images, index)
        form, size, odd = ("", 0, ()) if path is None else _of_file(path)
    except (UnreadableImage, OSError) as error:
        return Fact(str(error))
    height, width = pixels.shape[1:]
    digest = blake2b(f"{height}x{width}".encode(), digest_size=16)
    gray = len(pixels) == 1 or bool(len(pixels) == 3 and torch.equal(pixels[0], pixels[1])
                                    and torch.equal(pixels[0], pixels[2]))
    plain = pixels[:1] if gray else pixels
    digest.update(plain.contiguous().numpy().data)
    return Fact(None, (height, width), digest.digest(), not gray, thumbnail(plain), size, form, odd, counts)


def thumbnail(pixels: Tensor) -> Tensor:
    """A picture uint8 (C, H, W) as uint8 (3, SIDE, SIDE), whatever its aspect."""
    small: Tensor = F.interpolate(pixels[None], size=(SIDE, SIDE), mode="bilinear", antialias=True)[0]
    return small.expand(3, -1, -1) if len(small) == 1 else small[:3] if len(small) > 2 else small[:1].expand(3, -1, -1)


def _of_file(path: Path) -> tuple[str, int, tuple[str, ...]]:
    """(format and mode, bytes, what is odd) of a file, from its header."""
    odd = []
    with Image.open(path) as image:
        kind = "JPEG" if image.format == "MPO" else image.format or "unknown"
        if Image.registered_extensions().get(path.suffix.lower(), kind) != kind:
            odd.append(f"file(s) named {path.suffix.lower()} are {kind}")
        known = kind in ("JPEG", "TIFF", "WEBP") or "exif" in image.info
        if known and image.getexif().get(TURNED, 1) != 1:
            odd.append("image(s) are turned by their EXIF orientation")
        if image.mode.startswith("I"):
            odd.append("image(s) have 16 bits or more per channel")
        if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
            odd.append("image(s) have transparency")
        return f"{kind}, {image.mode}", path.stat().st_size, tuple(odd)


def _add(census: Census, index: int, fact: Fact, judged: bool) -> None:
    if fact.error is not None:
        if judged:
            census.unreadable[index] = fact.error
        return
    census.size[index] = fact.size
    census.digest[index] = np.void(fact.digest)
    assert fact.thumbnail is not None
    census.thumbnails[index] = fact.thumbnail.numpy()
    census.flat[index] = float(fact.thumbnail.float().std((1, 2)).max()) < FLAT     # plain red is plain
    if not judged:
        return
    census.colored |= fact.colored
    census.bytes += fact.length
    if fact.form:
        census.forms[fact.form] += 1
    if fact.pixels is not None:
        census.pixels = fact.pixels if census.pixels is None else census.pixels + fact.pixels
    short, long = sorted(fact.size)
    odd: list[Any] = [*fact.odd]
    odd += [f"image(s) are smaller than {TINY} pixels on a side"] if short < TINY else []
    odd += [f"image(s) are more than {LONG} times as long as wide, or as wide as long"] if long > LONG * short else []
    odd += ["image(s) are of one colour, or nearly"] if census.flat[index] else []
    for what in odd:
        census.note(what, index)
