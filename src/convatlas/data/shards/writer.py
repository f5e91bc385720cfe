"""Writes a folder of images by class as tar shards; a run that was interrupted goes on where it stopped."""

import hashlib
import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import bounded
from ...errors import ConvatlasError
from ...files import check_format, digest, leftovers, put, vacant, whole_write, writing
from ..image_folder import read_folder
from ..images import Files, ImageSet, Subset
from ..parts import Part
from ..split import Split
from .local import FIELDS, FORMAT, INDEX, JOURNAL, PLACES, Index, Shard

BLOCK, RECORD = 512, 10240          # bytes: a tar member is padded to the one, a whole tar to the other

CLASSES = "classes.txt"             # for people, and other readers

GOES_ON = "finished shards are kept, and the same command goes on"

Report = Callable[[int, int], None]     # bytes done, bytes in all
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Planned:
    """One shard before it is written."""

    file: str                       # relative to the folder of shards
    first: int                      # number in its part of its first picture
    paths: tuple[Path, ...]
    sizes: tuple[int, ...]          # in bytes
    labels: tuple[int, ...]

    @property
    def offsets(self) -> list[int]:
        """Byte offsets of the pictures in the tar; the end of its content comes last."""
        places = [BLOCK]
        for size in self.sizes:     # the picture; the header and the block of its label; the header of the next one
            places.append(places[-1] + _padded(size, BLOCK) + 2 * BLOCK + BLOCK)
        return places

    @property
    def bytes(self) -> int:
        """The size of the tar: two empty blocks end it."""
        return _padded(self.offsets[-1] - BLOCK + 2 * BLOCK, RECORD)


def write_shards(folder: Path, out: Path, *, shard_bytes: int, val_fraction: float, seed: int, report: Report,
                 tell: Tell = lambda sentence: None) -> Index:
    """Write the images of `folder` to `out`: their files byte for byte, in an order shuffled by `seed`.

    Parts (train, val, test) stay what they are; where there is only one, a stratified share `val_fraction` of it
    becomes `val` (0: none). The same files give the same bytes. Raises ConvatlasError where `out` holds something else,
    where the disk has too little room, and where a file cannot be read or written.
    """
    classes, parts = _parts(folder, val_fraction, seed, tell)
    plan = {name: _planned(name, files, shard_bytes, seed) for name, files in parts.items()}
    shards = [shard for part in plan.values() for shard in part]
    suffix = _suffix(shards)
    done = _begin(out, _plan_digest(classes, suffix, shards))
    _check_room(out, sum(shard.bytes for shard in shards if shard.file not in done))
    finished: dict[str, Shard] = {}
    total, written = sum(shard.bytes for shard in shards), 0
    for shard in shards:
        kept = done.get(shard.file)
        if kept is None or not _intact(out / shard.file, kept):
            kept = _write(out, shard, suffix)
        finished[shard.file] = kept
        written += shard.bytes
        report(written, total)
    index = Index(classes=classes, parts={name: tuple(finished[each.file] for each in part)
                                          for name, part in plan.items()})
    _write_index(out, index, plan)
    return index


def _parts(folder: Path, val_fraction: float, seed: int, tell: Tell) -> tuple[tuple[str, ...], dict[Part, "Listed"]]:
    """The classes, and the files of each part; `tell` gets the notes on what was understood."""
    try:
        source = read_folder(folder, Split(val_fraction, seed) if val_fraction else Split(for_eval=True))
    except OSError as error:
        raise ConvatlasError(f"cannot read the folder {str(folder)!r}: {error}") from error
    # of data without parts the last note says that nothing is held out, which was asked for
    for note in source.notes if val_fraction or source.parted else source.notes[:-1]:
        tell(note)
    if source.test is source.train:
        raise ConvatlasError(f"{str(folder)!r} has no part to learn from; give the folder of its only part itself")
    parts: dict[Part, Listed] = {"train": _listed(source.train)}
    if source.val is not source.train and source.val is not source.test:
        parts["val"] = _listed(source.val)
    if source.test is not None:
        parts["test"] = _listed(source.test)
    return source.classes, parts


Listed = list[tuple[Path, int]]     # picture files and their classes


def _listed(images: ImageSet) -> Listed:
    chosen, base = ((images.indices.tolist(), images.base) if isinstance(images, Subset)
                    else (range(len(images)), images))
    assert isinstance(base, Files)
    if base.labels.dim() != 1:
        raise ConvatlasError("shards hold one class per image; a folder of images with several labels is read as it is")
    labels = base.labels.tolist()
    return [(base.paths[index], labels[index]) for index in chosen]


def _planned(part: str, files: Listed, shard_bytes: int, seed: int) -> list[Planned]:
    """The shards of one part, each as full as `shard_bytes` allows, with one picture at least."""
    # RandomState, because NumPy promises never to change its stream: the order of a run that goes on must be found
    # again
    order = np.random.RandomState(seed % 2**32).permutation(len(files))
    shards: list[Planned] = []
    chosen: list[tuple[Path, int, int]] = []
    first = filled = 0

    def close() -> None:
        paths, sizes, labels = zip(*chosen, strict=True)
        shards.append(Planned(f"{part}/shard-{len(shards):06d}.tar", first, paths, sizes, labels))

    for path, label in (files[index] for index in order):
        size = _size(path)
        needed = 3 * BLOCK + _padded(size, BLOCK)
        if chosen and filled + needed > shard_bytes:
            close()
            first, filled, chosen = first + len(chosen), 0, []
        chosen.append((path, size, label))
        filled += needed
    close()
    return shards


def _padded(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise ConvatlasError(f"cannot read {str(path)!r}: {error.strerror}") from error


def _suffix(shards: list[Planned]) -> str:
    """The one suffix for all pictures, the commonest: readers of WebDataset want the same fields in every sample.

    Readers of pictures go by the content, not by the name.
    """
    suffixes = Counter(path.suffix.lower().replace(".jpeg", ".jpg") for shard in shards for path in shard.paths)
    return min(suffixes, key=lambda suffix: (-suffixes[suffix], suffix))


def _plan_digest(classes: tuple[str, ...], suffix: str, shards: list[Planned]) -> str:
    """Digest of all that is to be written: every file with its size and its time of change."""
    digest = hashlib.sha256(json.dumps([classes, suffix]).encode())
    for shard in shards:
        for path, size, label in zip(shard.paths, shard.sizes, shard.labels, strict=True):
            line = f"{shard.file} {path} {size} {path.stat().st_mtime_ns} {label}\n"
            digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _begin(out: Path, digest: str) -> dict[str, Shard]:
    """Make `out`, or find the shards that an earlier run finished in it."""
    journal, plan = out / JOURNAL, json.dumps({"plan": digest, "format": FORMAT})
    with writing(out, GOES_ON):
        if not out.exists() or vacant(out, JOURNAL):
            out.mkdir(parents=True, exist_ok=True)
            _put(journal, [plan])
            return {}
        if (out / INDEX).is_file():
            raise ConvatlasError(f"{str(out)!r} holds finished shards already; choose another folder, or remove it")
        if not journal.is_file():
            raise ConvatlasError(f"{str(out)!r} is not empty and holds no unfinished shards; choose another folder")
        # after the last line end: nothing, or half a line
        try:
            lines = bounded.text(journal, 2**24).split("\n")[:-1]
            begun = dict(bounded.parse_json(lines[0])) if lines else {}
            shards = [Shard.model_validate_json(line) for line in lines[1:]]
        except (ValueError, TypeError) as error:
            raise ConvatlasError(f"the journal of {str(out)!r} is damaged ({' '.join(str(error).split())[:200]}): "
                                 "remove the folder, and begin again") from error
        check_format(begun.get("format"), FORMAT, repr(str(out)))
        if begun.get("plan") != digest:
            raise ConvatlasError(f"{str(out)!r} holds unfinished shards of other images or other options; "
                                 "finish those, or remove the folder")
        _put(journal, lines)
        # of a killed process
        for left in (*out.glob("*/.shard-*"), *leftovers(out, JOURNAL, PLACES, CLASSES, INDEX)):
            left.unlink()
    return {shard.file: shard for shard in shards}


def _put(path: Path, lines: list[str]) -> None:
    """A text file, whole."""
    put(path, "".join(f"{line}\n" for line in lines), GOES_ON)


def _check_room(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if free < needed:
        raise ConvatlasError(f"{str(out)!r} has {free / 1e9:.2f} GB free, but {needed / 1e9:.2f} GB are needed; "
                             "make room or choose another disk")


def _intact(path: Path, shard: Shard) -> bool:
    """True if a shard that the journal lists is as it was written."""
    try:
        return digest(path) == shard.sha256
    except OSError:
        return False


def _write(out: Path, shard: Planned, suffix: str) -> Shard:
    """Write one shard under a name of its own, rename it, and note it in the journal."""
    path, written = out / shard.file, hashlib.sha256()
    with whole_write(path, GOES_ON, parents=True, sync=True) as beside, beside.open("wb") as file:
        for block in _tar(shard, suffix):
            written.update(block)
            file.write(block)
    done = Shard(file=shard.file, images=len(shard.paths), bytes=shard.bytes, sha256=written.hexdigest())
    with writing(out / JOURNAL, GOES_ON), (out / JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write(done.model_dump_json() + "\n")
    return done


def _tar(shard: Planned, suffix: str) -> Iterator[bytes]:
    """The tar, piece by piece."""
    for number, (path, size, label) in enumerate(zip(shard.paths, shard.sizes, shard.labels, strict=True),
                                                 start=shard.first):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ConvatlasError(f"cannot read {str(path)!r}: {error.strerror}; mend or remove it, then run the same "
                                 "again") from error
        if len(content) != size:
            raise ConvatlasError(f"{str(path)!r} changed while the shards were written: {size} bytes before, "
                                 f"{len(content)} now")
        yield _member(f"{number:09d}{suffix}", content)
        yield _member(f"{number:09d}.cls", str(label).encode("ascii"))
    end = shard.offsets[-1] - BLOCK
    yield bytes(shard.bytes - end)


def _member(name: str, content: bytes) -> bytes:
    """Header and content of one file in a tar; owner and time are 0."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    return header.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % BLOCK)


def _write_index(out: Path, index: Index, plan: Mapping[Part, list[Planned]]) -> None:
    """The index last: a folder that has one is whole."""
    places = {}
    for name, part in plan.items():
        rows = [row for shard in part for row in zip(shard.offsets[:-1], shard.sizes, shard.labels, strict=True)]
        for field, column in zip(FIELDS, np.array(rows, dtype=np.int64).T, strict=True):
            places[f"{name}_{field}"] = column
    with whole_write(out / PLACES, GOES_ON) as beside, beside.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **places)
    _put(out / CLASSES, list(index.classes))
    _put(out / INDEX, [index.model_dump_json(indent=1)])
    with writing(out, GOES_ON):
        (out / JOURNAL).unlink()
