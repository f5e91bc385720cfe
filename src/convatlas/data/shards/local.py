"""Pictures in tar shards of the WebDataset layout, on a local disk: their index, and random access by it.

A folder of shards holds:

- `index.json`: the classes; of each part (train, val, test) the shards: file, images, bytes, sha256;
- `index.npz`: `train_offset`, `train_size`, `train_label` and so on: where in its shard each picture lies, and its
  class;
- `train/shard-000000.tar` and so on: for each picture `000000000.jpg`, and `000000000.cls`, the class number in ASCII.
"""

import hashlib
import io
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from ... import bounded
from ...errors import ConvatlasError
from ...files import check_format
from ...pixels import AS_IT_IS, Decoding, decode
from ..images import Encoded, ImageSet, Source, as_tensor
from ..loader import stable_seed
from ..parts import Part as NamedPart
from ..split import Split, own_parts

INDEX, PLACES = "index.json", "index.npz"
FORMAT = 1          # of a folder of shards
JOURNAL = ".unfinished.jsonl"       # there until the index is: what is being written, then one line per finished shard
FIELDS = ("offset", "size", "label")        # of each picture, in index.npz
# shards whose pictures are shuffled together: wide enough to mix, narrow enough for the system's file cache
WINDOW = 4
LONGEST = 2**28     # bytes of index.npz, in which a picture takes three or four
OPEN_FILES = 64     # a process may hold about 1000


class Shard(BaseModel):
    """One tar, as index.json lists it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(pattern=r"^(train|val|test)/shard-\d{6}\.tar$")
    images: int = Field(ge=1, lt=2**31)
    bytes: int = Field(ge=1, lt=2**53)
    sha256: str


class Index(BaseModel):
    """The contents of index.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["convatlas shards"] = "convatlas shards"
    version: int = FORMAT
    classes: tuple[str, ...]
    parts: dict[NamedPart, tuple[Shard, ...]]


@dataclass(frozen=True)
class Part:
    """The shards of one part, in their order, and where their pictures are: int64 (N,) each."""

    shards: tuple[Shard, ...]
    offset: NDArray[np.int64]       # of the picture's bytes in its shard
    size: NDArray[np.int64]         # in bytes
    label: NDArray[np.int64]

    def split(self, shards: int) -> tuple["Part", "Part"]:
        """The first `shards` of the shards, and the others."""
        rows = sum(shard.images for shard in self.shards[:shards])
        return (Part(self.shards[:shards], self.offset[:rows], self.size[:rows], self.label[:rows]),
                Part(self.shards[shards:], self.offset[rows:], self.size[rows:], self.label[rows:]))

    @property
    def digest(self) -> str:
        """A digest of its shards."""
        told = "".join(f"{shard.file} {shard.bytes} {shard.sha256}\n" for shard in self.shards)
        return hashlib.sha256(told.encode()).hexdigest()[:32]


def is_shards(root: Path) -> bool:
    """True for a folder that `convatlas data shard` wrote."""
    return (root / INDEX).is_file() or (root / JOURNAL).is_file()


def read_shards(root: Path, split: Split) -> Source:
    """Open a folder that `convatlas data shard` wrote; what is trained and judged on, `as_source` says."""
    if not (root / INDEX).is_file():
        raise ConvatlasError(f"{str(root)!r} holds unfinished shards; give the command that began them again: "
                             f"convatlas data shard FOLDER {root}")
    classes, found = read_index(lambda name: bounded.content(root / name, LONGEST), str(root))
    for name, part in found.items():
        if name != "test" or split.for_eval or "val" not in found:      # training may do without the test part's shards
            for shard in part.shards:
                _check_file(root / shard.file, shard)
    return as_source(root.resolve().name, str(root), classes, found, split, lambda part: Shards(root, part))


def as_source(name: str, where: str, classes: tuple[str, ...], found: Mapping[NamedPart, Part], split: Split,
              images: Callable[[Part], ImageSet]) -> Source:
    """The parts of an index as a Source; `images` opens one.

    Of a part to learn from alone, evaluation judges everything, and training holds out the last shards: the writer has
    mixed the pictures, so they are a random sample, and the rest is still read shard by shard.
    """
    if not found:
        raise ConvatlasError(f"the shards in {where} have no part 'train', nor any other")
    own = own_parts({part: images(shards) for part, shards in found.items()}, f"the shards in {where}",
                    for_eval=split.for_eval)
    if own is not None:
        return Source(name, classes, own.train, own.val, test=own.test, parted=own.own, layout="shards")
    train = found["train"]
    if split.for_eval:
        everything = images(train)
        note = f"{where} has no validation part: all its {len(train.label)} images are judged."
        return Source(name, classes, everything, everything, (note,), layout="shards")
    kept = held_out(len(train.shards), split.val_fraction, where)
    note = f"{where} has no validation part: its last {len(train.shards) - kept} shard(s) are held out."
    learned, held = map(images, train.split(kept))
    return Source(name, classes, learned, held, (note,), layout="shards")


def read_index(read: Callable[[str], bytes], where: str) -> tuple[tuple[str, ...], dict[NamedPart, Part]]:
    """The classes and the parts; `read` gives the content of a file of the shard folder, `where` names that folder."""
    try:
        text = read(INDEX)
        if len(text) > bounded.LONGEST:
            raise ValueError(f"{INDEX} is longer than {bounded.LONGEST:,} bytes")
        with suppress(ValueError, AttributeError):      # what is no JSON is refused by the next line
            check_format(bounded.parse_json(text.decode()).get("version"), FORMAT, f"{where}/{INDEX}")
        index = Index.model_validate_json(text)
        places = bounded.arrays(io.BytesIO(read(PLACES)), bounded.SPARSE)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise ConvatlasError(f"{where}/{INDEX} is not an index that this version reads: {field}: "
                             f"{first['msg']}") from error
    except (OSError, ValueError) as error:
        raise ConvatlasError(f"cannot read the index of the shards in {where}: "
                             f"{' '.join(str(error).split())}") from error
    return index.classes, {name: _part(name, shards, places, len(index.classes), where)
                           for name, shards in index.parts.items()}


def _part(name: str, shards: tuple[Shard, ...], places: Mapping[str, NDArray[np.int64]], classes: int,
          where: str) -> Part:
    columns = [places.get(f"{name}_{field}", np.zeros(0, np.int64)) for field in FIELDS]
    part = Part(shards, *columns)
    count = sum(shard.images for shard in shards)
    fits = all(column.shape == (count,) and column.dtype == np.int64 and (column >= 0).all() for column in columns)
    if fits:
        ends = np.repeat([shard.bytes for shard in shards], [shard.images for shard in shards])
        fits = bool((part.offset + part.size <= ends).all() and (part.label < classes).all())
    if not fits:
        raise ConvatlasError(f"{INDEX} and {PLACES} in {where} do not belong together (part {name!r}); write "
                             "the shards again")
    return part


def held_out(shards: int, fraction: float, where: str) -> int:
    """Number of shards that remain when the last ones, about `fraction` of all, are held out."""
    if shards < 2:
        raise ConvatlasError(f"{where} has one shard and no validation part, so none can be held out; "
                             "write shards with a validation part: convatlas data shard FOLDER OUT --val 0.2")
    return min(shards - 1, max(1, shards - round(fraction * shards)))


def _check_file(path: Path, shard: Shard) -> None:
    try:
        found = path.stat().st_size
    except OSError as error:
        raise ConvatlasError(f"the shard {str(path)!r} cannot be opened: {error.strerror}; copy it again") from error
    if found != shard.bytes:
        raise ConvatlasError(f"the shard {str(path)!r} has {found} bytes, {shard.bytes} are expected; copy it again")


class Shards(Encoded):
    """The pictures of one part, read one at a time from wherever in their shards they lie."""

    def __init__(self, root: Path, part: Part):
        self.labels = torch.from_numpy(part.label)
        self._root, self._part = root, part
        self._counts = [shard.images for shard in part.shards]
        self._starts = np.cumsum([0, *self._counts])
        self._files: dict[int, io.FileIO] = {}

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digest(self) -> str:
        """A digest of its shards."""
        return self._part.digest

    def read(self, index: int) -> Tensor:
        """The picture as uint8 (1 or 3, H, W); raises UnreadableImage."""
        return decoded(self.content(index), self.name(index), self.how)

    def content(self, index: int) -> bytes:
        """The bytes of the picture file."""
        file = self._file(self._shard(index))
        # pread moves no file position: processes forked from this one may read from the same open file
        return os.pread(file.fileno(), int(self._part.size[index]), int(self._part.offset[index]))

    def encoded(self, index: int) -> bytes:
        """The bytes of the picture file."""
        return self.content(index)

    def name(self, index: int) -> str:
        """`train/shard-000000.tar[17]`, counted within the shard."""
        number = self._shard(index)
        return f"{self._root / self._part.shards[number].file}[{index - self._starts[number]}]"

    def order(self, seed: int, epoch: int) -> Tensor:
        """All indices in an order that the seed and the epoch decide, int64 (N,): near one another in it, near on disk.

        The shards come in random order, and each `WINDOW` of them is shuffled together.
        """
        shards = shuffled(len(self._counts), seed, epoch)
        windows = []
        for first in range(0, len(shards), WINDOW):
            window = shards[first : first + WINDOW]
            inside = torch.cat([torch.arange(self._starts[k], self._starts[k + 1]) for k in window.tolist()])
            windows.append(inside[shuffled(len(inside), seed, epoch, int(window[0]))])
        return torch.cat(windows)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_files": {}}      # a worker that is not forked opens its own

    def _shard(self, index: int) -> int:
        return int(np.searchsorted(self._starts, index, side="right")) - 1

    def _file(self, number: int) -> io.FileIO:
        if number not in self._files:
            path = self._root / self._part.shards[number].file
            try:
                opened = path.open("rb", buffering=0)
            except OSError as error:
                raise ConvatlasError(f"the shard {str(path)!r} cannot be opened any more: {error.strerror}") from error
            if len(self._files) >= OPEN_FILES:
                self._files.pop(next(iter(self._files))).close()
            self._files[number] = opened
        return self._files[number]


def shuffled(count: int, *numbers: int) -> Tensor:
    """A permutation of 0..count-1 that depends on the numbers only: int64 (count,)."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(stable_seed(*numbers)))


def decoded(content: bytes, name: str, how: Decoding = AS_IT_IS) -> Tensor:
    """The bytes of a picture file as uint8 (1 or 3, H, W); raises UnreadableImage, which calls it `name`."""
    return as_tensor(decode(content, how, name).pixels)
