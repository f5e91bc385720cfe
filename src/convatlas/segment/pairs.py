"""Images with masks: what a network that segments is trained on, from folders or along with the package.

`layouts` says which files belong together, `guess` what a mask's pixels are, unless `data.masks` or a `Reading` that
was kept does; both are told.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import accumulate, chain
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from ..data.embedded import same_name
from ..data.images import UnreadableImage, read_image
from ..data.parts import Part
from ..errors import ConvatlasError
from ..pixels import AS_IT_IS, Decoding
from ..run import Data
from .guess import gathered, objects, understood
from .instances import components
from .layouts import KNOWN, WHOLE, Pair, left_out, listed
from .masks import Numbers, Seen, head, survey
from .names import named
from .nuclei import COUNTS, NUCLEI, nuclei
from .orientation import understood_orientation
from .reading import IGNORED, Reading, known, read_mask, strangers, words
from .synthetic import CELLS, cells

OF_OBJECTS = 50         # masks of one object each that are looked at


class Masked(Protocol):
    """Images with a class for every pixel, and perhaps an instance."""

    @property
    def name(self) -> str:
        """The set's name."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> Tensor:
        """uint8 (C, H, W)."""

    def classes_of(self, index: int) -> Tensor:
        """int64 (H, W): class numbers, 255 where a pixel does not count."""

    def instances_of(self, index: int) -> Tensor:
        """int64 (H, W): 0 in the background, one number per object."""

    def file_of(self, index: int) -> str:
        """The image's file."""

    def mask_files(self, index: int) -> tuple[Path, ...]:
        """The files of its mask; none where it lies in no file."""


@dataclass(frozen=True)
class Pairs:
    """Training and validation images, the names of the classes, and sentences about how they were read."""

    name: str
    classes: tuple[str, ...]
    train: Masked
    val: Masked
    notes: tuple[str, ...] = ()
    test: Masked | None = None          # the data's own test part; also `val` where there is no validation part
    parted: bool = False                # the parts are the data's own; otherwise `val` was held out of it
    layout: str = ""                    # how the data lies on disk, in some words
    reading: Reading | None = None      # what the masks' pixels were understood to be; None where there are no files

    def decoded_as(self, how: Decoding) -> "Pairs":
        """The same pairs, whose images are decoded as `how` says."""
        return replace(self, train=decoded_as(self.train, how), val=decoded_as(self.val, how))


@dataclass(frozen=True)
class Files:
    """Pairs of files, read as `reading` says."""

    name: str
    images: tuple[Path, ...]
    masks: tuple[tuple[Path, ...], ...]     # several: one file per object
    reading: Reading
    how: Decoding = AS_IT_IS

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Tensor:
        """uint8 (C, H, W)."""
        return read_image(self.images[index], self.how)

    def classes_of(self, index: int) -> Tensor:
        """Class numbers (H, W)."""
        numbers = self._numbers(index)
        if self.reading.kind == "instances" or len(self.masks[index]) != 1:
            numbers = np.where(numbers < 0, IGNORED, numbers > 0)
        return torch.from_numpy(numbers)

    def instances_of(self, index: int) -> Tensor:
        """Objects (H, W): as the mask numbers them, else the connected components of the foreground."""
        numbers = self._numbers(index)
        if self.reading.kind == "instances" or len(self.masks[index]) != 1:
            return torch.from_numpy(np.maximum(numbers, 0))
        return torch.from_numpy(components((numbers > 0) & (numbers != IGNORED)))

    def file_of(self, index: int) -> str:
        """The image's path."""
        return str(self.images[index])

    def mask_files(self, index: int) -> tuple[Path, ...]:
        """The mask's path; several, one per object."""
        return self.masks[index]

    def _numbers(self, index: int) -> Numbers:
        """The mask as `read_mask` gives it; of several, the place of the last that covers a pixel."""
        picture, files = head(self.images[index]), self.masks[index]
        if len(files) == 1:
            return read_mask(files[0], self.reading, picture)
        numbers = np.zeros(picture[:2], np.int64)
        for place, path in enumerate(files, start=1):
            numbers[read_mask(path, self.reading, picture) > 0] = place
        return numbers


@dataclass(frozen=True)
class Subset:
    """Some of a set's pairs."""

    base: Masked
    indices: tuple[int, ...]

    @property
    def name(self) -> str:
        """As the whole set."""
        return self.base.name

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> Tensor:
        """uint8 (C, H, W)."""
        return self.base.image(self.indices[index])

    def classes_of(self, index: int) -> Tensor:
        """Class numbers (H, W)."""
        return self.base.classes_of(self.indices[index])

    def instances_of(self, index: int) -> Tensor:
        """Objects (H, W)."""
        return self.base.instances_of(self.indices[index])

    def file_of(self, index: int) -> str:
        """The image's path."""
        return self.base.file_of(self.indices[index])

    def mask_files(self, index: int) -> tuple[Path, ...]:
        """The mask's path; several, one per object."""
        return self.base.mask_files(self.indices[index])


@dataclass(frozen=True)
class Joined:
    """Several sets of pairs as one, one after the other."""

    sets: tuple[Masked, ...]

    @property
    def name(self) -> str:
        """As the first."""
        return self.sets[0].name

    def __len__(self) -> int:
        return sum(map(len, self.sets))

    def image(self, index: int) -> Tensor:
        """uint8 (C, H, W)."""
        images, place = self._at(index)
        return images.image(place)

    def classes_of(self, index: int) -> Tensor:
        """Class numbers (H, W)."""
        images, place = self._at(index)
        return images.classes_of(place)

    def instances_of(self, index: int) -> Tensor:
        """Objects (H, W)."""
        images, place = self._at(index)
        return images.instances_of(place)

    def file_of(self, index: int) -> str:
        """The image's path."""
        images, place = self._at(index)
        return images.file_of(place)

    def mask_files(self, index: int) -> tuple[Path, ...]:
        """Its masks."""
        images, place = self._at(index)
        return images.mask_files(place)

    def _at(self, index: int) -> tuple[Masked, int]:
        ends = list(accumulate(map(len, self.sets)))
        number = bisect_right(ends, index)
        return self.sets[number], index - ends[number] + len(self.sets[number])


class Pictures:
    """The images of pairs as a set of pictures without labels (-1)."""

    def __init__(self, masked: Masked) -> None:
        self.masked, self.labels = masked, torch.full((len(masked),), -1)

    def __len__(self) -> int:
        return len(self.masked)

    def read(self, index: int) -> Tensor:
        """uint8 (C, H, W); raises UnreadableImage."""
        return self.masked.image(index)

    def name(self, index: int) -> str:
        """The image's file."""
        return self.masked.file_of(index)


def decoded_as(images: Masked, how: Decoding) -> Masked:
    """The same images, decoded as `how` says; those in memory are already."""
    if isinstance(images, Subset):
        return replace(images, base=decoded_as(images.base, how))
    if isinstance(images, Joined):
        return Joined(tuple(decoded_as(each, how) for each in images.sets))
    return replace(images, how=how) if isinstance(images, Files) else images


@dataclass(frozen=True)
class Made:
    """Pairs that come along, drawn or read once."""

    name: str
    count: int
    make: Callable[[], list[tuple[Tensor, Tensor]]]     # image uint8 (C, H, W), objects (H, W)

    @cached_property
    def _made(self) -> list[tuple[Tensor, Tensor]]:
        return self.make()

    def __len__(self) -> int:
        return self.count

    def image(self, index: int) -> Tensor:
        """uint8 (C, H, W)."""
        return self._made[index][0]

    def classes_of(self, index: int) -> Tensor:
        """0 and 1 (H, W)."""
        return (self._made[index][1] > 0).long()

    def instances_of(self, index: int) -> Tensor:
        """Objects (H, W)."""
        return self._made[index][1]

    def file_of(self, index: int) -> str:
        """A name."""
        return f"{self.name}/{index:03d}"

    def mask_files(self, index: int) -> tuple[Path, ...]:
        """There are none."""
        return ()


_TEST = Made(NUCLEI, COUNTS["test"], partial(nuclei, "test"))
ALONG = {
    CELLS: Pairs(CELLS, ("background", "cell"), Made(CELLS, 40, partial(cells, 40, 1)),
                 Made(CELLS, 10, partial(cells, 10, 2)), parted=True, layout="cells that are drawn"),
    NUCLEI: Pairs(NUCLEI, ("background", "nucleus"), Made(NUCLEI, COUNTS["train"], partial(nuclei, "train")), _TEST,
                  test=_TEST, parted=True, layout="nuclei that come along"),
}


def open_pairs(config: Data, *, seed: int = 0, reading: Reading | None = None, for_eval: bool = False) -> Pairs:
    """The images and masks that `config.source` names: those of `ALONG`, or a folder.

    A folder without parts of its own is split by the order of its file names: every k-th pair, k = 1 / `val_fraction`,
    is held out, so that the split is the same for every seed; with `for_eval` nothing is, `train` and `val` are all of
    it. With `for_eval` a folder may also lack a training part: then `train` is what `val` is. Masks are read as
    `reading` says, or as all masks of the training part let guess. Raises ConvatlasError for masks that are missing or
    that hold what is not known, for a guess that is not plausible, and for a folder of another layout.
    """
    if config.source in ALONG:
        return replace(ALONG[config.source], notes=same_name(config.source))
    root = Path(config.source).expanduser()
    if not root.is_dir():
        raise ConvatlasError(f"data {config.source!r} is no folder of images and masks; {' and '.join(ALONG)} come "
                             "along")
    try:
        found = listed(root)
    except OSError as error:
        raise ConvatlasError(f"cannot read the folder {config.source!r}: {error}") from error
    parts = {part: each.pairs for part, each in found.items() if each.pairs}
    if not parts:
        raise ConvatlasError(f"{config.source!r} holds no pairs of images and masks; known are {KNOWN}")
    own: Part | Literal["all"] = WHOLE if WHOLE in parts else "train"
    if own not in parts and not for_eval:
        raise ConvatlasError(f"{config.source!r} has the parts {' and '.join(parts)}, and none to train on: name its "
                             "folder train/, or give one without parts")
    seen, broken = dict[Path, Seen](), dict[Path, UnreadableImage]()
    learned = own if own in parts else next(iter(parts))
    others = [part for part in parts if part != learned]
    if reading is None:
        _survey(parts[learned], seen, broken, config.strict)
        reading, notes = _guessed(parts[learned], seen, broken, config, for_eval)
        reading, called = named(reading, root)
        notes = (*notes, *called)
        where = "of the training part"
    else:
        notes, others, where = (_as_in_training(reading),), list(parts), "of its training"
    if reading.kind != "instances":     # of which every value is known
        for part in others:
            _survey(parts[part], seen, broken, config.strict)
            _refuse_unknown(parts[part], seen, reading, where)
    lies, told = understood_orientation(config.mask_orientation, reading, [*chain(*parts.values())], seen)
    reading = reading.model_copy(update={"orientation": lies})
    name = root.resolve().name
    sets: dict[Part | Literal["all"], Masked] = {
        part: Files(name, tuple(image for image, _ in pairs), tuple(masks for _, masks in pairs), reading)
        for part, pairs in parts.items()}
    layout = "; ".join(each.layout for each in found.values() if each.pairs)
    notes = (*notes, *told, f"Layout: {layout}.", *_unreadable(broken), *left_out(found.values()))
    judged = sets.get("val") or sets.get("test")
    if judged is not None:
        train = sets.get(own, judged)
        return Pairs(name, reading.classes, train, judged, notes, sets.get("test"), own in sets, layout, reading)
    whole = sets[learned]
    if for_eval:
        return Pairs(name, reading.classes, whole, whole, notes, layout=layout, reading=reading)
    every = max(round(1 / config.val_fraction), 2)
    held = tuple(range(every - 1, len(whole), every))
    if not held:
        raise ConvatlasError(f"{config.source!r} has {len(whole)} pairs, of which none can be held out: give more, "
                             "or a folder val/")
    kept = tuple(index for index in range(len(whole)) if index not in set(held))
    split = f"Of the {len(whole)} pairs every {every}th is held out, in the order of their names."
    folders = [{Path(whole.file_of(index)).parent for index in part} for part in (kept, held)]
    if len(folders[0]) > 1 and folders[0] & folders[1]:
        split += " Of some folders images are on both sides: parts train/ and val/ keep those of a patient together."
    return Pairs(name, reading.classes, Subset(whole, kept), Subset(whole, held), (*notes, split), layout=layout,
                 reading=reading)


def _survey(pairs: Sequence[Pair], seen: dict[Path, Seen], broken: dict[Path, UnreadableImage], strict: bool) -> None:
    """Add the values of the masks that are one file to `seen`, and to `broken` why others cannot be read; with `strict`
    raise UnreadableImage.
    """
    for path in (masks[0] for _, masks in pairs if len(masks) == 1):
        try:
            seen[path] = survey(path)
        except UnreadableImage as error:
            if strict:
                raise
            broken[path] = error


def _as_in_training(reading: Reading) -> str:
    values = "" if reading.kind == "instances" else f": {known(reading)}"
    return f"Masks are read as in training (data.masks = {reading.kind}){values}."


def _guessed(pairs: Sequence[Pair], seen: Mapping[Path, Seen], broken: Mapping[Path, UnreadableImage], config: Data,
             for_eval: bool) -> tuple[Reading, tuple[str, ...]]:
    if any(len(masks) != 1 for _, masks in pairs):
        if config.masks == "classes":
            raise ConvatlasError(f"data.masks = classes is refused for {config.source!r}: its masks are one file per "
                                 "object, all of one class")
        return objects([mask for _, masks in pairs for mask in masks][:OF_OBJECTS])
    readable = [seen[mask] for _, (mask,) in pairs if mask in seen]
    if not readable:
        why = next((f": {error}" for error in broken.values()), "")
        raise ConvatlasError(f"none of the {len(pairs)} masks in {config.source!r} can be read{why}")
    return understood(gathered(readable), config.masks, config.source, for_eval=for_eval)


def _refuse_unknown(pairs: Sequence[Pair], seen: Mapping[Path, Seen], reading: Reading, where: str) -> None:
    """Refuse values that no training mask has: they would be judged without having been learned."""
    if reading.kind == "classes" and any(len(masks) > 1 for _, masks in pairs):
        raise ConvatlasError(f"{str(pairs[0][0].parent)!r} has masks of one file per object, and those "
                             f"{where} hold classes")
    files = [seen[masks[0]] for _, masks in pairs if len(masks) == 1 and masks[0] in seen]
    odd = {each.path: values for each in files if (values := strangers(each, reading))}
    if odd:
        wrong, more = next(iter(odd)), f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        held = words(set[int]().union(*odd.values()), reading.of)
        raise ConvatlasError(f"the mask {str(wrong)!r}{more} holds {held}, and those {where} {known(reading)}")


def _unreadable(broken: Mapping[Path, UnreadableImage]) -> tuple[str, ...]:
    if not broken:
        return ()
    reason = next(iter(broken.values()))
    return (f"{len(broken)} masks cannot be read, and are skipped, such as: {reason}." if len(broken) > 1
            else f"One mask is skipped: {reason}.",)
