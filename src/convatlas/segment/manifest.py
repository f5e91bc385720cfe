"""Images with masks beside the manifest of a run: how it read the masks, and which images are the run's."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..data.manifest import (
    PARTS,
    Item,
    Listing,
    Record,
    compared,
    held,
    leaks,
    listing,
    moved,
    record,
    sets_of,
    unchanged,
)
from ..evaluation.judging import Part, Split, is_place_of, known_at, of_test, part_for
from ..run import Data
from ..runs.folder import run_of
from ..runs.manifest import Kept
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
    found = _items(pairs, config.source)
    masks = None if pairs.reading is None else pairs.reading.model_dump(mode="json")
    return record(pairs, Listing((), ()) if found is None else found[1], config, seed, masks)


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
    told = compared(known, now, known.manifest.classes, config.source, resumes=True, accept=accept)
    if not told and unchanged(known, now):
        return pairs
    train, val = (Subset(images, tuple(now.of(known.part(part)))) for part in PARTS)
    held(known, config.source, {"train": len(train), "val": len(val)}, resumes=True)
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
    mine = known is not None and (is_place_of(known, config.source) or (now is not None and moved(known, now)))
    part = part_for(split, parted=pairs.parted, known=mine, test=pairs.test is not None, where=config.source)
    notes = [*pairs.notes]
    if split == "auto" and part == "test" and pairs.test is not pairs.val:
        notes += of_test(pairs.name)
    if known is not None and not mine:
        notes += leaks(known, now, config.source)
    if part == "all":
        return Judged(pairs, _everything(pairs, found), part, tuple(notes))
    if part == "test" and pairs.test is not None:
        return Judged(pairs, pairs.test, part, tuple(notes))
    if known is None or not mine or found is None or not known.entries:
        return Judged(pairs, pairs.val if part == "val" else pairs.train, part, tuple(notes))
    notes += compared(known, found[1], known.manifest.classes, config.source, resumes=False, accept=accept)
    parts = {each: Subset(found[0], tuple(found[1].of(known.part(each)))) for each in PARTS}
    held(known, config.source, {each: len(images) for each, images in parts.items()}, resumes=False)
    return Judged(pairs, parts[part], part, tuple(notes))


def _items(pairs: Pairs, source: str) -> tuple[Masked, Listing] | None:
    """All pairs, those to learn from first, and their files; None where they are not in files."""
    if pairs.reading is None:
        return None
    sets = sets_of(pairs.train, pairs.val, pairs.test)
    items = [Item(part, "", (Path(images.file_of(i)), *images.mask_files(i)))
             for part, images in sets.items() for i in range(len(images))]
    return Joined(tuple(sets.values())), listing(items, source)


def _everything(pairs: Pairs, found: tuple[Masked, Listing] | None) -> Masked:
    if not pairs.parted and pairs.test is None:
        return pairs.val
    if found is not None:
        return Subset(found[0], tuple(found[1].once))
    sets = tuple(sets_of(pairs.train, pairs.val, pairs.test).values())
    return Joined(sets) if sets[1:] else sets[0]
