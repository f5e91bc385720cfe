"""The sets of pictures that a check goes through, whatever kind of data they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...data import Files, ImageSet, Subset, open_data
from ...data.manifest import resumed
from ...data.shards.stream import is_stream
from ...errors import ConvatlasError
from ...evaluation.judging import is_place_of, known_at
from ...run import Data
from ...runs.folder import CONFIG, run_of
from ...runs.manifest import Kept, run_folder
from ...segment.manifest import resumed as resumed_pairs
from ...segment.pairs import ALONG, Masked, Pairs, Pictures, open_pairs

WHOLE = "all"       # the part of data that has none of its own
LEARNED = "training images of the run"


@dataclass(frozen=True)
class Part:
    """One part of the data. Pictures of the run's own data, which are there to be found again, are not `judged`."""

    name: str
    images: ImageSet
    judged: bool = True


@dataclass(frozen=True)
class Opened:
    """Data and what was understood of it."""

    name: str
    layout: str
    classes: tuple[str, ...]
    parts: tuple[Part, ...]
    notes: tuple[str, ...]
    kind: str = "classes"           # or `labels`, several of them per picture, or `masks`
    masked: tuple[Masked, ...] = field(default=())      # of images with masks, beside `parts`


def open_all(config: Data, seed: int, run: Path | None) -> Opened:
    """The data as training would open it; of a folder, images with masks where it holds pairs, else images by class.

    With a `run` folder that was trained on this data the parts are those of the run, and with one that was trained on
    other data its training images are one part more. Raises ConvatlasError where training would.
    """
    if is_stream(config.source):
        raise ConvatlasError(f"{config.source} is read as a stream, one image after the other: check the folder that "
                             "it was written from")
    folder = None if run is None else run_folder(run)
    own = None if folder is None or not (folder / CONFIG).is_file() else run_of(folder)
    known = None if folder is None else known_at(folder)
    if known is None or own is None:
        return _open(config, seed, None)
    if is_place_of(known, config.source):
        mine = {"source": config.source, "data_dir": config.data_dir or own.data.data_dir}
        return _open(own.data.model_copy(update=mine), own.split_seed, known)
    found = _open(config, seed, None)
    try:
        theirs = _open(own.data, own.split_seed, known)
    except ConvatlasError as error:
        note = f"The images that {run} was trained on are not looked for here: {error}."
        return replace(found, notes=(*found.notes, note))
    learned = replace(theirs.parts[0], name=LEARNED, judged=False)
    return replace(found, parts=(*found.parts, learned))


def path_of(images: ImageSet, index: int) -> Path | None:
    """The file of a picture; None where it lies in an archive or in memory."""
    if isinstance(images, Subset):
        return path_of(images.base, int(images.indices[index]))
    if isinstance(images, Pictures):
        path = Path(images.name(index))
        return path if path.is_file() else None
    return images.paths[index] if isinstance(images, Files) else None


def reads_in_threads(images: ImageSet) -> bool:
    """True where several threads may read at once."""
    return reads_in_threads(images.base) if isinstance(images, Subset) else isinstance(images, Files | Pictures)


def _open(config: Data, seed: int, known: Kept | None) -> Opened:
    """`known` is the manifest of a run on this data, which says what it holds out and how it reads masks."""
    pairs, no_pairs = None, None
    if config.source in ALONG or Path(config.source).expanduser().is_dir():
        try:
            pairs = open_pairs(config, seed=seed) if known is None else resumed_pairs(config, known, accept=True)
        except ConvatlasError as error:
            no_pairs = error
    if pairs is not None:
        return _of_pairs(pairs, known is not None)
    try:
        source = open_data(config, seed=seed)
    except ConvatlasError as error:
        if no_pairs is None:
            raise
        raise ConvatlasError(f"as images by class: {error}; as images with masks: {no_pairs}") from error
    if known is not None and known.manifest.parts:
        source, told = resumed(source, known, config, accept=True)
        source = replace(source, notes=(*source.notes, *told))
    kind = "labels" if source.multi_label else "classes"
    sets: list[tuple[str, ImageSet]] = [("train", source.train), ("val", source.val)]
    if source.test is not None and source.test is not source.val:
        sets.append(("test", source.test))
    elif source.test is not None:
        sets[1] = "test", source.val
    apart = known is not None or source.parted
    notes = source.notes if apart else ("The data has no parts of its own: all its images are looked at as one.",
                                        *source.notes)
    return Opened(source.name, source.layout, source.classes, _parts(sets, apart), notes,
                  kind)


def _of_pairs(pairs: Pairs, known: bool) -> Opened:
    sets = [("train", pairs.train), ("val", pairs.val)]
    if pairs.test is not None and pairs.test is not pairs.val:
        sets.append(("test", pairs.test))
    return Opened(pairs.name, pairs.layout, pairs.classes,
                  _parts([(name, Pictures(masked)) for name, masked in sets], pairs.parted or known), pairs.notes,
                  "masks", tuple(masked for _, masked in sets))


def _parts(sets: Sequence[tuple[str, ImageSet]], apart: bool) -> tuple[Part, ...]:
    return tuple(Part(name if apart else WHOLE, images) for name, images in sets)
