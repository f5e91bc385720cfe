"""An index on disk: the vector of every picture of a set, kept up to date, with at most the vectors of one batch to
lose.

A folder of three files. `index.json` says which network made the vectors, and which two files hold them:
`vectors-N.f32`, float32 (count, width) as it lies in memory, and `rows-N.jsonl`, a line [name, size, stamp] for each.
New vectors are appended before their lines, so that what was cut short is seen. What is removed is left out of a copy
numbered N + 1, to which `index.json` is then switched in one step.
"""

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import bounded
from ..data import ImageSet, Transform, UnreadableImage
from ..errors import ConvatlasError
from ..files import check_format, put, vacant, writing
from ..net.digest import weights_digest
from ..net.model import Convnet
from .nearest import Vectors
from .pictures import inputs, log

ABOUT, FORMAT = "index.json", 1
ELSEWHERE = "what is there is kept; make room, or name another folder with --index"
LINE = 2**16            # bytes of one line of rows
COPIED = 4096       # vectors of a block that is copied

# of a file: bytes, and nanoseconds at its last change; of other pictures: bytes, and their CRC-32
Stamp = tuple[int, int]


@dataclass(frozen=True)
class Changes:
    """Changes that an update made, in pictures."""

    kept: int
    added: int      # new ones, and changed ones
    dropped: int    # gone ones, and the old vectors of changed ones
    skipped: int    # not readable


class Index:
    """The index in `folder`, made there if the folder is new or empty, by `model` behind `transform`.

    A folder with other things in it, and an index that another network or another preprocessing has made, are a
    ConvatlasError.
    """

    def __init__(self, folder: Path, model: Convnet, transform: Transform) -> None:
        self.folder, self.model, self.transform = folder, model, transform
        width = embed(model, torch.zeros(1, transform.in_chans, *transform.size)).shape[1]
        fields = {"format": FORMAT, "model": model.name, "fingerprint": fingerprint(model, transform), "width": width}
        with writing(folder, ELSEWHERE):
            if (folder / ABOUT).is_file():
                self.about = self._read(fields)
            else:
                if folder.exists() and not (folder.is_dir() and vacant(folder, ABOUT)):
                    raise ConvatlasError(f"--index {str(folder)!r} is not empty and no index: name another folder")
                self.about = {**fields, "number": 0}
                folder.mkdir(parents=True, exist_ok=True)
                self._write()
            self._mend()

    @property
    def vectors(self) -> Vectors:
        """All of them, for `nearest`."""
        path, width = self._file("vectors"), int(self.about["width"])
        return Vectors(path, path.stat().st_size // (4 * width) if path.exists() else 0, width)

    def names(self, numbers: Sequence[int]) -> list[str]:
        """The names of the vectors of those numbers, from one pass over the lines."""
        wanted = set(numbers)
        found = {i: row[0] for i, row in enumerate(self._rows()) if i in wanted}
        return [found[i] for i in numbers]

    def update(self, images: ImageSet, batch_size: int = 64) -> Changes:
        """Bring the index to what `images` are now: pictures that are new or changed are computed, those that are gone
        are dropped.
        """
        now: dict[str, tuple[Stamp, int]] = {}
        skipped = 0
        for i in range(len(images)):
            try:
                now[key(images, i)] = stamp(images, i), i
            except UnreadableImage as error:
                log.warning("skipped: %s", error)
                skipped += 1
        before = [name if name in now and now[name][0] == (size, mark) else None for name, size, mark in self._rows()]
        stale, kept = before.count(None), {name for name in before if name is not None}
        new = [i for name, (_, i) in now.items() if name not in kept]
        with writing(self.folder, ELSEWHERE):
            if stale:
                self._copy(np.array([name is not None for name in before]))
            added = self._append(images, new, batch_size)
        if not kept and not added:
            raise ConvatlasError(f"none of the {len(images)} images can be read: there is nothing to search")
        return Changes(len(kept), added, stale, skipped + len(new) - added)

    def _append(self, images: ImageSet, new: Sequence[int], batch_size: int) -> int:
        added = 0
        with self._file("vectors").open("ab") as vectors, self._file("rows").open("ab") as rows:
            for numbers, x in inputs(images, new, self.transform, batch_size):
                lines = [json.dumps([key(images, i), *stamp(images, i)]) + "\n" for i in numbers]
                for file, content in ((vectors, embed(self.model, x).numpy().tobytes()),
                                      (rows, "".join(lines).encode())):
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                added += len(numbers)
        return added

    def _copy(self, kept: "np.ndarray[Any, np.dtype[np.bool_]]") -> None:
        """Begin the files of the next number with the rows where `kept`, and switch to them."""
        old, number = [self._file(kind) for kind in ("vectors", "rows")], self.about["number"] + 1
        with (self._file("vectors", number).open("wb") as vectors,
                self._file("rows", number).open("w", encoding="utf-8") as rows):
            for start, block in self.vectors.blocks(COPIED):
                vectors.write(block.numpy()[kept[start : start + COPIED]].tobytes())
            rows.writelines(json.dumps(row) + "\n" for row, stays in zip(self._rows(), kept, strict=True) if stays)
            for file in (vectors, rows):
                file.flush()
                os.fsync(file.fileno())
        self.about = {**self.about, "number": number}
        self._write()
        for path in old:
            path.unlink()

    def _mend(self) -> None:
        """Cut off what an interrupted `_append` left, and remove what an interrupted `_copy` did."""
        current = [self._file("vectors"), self._file("rows")]
        for path in self.folder.glob("*-*.*"):
            if path not in current and path.suffix in (".f32", ".jsonl"):
                path.unlink()
        for path in current:
            path.touch()
        whole, length = 0, 0
        with current[1].open("rb") as rows:
            while line := rows.readline(LINE):
                if not line.endswith(b"\n") or whole == self.vectors.count:
                    break
                whole, length = whole + 1, length + len(line)
        for path, size in zip(current, (whole * 4 * self.about["width"], length), strict=True):
            if path.stat().st_size != size:
                os.truncate(path, size)

    def _rows(self) -> Iterator[tuple[str, int, int]]:
        with self._file("rows").open("rb") as rows:
            while line := rows.readline(LINE):
                try:
                    name, size, mark = json.loads(line)
                except (ValueError, TypeError, RecursionError) as error:
                    raise ConvatlasError(f"--index {str(self.folder)!r}: {self._file('rows').name} is damaged "
                                         f"({error}); remove the folder") from error
                yield str(name), size, mark

    def _file(self, kind: str, number: int | None = None) -> Path:
        return (
            self.folder
            / f"{kind}-{self.about['number'] if number is None else number}.{'f32' if kind == 'vectors' else 'jsonl'}")

    def _read(self, fields: dict[str, Any]) -> dict[str, Any]:
        try:
            about: dict[str, Any] = bounded.read_json(self.folder / ABOUT)
            about["width"], about["number"] = int(about["width"]), int(about["number"])
            if not (1 <= about["width"] < 2**24 and 0 <= about["number"] < 2**53):
                raise ValueError(f"width {about['width']}, number {about['number']}")
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:      # int(inf) overflows
            raise ConvatlasError(f"--index {str(self.folder)!r}: {ABOUT} cannot be read ({error}); remove the "
                                 "folder") from error
        check_format(about.get("format"), FORMAT, f"--index {str(self.folder)!r}")
        for field, value in fields.items():
            if field != "format" and about.get(field) != value:
                raise ConvatlasError(f"--index {str(self.folder)!r} was made by another network or "
                                     f"preprocessing ({field} {about.get(field)!r}, not {value!r}): name another "
                                     "folder, or remove it")
        return about

    def _write(self) -> None:
        put(self.folder / ABOUT, json.dumps(self.about, indent=2) + "\n")


def embed(model: Convnet, x: Tensor) -> Tensor:
    """Embeddings of images (N, in_chans, H, W) by the last hidden layer of `model`: float32 (N, width) on the CPU."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        hidden = model.forward_head(model.forward_features(x.to(device)), pre_logits=True)
    return hidden.flatten(1).float().cpu()


def fingerprint(model: Convnet, transform: Transform) -> str:
    """16 hex digits that belong to the weights and the preprocessing; others change the vectors."""
    digest = weights_digest(model)
    fields = (transform.size, transform.mean, transform.std, transform.crop_pct, transform.interpolation, transform.fit)
    digest.update(repr(fields).encode())
    for name, tensor in sorted(transform.fitted.items()):
        digest.update(name.encode() + tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def key(images: ImageSet, i: int) -> str:
    """A picture's key in an index: of a file its whole path."""
    name = images.name(i)
    return str(Path(name).absolute()) if Path(name).is_file() else name


def stamp(images: ImageSet, i: int) -> Stamp:
    """A stamp that changes where the picture does; raises UnreadableImage."""
    path = Path(images.name(i))
    if path.is_file():
        found = path.stat()
        return found.st_size, found.st_mtime_ns
    pixels = images.read(i)
    return pixels.numel(), zlib.crc32(pixels.contiguous().numpy().data)
