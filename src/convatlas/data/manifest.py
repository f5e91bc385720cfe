"""Opened data beside the manifest of a run: which images are the run's, and what has changed since."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import torch

from ..errors import ConvatlasError
from ..run import Data
from ..runs.manifest import Entry, Kept, Manifest, Part
from .cache import as_files
from .images import Files, ImageSet, Source, Subset, Tensors
from .shards.local import Shards
from .shards.stream import Stream

HASHED = 2**28          # bytes of a whole set, up to which the content of each file is digested
NAMED = 3               # files that a sentence names


class Item(NamedTuple):
    """An image's part, class and files."""

    part: str
    label: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Changes:
    """Names of images that are not as the manifest has them."""

    classes: str                    # in words; empty where they are the same
    added: tuple[str, ...]
    missing: Mapping[str, tuple[str, ...]]      # part -> names
    altered: Mapping[str, tuple[str, ...]]      # other bytes, or another class

    def __str__(self) -> str:
        told = [self.classes] if self.classes else []
        for part, words in (("val", "held-out"), ("train", "training")):
            for names, what in ((self.missing[part], "missing"), (self.altered[part], "not what they were")):
                if names:
                    told.append(f"{len(names)} {words} image(s) are {what} ({some(names)})")
        if self.added:
            told.append(f"{len(self.added)} image(s) are new ({some(self.added)})")
        return "; ".join(told)


def some(names: Sequence[str]) -> str:
    """The first names, quoted."""
    return ", ".join(map(repr, names[:NAMED])) + (" …" if names[NAMED:] else "")


@dataclass(frozen=True)
class Listing:
    """The files of opened data as a manifest lists them, and the place of each among the items they were listed from.

    An image that lies in several parts is listed once, in the first.
    """

    entries: tuple[Entry, ...]
    places: Mapping[str, int]           # by name

    def of(self, entries: Iterable[Entry]) -> list[int]:
        """The places of those of the entries that are there."""
        return [self.places[entry.name] for entry in entries if entry.name in self.places]


def listing(items: Iterable[Item], source: str) -> Listing:
    """The items listed; `source` is the folder below which their names begin."""
    root = f"{Path(source).expanduser()}{os.sep}"
    once: dict[str, tuple[Item, int]] = {}
    places: dict[str, int] = {}
    for number, item in enumerate(items):
        name = str(item.files[0]).removeprefix(root)
        if name not in once:
            once[name], places[name] = (item, sum(map(_size, item.files))), number
    small = sum(size for _, size in once.values()) <= HASHED
    return Listing(tuple(Entry(item.part, item.label, size, _content(item.files) if small else "", name)
                         for name, (item, size) in once.items()), places)


def items_of(source: Source) -> tuple[Files, list[Item]] | None:
    """All files of opened data, those to learn from first, with their classes; None where it is not in files."""
    parts = {"train": source.train, "val": source.val, **({} if source.test is None else {"test": source.test})}
    found = {part: as_files(images) for part, images in parts.items()}
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
    entries = listing(found[1], config.source).entries if found is not None else ()
    entries = tuple(entry for entry in entries if entry.part != "test")     # neither trained on nor held out by the run
    sets = {"train": source.train, "val": source.val}
    parts = {part: Part(images=len(images), digest=digest_of(entries, part) if entries else content_of(images))
             for part, images in sets.items()}
    root = place(config.source)
    manifest = Manifest(source=config.source, place=root and str(root), name=source.name, layout=source.layout,
                        parted=source.parted, classes=source.classes, val_fraction=config.val_fraction, seed=seed,
                        parts=parts)
    return Record(manifest, entries, twins(entries or [entry for part, images in sets.items()
                                                       for entry in _in_memory(images, part, source.classes)]))


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
    for index in range(len(images)):
        label = images.labels[index]
        pixels = images.read(index).numpy().tobytes()
        yield Entry(part, classes[int(label)] if label.ndim == 0 else str(label.tolist()), len(pixels),
                    blake2b(pixels, digest_size=8).hexdigest(), images.name(index))


def twins(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Sentences on identical pictures in both parts, and in two classes; nothing where contents were not digested."""
    known: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.digest:
            known.setdefault(entry.digest[:16], []).append(entry)
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


def changes(known: Sequence[Entry], classes: Sequence[str], now: Sequence[Entry],
            classes_now: Sequence[str]) -> Changes:
    """The difference between the images of a manifest and those of the data as it is."""
    there = {entry.name: entry for entry in now}
    names = {entry.name for entry in known}
    missing: dict[str, list[str]] = {"train": [], "val": []}
    altered: dict[str, list[str]] = {"train": [], "val": []}
    for entry in known:
        found = there.get(entry.name)
        if found is None:
            missing[entry.part].append(entry.name)
        elif found.label != entry.label or found.size != entry.size or (
                entry.digest and found.digest and found.digest != entry.digest):
            altered[entry.part].append(entry.name)
    return Changes(
        "" if set(classes) == set(classes_now) else f"classes were {some(classes)} and are {some(classes_now)}",
        tuple(entry.name for entry in now if entry.name not in names),
        {part: tuple(found) for part, found in missing.items()},
        {part: tuple(found) for part, found in altered.items()})


def check(found: Changes, data: str, run: Path, *, resumes: bool, accept: bool) -> tuple[str, ...]:
    """The changes in a sentence; a ConvatlasError where they touch classes or held-out images, or, for a run that goes
    on, images that it trains on.
    """
    touched = found.classes or found.missing["val"] or found.altered["val"] or (
        resumes and (found.missing["train"] or found.altered["train"]))
    if touched and not accept:
        way = ("go on with what is left, as long as an epoch keeps its number of steps, by" if resumes else
               "judge what is left of the held-out images by")
        raise ConvatlasError(f"{data} has changed since {run} was trained on it: {found}; bring it back as it was, or "
                             f"{way} --accept-changes")
    told = str(found)
    new = " New images are neither trained on nor judged." if found.added else ""
    return (f"{data} has changed since {run} was trained on it: {told}.{new}",) if told else ()


def overlap(known: Sequence[Entry], now: Sequence[Entry]) -> int:
    """Number of the manifest's images that are in the data as it is: the same name, size and, where it is known,
    content.
    """
    there = {(entry.name, entry.size): entry.digest for entry in now}
    return sum((found := there.get((entry.name, entry.size))) is not None
               and (not found or not entry.digest or found == entry.digest) for entry in known)


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
            f"({some([entry.name for entry in there])}).",)


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
    there = tuple(entry for entry in now.entries if entry.part != "test")
    told = check(changes(known.entries, manifest.classes, there, source.classes), config.source, known.folder,
                 resumes=True, accept=accept)
    if not told and all(digest_of(there, part) == kept.digest for part, kept in manifest.parts.items()):
        return source, ()
    files = Files(files.paths, renumbered(files.labels, source.classes, manifest.classes))
    mine = (files.labels >= 0).reshape(len(files), -1).all(dim=1)
    train, val = (Subset(files, torch.tensor([place for place in now.of(known.part(part)) if mine[place]]))
                  for part in ("train", "val"))
    if not len(train) or not len(val):
        raise ConvatlasError(f"none of the images of {config.source} that {known.folder} "
                             f"{'held out' if len(train) else 'trains on'} is left: begin a new run")
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
                         "is with --accept-changes")


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
