"""Opened data beside the manifest of a run: which images are the run's, and what has changed since."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import torch

from ..errors import ConvatlasError, some
from ..run import Data
from ..runs.manifest import Entry, Kept, Manifest, Part
from .cache import as_files
from .images import Files, ImageSet, Source, Subset, Tensors
from .shards.local import Shards
from .shards.stream import Stream

HASHED = 2**28          # bytes of a whole set, up to which the content of each file is digested
NAMED = 3               # files that a sentence names
PARTS = ("train", "val")        # of a run


S = TypeVar("S")


class Opened(Protocol):
    """Opened data, with labels or with masks."""

    @property
    def name(self) -> str:
        """The set's name."""

    @property
    def layout(self) -> str:
        """Its layout on disk, in some words."""

    @property
    def parted(self) -> bool:
        """True where its parts are its own."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""


class Item(NamedTuple):
    """An image's part, class and files."""

    part: str
    label: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Listing:
    """The files of opened data as a manifest lists them, and the place of each among the items they were listed from.

    An image that is in several parts is listed in each.
    """

    entries: tuple[Entry, ...]
    places: tuple[int, ...]

    @cached_property
    def _by_name(self) -> Mapping[str, list[int]]:
        """Numbers of the entries that a run may train on or hold out."""
        found: dict[str, list[int]] = {}
        for number, entry in enumerate(self.entries):
            if entry.part in PARTS:
                found.setdefault(entry.name, []).append(number)
        return found

    def find(self, known: Entry) -> int | None:
        """The number of the entry that a manifest's entry is now: of that name, in that part if there are two."""
        numbers = self._by_name.get(known.name, [])
        return next((number for number in numbers if self.entries[number].part == known.part),
                    numbers[0] if numbers else None)

    def of(self, known: Iterable[Entry]) -> list[int]:
        """The places of those of a manifest's entries that are there."""
        return [self.places[number] for entry in known if (number := self.find(entry)) is not None]

    @property
    def once(self) -> list[int]:
        """The places of all images, each once."""
        return list({entry.name: place for entry, place in
                     zip(reversed(self.entries), reversed(self.places), strict=True)}.values())[::-1]


def listing(items: Iterable[Item], source: str) -> Listing:
    """The items listed; `source` is the folder below which their names begin."""
    root = f"{Path(source).expanduser()}{os.sep}"
    known: dict[tuple[str, str], tuple[Item, int, int]] = {}
    for number, item in enumerate(items):
        name = str(item.files[0]).removeprefix(root)
        known.setdefault((item.part, name), (item, sum(map(_size, item.files)), number))
    small = sum(size for _, size, _ in known.values()) <= HASHED
    return Listing(tuple(Entry(part, item.label, size, _content(item.files) if small else "", name)
                         for (part, name), (item, size, _) in known.items()),
                   tuple(number for _, _, number in known.values()))


def sets_of(train: S, val: S, test: S | None) -> dict[str, S]:
    """The sets of opened data by part, each once: where nothing is held out, all is in the first."""
    found: dict[str, S] = {}
    for part, images in (("train", train), ("val", val), ("test", test)):
        if images is not None and not any(images is other for other in found.values()):
            found[part] = images
    return found


def items_of(source: Source) -> tuple[Files, list[Item]] | None:
    """All files of opened data, those to learn from first, with their classes; None where it is not in files."""
    found = {part: as_files(images) for part, images in sets_of(source.train, source.val, source.test).items()}
    sets = [files for files in found.values() if files is not None]
    if len(sets) < len(found):
        return None
    items = [Item(part, label, (path,)) for part, files in found.items() if files is not None
             for path, label in zip(files.paths, _labels(source, files), strict=True)]
    return Files([path for files in sets for path in files.paths], torch.cat([files.labels for files in sets])), items


def _labels(source: Source, files: Files) -> list[str]:
    if files.labels.ndim == 1:
        return [source.classes[number] for number in files.labels.tolist()]
    return [";".join(name for name, there in zip(source.classes, row, strict=True) if there)
            for row in files.labels.tolist()]


class Record(NamedTuple):
    """The record of a run's data."""

    manifest: Manifest
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]          # worth telling


def record_of(source: Source, config: Data, seed: int) -> Record:
    """The record of data as training has opened it."""
    found = items_of(source)
    if found is not None:
        return record(source, listing(found[1], config.source), config, seed)
    sets = {"train": source.train, "val": source.val}
    parts = {part: Part(images=len(images), digest=content_of(images)) for part, images in sets.items()}
    notes = twins([entry for part, images in sets.items() for entry in _in_memory(images, part, source.classes)])
    return Record(_manifest(source, config, seed, parts), (), notes)


def record(opened: Opened, found: Listing, config: Data, seed: int, masks: Mapping[str, Any] | None = None) -> Record:
    """The record of data in files; of the test part, which a run neither trains on nor holds out, it keeps nothing."""
    entries = tuple(entry for entry in found.entries if entry.part in PARTS)
    parts = {part: Part(images=sum(entry.part == part for entry in entries), digest=digest_of(entries, part))
             for part in PARTS}
    manifest = _manifest(opened, config, seed, parts)
    return Record(manifest.model_copy(update={"masks": masks}), entries, twins(entries))


def _manifest(opened: Opened, config: Data, seed: int, parts: dict[str, Part]) -> Manifest:
    where = place(config.source)
    return Manifest(source=config.source, place=where and str(where), name=opened.name, layout=opened.layout,
                    parted=opened.parted, classes=opened.classes, val_fraction=config.val_fraction, seed=seed,
                    parts=parts)


def place(source: str) -> Path | None:
    """The folder or file that data lies in, absolute; None for what is no path here."""
    path = Path(source).expanduser()
    return path.resolve() if path.exists() else None


def digest_of(entries: Iterable[Entry], part: str) -> str:
    """A digest of the names, classes, sizes and contents of one part's files, in any order."""
    mixed = blake2b(digest_size=16)
    for line in sorted("\t".join(map(str, entry[1:])) for entry in entries if entry.part == part):
        mixed.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return mixed.hexdigest()


def content_of(images: ImageSet) -> str:
    """A digest of a set that is not in files: of labels and pixels in memory, or of its shards."""
    if isinstance(images, Shards | Stream):
        return images.digest
    mixed = blake2b(images.labels.contiguous().numpy().tobytes(), digest_size=16)
    if isinstance(images, Subset):
        mixed.update(images.indices.numpy().tobytes() + content_of(images.base).encode())
    elif isinstance(images, Tensors):
        mixed.update(images.images.numpy().data)
    return mixed.hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _content(files: Sequence[Path]) -> str:
    """16 hex digits for the first file and, where there are more, 16 for the others together."""
    def mixed(paths: Sequence[Path]) -> str:
        found = blake2b(digest_size=8)
        for path in paths:
            try:
                with path.open("rb") as file:
                    while part := file.read(2**20):
                        found.update(part)
            except OSError:
                found.update(b"unreadable")
        return found.hexdigest()

    return mixed(files[:1]) + (mixed(files[1:]) if files[1:] else "")


def _in_memory(images: ImageSet, part: str, classes: Sequence[str]) -> Iterator[Entry]:
    """Pictures in memory as entries, to be compared; none of a large set, or of one that is not in memory."""
    base = images.base if isinstance(images, Subset) else images
    if not isinstance(base, Tensors) or base.images.nbytes > HASHED:
        return
    for index, label in enumerate(images.labels.tolist()):
        pixels = images.read(index).numpy().tobytes()
        yield Entry(part, classes[label] if isinstance(label, int) else str(label), len(pixels),
                    blake2b(pixels, digest_size=8).hexdigest(), images.name(index))


def twins(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Sentences on identical pictures in both parts, and in two classes; where contents were not digested, on files
    that are in both.
    """
    known: dict[str, list[Entry]] = {}
    for entry in entries:
        known.setdefault(entry.digest[:16] or entry.name, []).append(entry)
    many = [group for group in known.values() if len(group) > 1]
    told = []
    for what, field in (("both in the training and in the validation part", "part"),
                        ("in more than one class", "label")):
        alike = [group for group in many if len({getattr(entry, field) for entry in group}) > 1]
        if alike:
            first = alike[0]
            other = next(entry for entry in first if getattr(entry, field) != getattr(first[0], field))
            told.append(f"{len(alike)} picture(s) lie {what}, byte for byte: {first[0].name!r} is {other.name!r} "
                        "(`convatlas data check` lists them).")
    return tuple(told)


def compared(known: Kept, now: Listing, classes: Sequence[str], data: str, *, resumes: bool,
             accept: bool) -> tuple[str, ...]:
    """Changes of a run's data since training, in a sentence; unless `accept` a ConvatlasError where classes or held-out
    images are touched or, for a run that goes on, images that it trains on.
    """
    missing, altered = ({part: list[str]() for part in PARTS} for _ in range(2))
    for entry in known.entries:
        number = now.find(entry)
        if number is None:
            missing[entry.part].append(entry.name)
        elif now.entries[number].label != entry.label or not _same_files(entry, now.entries[number]):
            altered[entry.part].append(entry.name)
    names, before = {entry.name for entry in known.entries}, known.manifest.classes
    added = [entry.name for entry in now.entries if entry.part in PARTS and entry.name not in names]
    others = set(before) != set(classes)
    told = [f"classes were {some(before, NAMED)} and are {some(classes, NAMED)}"] if others else []
    for part, words in (("val", "held-out"), ("train", "training")):
        for found, what in ((missing[part], "missing"), (altered[part], "not what they were")):
            if found:
                told.append(f"{len(found)} {words} image(s) are {what} ({some(found, NAMED)})")
    if added:
        told.append(f"{len(added)} image(s) are new ({some(added, NAMED)})")
    said = f"{data} has changed since {known.folder} was trained on it: {'; '.join(told)}"
    touched = others or missing["val"] or altered["val"] or (resumes and (missing["train"] or altered["train"]))
    if touched and not accept:
        way = ("`convatlas train --resume RUN --accept-changes` goes on with what is left, as long as an epoch keeps "
               "its number of steps" if resumes else
               "`convatlas eval RUN --accept-changes` judges what is left of the held-out images")
        raise ConvatlasError(f"{said}; bring it back as it was: or {way}")
    new = " New images are neither trained on nor judged." if added else ""
    return (f"{said}.{new}",) if told else ()


def unchanged(known: Kept, now: Listing) -> bool:
    """True where the parts of the data as it is are those of the manifest."""
    return all(digest_of(now.entries, part) == kept.digest for part, kept in known.manifest.parts.items())


def moved(known: Kept, now: Listing) -> bool:
    """True where at least nine in ten of the run's files are there: its data, moved or copied."""
    there = sum((number := now.find(entry)) is not None and _same_files(entry, now.entries[number])
                for entry in known.entries)
    return bool(known.entries) and 10 * there >= 9 * len(known.entries)


def _same_files(one: Entry, other: Entry) -> bool:
    """True for the same size and, where both are known, the same content."""
    return one.size == other.size and (not one.digest or not other.digest or one.digest == other.digest)


def held(known: Kept, data: str, sizes: Mapping[str, int], *, resumes: bool) -> None:
    """A ConvatlasError where nothing is left of a part of the run that is needed."""
    if resumes and not all(sizes.values()):
        raise ConvatlasError(f"none of the images of {data} that {known.folder} "
                             f"{'held out' if sizes['train'] else 'trains on'} is left: begin a new run")
    if not sizes["val"]:
        raise ConvatlasError(f"none of the {len(known.part('val'))} images that {known.folder} held out is in {data} "
                             "any more: --split all judges what is there")


def leaks(known: Kept, now: Listing | None, where: str) -> tuple[str, ...]:
    """A sentence, if images of other data are among those that the run was trained on: of the same content, where that
    was digested, else of the same name and size.
    """
    trained = known.part("train")
    contents = {entry.digest[:16] for entry in trained if entry.digest}
    names = {(entry.name, entry.size) for entry in trained if not entry.digest}
    there = [] if now is None else [entry for entry in now.entries if (entry.digest and entry.digest[:16] in contents)
                                    or (entry.name, entry.size) in names]
    if now is None or not there:
        return ()
    return (f"{len(there)} of the {len(now.entries)} images of {where} are images that {known.folder} was trained on "
            f"({some([entry.name for entry in there], NAMED)}).",)


def resumed(source: Source, known: Kept, config: Data, accept: bool) -> tuple[Source, tuple[str, ...]]:
    """Data that was opened for training, with the images that the run in `known` trains on and has held out, and what
    has changed, in sentences.

    A ConvatlasError where classes or any of these images are not as they were, unless `accept`.
    """
    manifest, found = known.manifest, items_of(source)
    if found is None or not known.entries:
        return source, check_content(source, known, config.source, accept)
    files, items = found
    now = listing(items, config.source)
    told = compared(known, now, source.classes, config.source, resumes=True, accept=accept)
    if not told and unchanged(known, now):
        return source, ()
    files = Files(files.paths, renumbered(files.labels, source.classes, manifest.classes))
    mine = (files.labels >= 0).reshape(len(files), -1).all(dim=1)
    train, val = (Subset(files, torch.tensor([place for place in now.of(known.part(part)) if mine[place]]))
                  for part in PARTS)
    held(known, config.source, {"train": len(train), "val": len(val)}, resumes=True)
    return replace(source, classes=manifest.classes, train=train, val=val), told


def check_content(source: Source, known: Kept, where: str, accept: bool) -> tuple[str, ...]:
    """The same of data that is not in files: it is as it was, or it is not."""
    parts = known.manifest.parts
    changed = [part for part, images in (("train", source.train), ("val", source.val))
               if part in parts and content_of(images) != parts[part].digest]
    if not changed:
        return ()
    words = " and ".join({"train": "the training part", "val": "the held-out part"}[part] for part in changed)
    counts = (f"{parts['train'].images} + {parts['val'].images} images then, {len(source.train)} + {len(source.val)} "
              "now")
    if accept:
        return (f"{where} has changed since {known.folder} was trained on it: {words} ({counts}).",)
    raise ConvatlasError(f"{where} has changed since {known.folder} was trained on it: {words} ({counts}), so "
                         "images that were trained on may be held out now; bring it back as it was, or take it as it "
                         "is: `convatlas eval` and `train --resume` do with --accept-changes")


def renumbered(labels: torch.Tensor, classes: Sequence[str], known: Sequence[str]) -> torch.Tensor:
    """Labels as numbers, or columns, of the `known` classes: of the same names; −1 for another class."""
    if tuple(classes) == tuple(known):
        return labels
    places = {name: number for number, name in enumerate(known)}
    if labels.ndim == 1:
        return torch.tensor([places.get(name, -1) for name in classes])[labels]
    columns = labels.new_zeros(len(labels), len(known))
    for number, name in enumerate(classes):
        if name in places:
            columns[:, places[name]] = labels[:, number]
    return columns
