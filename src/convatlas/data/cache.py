"""Picture files decoded once, and no larger than needed: their pixels kept in memory or in one file on disk."""

import hashlib
import json
import logging
import math
import os
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import PIL
import torch
from PIL import Image
from torch import Tensor

from ..errors import ConvatlasError
from ..files import cache_dir, whole_write
from ..memory import available_bytes as available_bytes
from ..pixels import Decoding
from ..run import Data
from .images import Files, ImageSet, Subset, UnreadableImage, decoded_as
from .transform import Transform

MAGIC = b"convatlas cache\n"    # ends a finished file, after the length of the table
RULES = 2                       # of decoding: raised when the same file gives other pixels
FORMAT = 2                      # ends the table; before 2 there were no checksums, and the oldest files lack it
LINE = 2**13                    # most bytes of the table for one file, whose reason may name a long path
SAMPLE = 64                     # files whose headers tell how much memory all will take
CHUNK = 256                     # pictures decoded between two writes
TELL = 10.0                     # seconds between two reports of progress

log = logging.getLogger("convatlas")


def prepared(
    images: ImageSet, config: Data, transform: Transform, tell: Callable[[str], None] = print, *, processes: int = 1
) -> ImageSet:
    """The set as it is best read by `transform`: files cached as `data.cache` says, and scaled down as `data.decode`
    does.

    Other sets are only told how their pictures are decoded. `processes` of this machine will each do this; `tell` gets
    sentences about what takes long. Raises ConvatlasError where the cache cannot be written.
    """
    how = Decoding(short_side(transform) if config.decode == "auto" else None, transform.range, config.max_pixels)
    files = as_files(images)
    if files is None:
        return decoded_as(images, how._replace(least=None))
    files = Files(files.paths, files.labels, how)
    cache = config.cache
    if cache == "auto":
        cache = "memory" if processes * expected_bytes(files) < available_bytes() / 4 else "off"
    if cache == "off":
        return files
    if cache == "memory":
        return in_memory(files, tell)
    return on_disk(files, Path(config.cache_dir).expanduser() if config.cache_dir else cache_dir(), tell)


def short_side(transform: Transform) -> int:
    """Pixels that the short side of a picture needs so that `transform` never enlarges it."""
    a, side = transform.augment, max(transform.size)
    if a.crop == "resized":     # the smallest crop, at its most elongated, of a square picture
        return math.ceil(side / math.sqrt(a.scale[0] * min(a.ratio[0], 1 / a.ratio[1])))
    if a.short_side is not None:
        return a.short_side[1]
    return math.ceil(side / transform.crop_pct)


class Shape(NamedTuple):
    """Of one picture; all 0 where it could not be read."""

    channels: int
    height: int
    width: int


class Table(NamedTuple):
    """Shapes and reasons, all that the pixels do not say, and the CRC-32 of each picture's."""

    shapes: tuple[Shape, ...]
    unreadable: dict[int, str]      # index -> reason
    sums: tuple[int, ...]


class Cached:
    """Files with their pixels: uint8, one picture (C, H, W) after the other; reads as `files` does, bit for bit.

    `images` is the whole as (N, C, H, W) where all have one shape, and None otherwise; `at` gives some of them. `path`
    is the file that holds the pixels, if any: then each process maps it for itself, and compares a picture with its
    checksum when it first reads it. One that differs is decoded anew, which is told.
    """

    def __init__(self, files: Files, table: Table, pixels: Tensor, path: Path | None = None):
        self.files, self.table, self.path = files, table, path
        self.labels = files.labels
        sizes = torch.tensor([math.prod(shape) for shape in table.shapes], dtype=torch.int64)
        self._starts = (sizes.cumsum(0) - sizes).tolist()
        self._pixels = pixels
        self._sure = torch.full((len(files),), path is None)
        self._told = False
        same = len(set(table.shapes)) == 1 and not table.unreadable
        self.images = pixels.view(len(files), *table.shapes[0]) if same else None

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> Tensor:
        """The picture as uint8 (1 or 3, H, W); raises UnreadableImage."""
        if index in self.table.unreadable:
            raise UnreadableImage(self.table.unreadable[index])
        if not self._sure[index]:
            self._check(index)
        return self._picture(index)

    def at(self, indices: Tensor) -> Tensor:
        """Some of `images`: uint8 (n, C, H, W)."""
        assert self.images is not None
        for index in indices[~self._sure[indices]].tolist():
            self._check(index)
        return self.images[indices]

    def _picture(self, index: int) -> Tensor:
        shape, start = self.table.shapes[index], self._starts[index]
        return self._pixels[start : start + math.prod(shape)].view(shape)

    def _check(self, index: int) -> None:
        """Compare the picture with its checksum; put the right pixels in the place of others, here and in the file."""
        here = self._picture(index)
        if _sum(here) != self.table.sums[index]:
            if not self._told:
                log.warning("the cache %r is damaged, from %r on: such pictures are decoded anew", str(self.path),
                            self.name(index))
                self._told = True
            right = self.files.read(index)
            if right.shape != here.shape or _sum(right) != self.table.sums[index]:
                raise ConvatlasError(f"the cache {str(self.path)!r} is damaged, and {self.name(index)!r} has changed "
                                     "since it was written: remove the cache, and start again")
            here.copy_(right)           # the mapping is this process's own
            with suppress(OSError):     # a file that is only read stays as it is
                assert self.path is not None
                with self.path.open("r+b") as file:
                    file.seek(self._starts[index])
                    file.write(right.contiguous().numpy().data)
        self._sure[index] = True

    def name(self, index: int) -> str:
        """The path."""
        return self.files.name(index)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is None:
            return Cached, (self.files, self.table, self._pixels)
        # a worker maps the file, and gets no copy
        return _reopened, (self.files, self.table, len(self._pixels), self.path)


def in_memory(files: Files, tell: Callable[[str], None]) -> Cached:
    """Decode all files into memory; processes forked later share it."""
    sink = BytesIO()
    table = _write(files, sink, tell)
    pixels = torch.frombuffer(sink.getbuffer(), dtype=torch.uint8) if sink.tell() else torch.empty(0, dtype=torch.uint8)
    return Cached(files, table, pixels)


def on_disk(files: Files, folder: Path, tell: Callable[[str], None]) -> Cached:
    """Decode all files into one file in `folder`, unless a run before has done so with the same files.

    Its name is a digest of everything that decides its pixels: paths, sizes and times of the files, what they are
    scaled to, and the versions of the decoders. It appears under that name only when it is whole.
    """
    path = folder / f"{_digest(files)}.pixels"
    found = _opened(files, path)
    if found is not None:
        return found
    if path.is_file():
        tell(f"The cache {str(path)!r} is damaged, or of another version: the pictures are decoded anew.")
    advice = "name another folder with data.cache_dir, or set data.cache to off"
    with whole_write(path, advice, parents=True, sync=True) as part, part.open("wb") as sink:
        table = _write(files, sink, tell)
        written = json.dumps([*table, _sum_of(*table), FORMAT]).encode()
        sink.write(written + len(written).to_bytes(8, "big") + MAGIC)
    written_whole = _opened(files, path)
    if written_whole is None:
        raise ConvatlasError(f"the cache {str(path)!r} changed while it was being written; start again, or set "
                             "data.cache to off")
    return written_whole


def expected_bytes(files: Files) -> int:
    """About how much memory all pixels take, from the headers of some files spread over the set."""
    step = max(1, len(files) // SAMPLE)
    sizes = [_header_bytes(path, files.how.least) for path in files.paths[::step]]
    return sum(sizes) * len(files) // len(sizes)


def as_files(images: ImageSet) -> Files | None:
    """The set as files, where it is nothing else."""
    if isinstance(images, Subset):
        base = as_files(images.base)
        return base and Files([base.paths[i] for i in images.indices.tolist()], images.labels)
    return images if isinstance(images, Files) else None


def _write(files: Files, sink: BinaryIO, tell: Callable[[str], None]) -> Table:
    """All pixels, decoded by several threads (decoders let go of Python's lock), in the order of the files."""
    shapes, sums = list[Shape](), list[int]()
    unreadable: dict[int, str] = {}
    told = time.monotonic()
    for index, found in enumerate(_decoded(files)):
        if isinstance(found, UnreadableImage):
            unreadable[index] = str(found)
            shapes.append(Shape(0, 0, 0))
            sums.append(0)
        else:
            channels, height, width = found.shape
            shapes.append(Shape(channels, height, width))
            sums.append(_sum(found))
            sink.write(found.contiguous().numpy().data)
        if time.monotonic() - told >= TELL:
            told = time.monotonic()
            tell(f"Images decoded: {index + 1} of {len(files)} ({sink.tell() / 2**30:.1f} GiB).")
    return Table(tuple(shapes), unreadable, tuple(sums))


def _sum(pixels: Tensor) -> int:
    """CRC-32, which costs a hundredth of what decoding does: 4 GB/s."""
    return zlib.crc32(pixels.contiguous().numpy().data)


def _sum_of(shapes: Any, unreadable: Any, sums: Any) -> int:
    """CRC-32 of a table."""
    return zlib.crc32(json.dumps([shapes, unreadable, sums]).encode())


def _decoded(files: Files) -> Iterator[Tensor | UnreadableImage]:
    def read(index: int) -> Tensor | UnreadableImage:
        try:
            return files.read(index)
        except UnreadableImage as error:
            return error

    with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
        for first in range(0, len(files), CHUNK):       # else the pool would run ahead of the disk without limit
            yield from pool.map(read, range(first, min(first + CHUNK, len(files))))


def _digest(files: Files) -> str:
    text = hashlib.sha256(f"{PIL.__version__} {RULES} {files.how}".encode())
    for path in files.paths:
        try:
            found = path.stat()
            text.update(f"\0{path.resolve()}\0{found.st_size} {found.st_mtime_ns}".encode(errors="surrogateescape"))
        except OSError:
            text.update(f"\0{path.resolve()}\0absent".encode(errors="surrogateescape"))
    return text.hexdigest()[:32]


def _opened(files: Files, path: Path) -> Cached | None:
    """The cache in a file, if there is one and it is whole."""
    if not path.is_file():
        return None
    ending = len(MAGIC) + 8
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        if end < ending:
            return None
        file.seek(end - ending)
        length, magic = int.from_bytes(file.read(8), "big"), file.read()
        if magic != MAGIC or length > min(end - ending, LINE * (len(files) + 8)):
            return None
        size = file.seek(end - ending - length)
        try:
            shapes, unreadable, sums, checksum, format_ = json.loads(file.read(length))
            if format_ != FORMAT or checksum != _sum_of(shapes, unreadable, sums):
                return None                 # made anew: the files are still there
            table = Table(tuple(Shape(*map(int, shape)) for shape in shapes),
                          {int(index): str(reason) for index, reason in unreadable.items()}, tuple(map(int, sums)))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
    if min(map(min, table.shapes), default=0) < 0:
        return None
    if len(table.shapes) != len(files) or sum(map(math.prod, table.shapes)) != size:
        return None
    return _reopened(files, table, size, path)


def _reopened(files: Files, table: Table, size: int, path: Path) -> Cached:
    pixels = (torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8) if size
              else torch.empty(0, dtype=torch.uint8))
    return Cached(files, table, pixels, path)


def _header_bytes(path: Path, least: int | None) -> int:
    try:
        with Image.open(path) as image:
            if least is not None:
                image.draft(None, (2 * least, 2 * least))
            return image.width * image.height * (1 if image.mode in ("1", "L", "LA", "La", "I;16") else 3)
    except Exception:       # as many kinds as `read_image` knows; such a file takes no memory
        return 0
