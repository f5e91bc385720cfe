"""Images with masks beside the manifest of a run: how it read the masks, and which images are the run's."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..data.manifest import (
    Item,
    Listing,
    Record,
    changes,
    check,
    digest_of,
    leaks,
    listing,
    overlap,
    place,
    twins,
)
from ..errors import ConvatlasError
from ..evaluation.judging import Part, Split, is_place_of, known_at, part_for
from ..run import Data
from ..runs.folder import run_of
from ..runs.manifest import Kept, Manifest
from ..runs.manifest import Part as Counted
from .pairs import Joined, Masked, Pairs, Subset, open_pairs
from .reading import Reading


class Judged(NamedTuple):
    """Opened pairs, those of them that are to be judged, and which part of them these are."""

    pairs: Pairs
    images: Masked
    part: Part
    notes: tuple[str, ...]


def record_of(pairs: Pairs, config: Data, seed: int) -> Record:
    """The record of data as training has opened it."""
    items = _items(pairs, config.source)
    entries = tuple(entry for entry in items[1].entries if entry.part != "test") if items is not None else ()
    where = place(config.source)
    parts = {part: Counted(images=len(images), digest=digest_of(entries, part))
             for part, images in (("train", pairs.train), ("val", pairs.val))}
    return Record(Manifest(source=config.source, place=where and str(where), name=pairs.name, layout=pairs.layout,
                           parted=pairs.parted, classes=pairs.classes, val_fraction=config.val_fraction, seed=seed,
                           masks=pairs.reading and pairs.reading.model_dump(mode="json"), parts=parts),
                  entries, twins(entries))


def reading_of(known: Kept | None) -> Reading | None:
    """The reading of a run's masks; None where its manifest does not say."""
    return None if known is None or known.manifest.masks is None else Reading.model_validate(known.manifest.masks)


def resumed(config: Data, known: Kept, accept: bool) -> Pairs:
    """The run's data, opened again: masks as it read them, the images that it trains on and those that it held out.

    A ConvatlasError where any of these images is not as it was, unless `accept`.
    """
    pairs = open_pairs(config, reading=reading_of(known))
    found = _items(pairs, config.source)
    if found is None or not known.entries:
        return pairs
    images, now = found
    there = [entry for entry in now.entries if entry.part != "test"]
    told = check(changes(known.entries, (), there, ()), config.source, known.folder, resumes=True, accept=accept)
    if not told and all(digest_of(there, part) == kept.digest for part, kept in known.manifest.parts.items()):
        return pairs
    train, val = (Subset(images, tuple(now.of(known.part(part)))) for part in ("train", "val"))
    if not len(train) or not len(val):
        raise ConvatlasError(f"none of the images of {config.source} that {known.folder} "
                             f"{'held out' if len(train) else 'trains on'} is left: begin a new run")
    return replace(pairs, train=train, val=val, notes=(*pairs.notes, *told))


def judged_on(path: Path | None, config: Data, split: Split, accept: bool = False) -> Judged:
    """The images that a network from `path` is to be judged on, and their masks as its run read them.

    Where it was trained on this data, the run's manifest says what it held out, whatever the folder holds by now. Masks
    are read as `config.masks` says, if it says anything, else as the run read them, also those of other data.
    """
    known = None if path is None else known_at(path)
    reading = reading_of(known) if config.masks == "auto" else None
    old = known if known is not None and not known.manifest.parts and is_place_of(known, config.source) else None
    if old is not None:     # a run without a manifest: what its config.yaml says
        data = run_of(old.folder).data
        masks = data.masks if config.masks == "auto" else config.masks
        config = config.model_copy(update={"val_fraction": data.val_fraction, "masks": masks})
    pairs = open_pairs(config, reading=reading, for_eval=old is None)
    found = _items(pairs, config.source)
    now = None if found is None else found[1]
    mine = known is not None and (is_place_of(known, config.source) or (
        now is not None and bool(known.entries) and 10 * overlap(known.entries, now.entries) >= 9 * len(known.entries)))
    part = part_for(split, parted=pairs.parted, known=mine, test=pairs.test is not None, where=config.source)
    notes = [*pairs.notes]
    if split == "auto" and part == "test" and pairs.test is not pairs.val:
        notes.append(f"Judged is the test part of {pairs.name}; --split val, train or all judges others.")
    if known is not None and not mine:
        notes += leaks(known, now, config.source)
    if part == "all":
        return Judged(pairs, _everything(pairs, found), part, tuple(notes))
    if part == "test" and pairs.test is not None:
        return Judged(pairs, pairs.test, part, tuple(notes))
    if known is None or not mine or found is None or not known.entries:
        return Judged(pairs, pairs.val if part == "val" else pairs.train, part, tuple(notes))
    images, there = found[0], [entry for entry in found[1].entries if entry.part != "test"]
    notes += check(changes(known.entries, (), there, ()), config.source, known.folder, resumes=False, accept=accept)
    chosen = Subset(images, tuple(found[1].of(known.part(part))))
    if not len(chosen):
        raise ConvatlasError(f"none of the {len(known.part(part))} images that {known.folder} held out is in "
                             f"{config.source} any more: --split all judges what is there")
    return Judged(pairs, chosen, part, tuple(notes))


def _items(pairs: Pairs, source: str) -> tuple[Masked, Listing] | None:
    """All pairs, those to learn from first, and their files; None where they are not in files."""
    sets = {"train": pairs.train, "val": pairs.val, **({} if pairs.test is None else {"test": pairs.test})}
    if pairs.reading is None:
        return None
    items = [Item(part, "", (Path(images.file_of(i)), *images.mask_files(i)))
             for part, images in sets.items() for i in range(len(images))]
    return Joined(tuple(sets.values())), listing(items, source)


def _everything(pairs: Pairs, found: tuple[Masked, Listing] | None) -> Masked:
    if not pairs.parted and pairs.test is None:
        return pairs.val
    if found is not None:
        return Subset(found[0], tuple(found[1].places.values()))
    sets: list[Masked] = []
    for images in (pairs.train, pairs.val, pairs.test):
        if images is not None and images not in sets:
            sets.append(images)
    return Joined(tuple(sets)) if sets[1:] else sets[0]
