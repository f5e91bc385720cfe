"""Images with masks: what a network that segments is trained on, from folders or made from a seed.

    root/images/a.png  root/masks/a.png                 masks, labels or annotations; or below root/train and root/val
    root/<id>/images/<id>.png  root/<id>/masks/*.png    one file per instance, as in the Data Science Bowl 2018

A mask's pixels are class numbers, instances (0 is the background, every other number one object), or 0 and 255. Which
of them is found out from all training masks, and told; `data.masks` says it instead.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..data.image_folder import SUFFIXES
from ..data.images import UnreadableImage, read_image
from ..errors import ConvatlasError
from ..pixels import AS_IT_IS, Decoding
from ..run import Data
from .instances import components
from .synthetic import CELLS, cells

IMAGES, MASKS = ("images", "imgs"), ("masks", "labels", "annotations")
IGNORED = 255
Kind = Literal["classes", "instances", "binary"]
Numbers = NDArray[np.int64]


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


@dataclass(frozen=True)
class Files:
    """Pairs of files; `colours` maps the colours of masks to class numbers, where masks have colours."""

    name: str
    images: tuple[Path, ...]
    masks: tuple[tuple[Path, ...], ...]     # several: one file per instance
    kind: Kind
    colors: Mapping[tuple[int, ...], int] | None = None
    how: Decoding = AS_IT_IS

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Tensor:
        """uint8 (C, H, W)."""
        return read_image(self.images[index], self.how)

    def classes_of(self, index: int) -> Tensor:
        """Class numbers (H, W)."""
        numbers = self._numbers(index)
        return torch.from_numpy(numbers if self.kind == "classes" else (numbers > 0).astype(np.int64))

    def instances_of(self, index: int) -> Tensor:
        """Objects (H, W): as the mask numbers them, else the connected components of the foreground."""
        numbers = self._numbers(index)
        if self.kind != "instances":
            numbers = components((numbers > 0) & (numbers != IGNORED) if self.kind == "classes" else numbers > 0)
        return torch.from_numpy(numbers)

    def file_of(self, index: int) -> str:
        """The image's path."""
        return str(self.images[index])

    def _numbers(self, index: int) -> Numbers:
        """The mask as it lies on disk, of the image's size."""
        height, width = size_of(self.images[index])
        files, numbers = self.masks[index], np.zeros((height, width), np.int64)
        for place, path in enumerate(files, start=1):
            found = read_mask(path, self.colors)
            if found.shape != numbers.shape:
                raise UnreadableImage(f"the mask {str(path)!r} is {found.shape[0]}×{found.shape[1]} pixels, its image "
                                      f"{height}×{width}")
            if len(files) == 1:
                return found
            numbers[found > 0] = place
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


def decoded_as(pairs: Pairs, how: Decoding) -> Pairs:
    """The same pairs, whose images are decoded as `how` says; those in memory are already."""
    def one(part: Masked) -> Masked:
        if isinstance(part, Subset):
            return replace(part, base=one(part.base))
        return replace(part, how=how) if isinstance(part, Files) else part

    return replace(pairs, train=one(pairs.train), val=one(pairs.val), test=pairs.test and one(pairs.test))


@dataclass(frozen=True)
class Made:
    """The synthetic cells, drawn once."""

    count: int
    seed: int
    name: str = CELLS

    @cached_property
    def _drawn(self) -> list[tuple[Tensor, Tensor]]:
        return cells(self.count, self.seed)

    def __len__(self) -> int:
        return self.count

    def image(self, index: int) -> Tensor:
        """uint8 (1, H, W)."""
        return self._drawn[index][0]

    def classes_of(self, index: int) -> Tensor:
        """0 and 1 (H, W)."""
        return (self._drawn[index][1] > 0).long()

    def instances_of(self, index: int) -> Tensor:
        """Objects (H, W)."""
        return self._drawn[index][1]

    def file_of(self, index: int) -> str:
        """A name."""
        return f"{CELLS}/{index:03d}"


def open_pairs(config: Data, *, seed: int = 0) -> Pairs:
    """The images and masks that `config.source` names: `cells`, or a folder.

    A folder without parts of its own is split by the order of its file names: every k-th pair, k = 1 / `val_fraction`,
    is held out, so that the split is the same for every seed. Raises ConvatlasError for masks that are missing, and for
    a folder of another layout.
    """
    if config.source == CELLS:
        return Pairs(CELLS, ("background", "cell"), Made(40, seed=1), Made(10, seed=2))
    root = Path(config.source).expanduser()
    if not root.is_dir():
        raise ConvatlasError(f"data {config.source!r} is no folder of images and masks; `{CELLS}` comes along")
    parts = [part for name in ("train", "val", "valid", "validation", "test")
             if (part := root / name).is_dir() and _files(part)]
    found = [_files(part) for part in parts[:2]] if len(parts) > 1 else [_files(root)]
    if not found[0]:
        raise ConvatlasError(f"{config.source!r} holds no pairs of images and masks: it needs the folders images/ and "
                             "masks/ (or labels/) with files of the same names")
    kind, names, colors, notes = _meaning([masks for _, masks in found[0]], config.masks)
    sets = [Files(root.resolve().name, tuple(image for image, _ in pairs), tuple(masks for _, masks in pairs), kind,
                  colors) for pairs in found]
    if len(sets) == 2:
        if kind == "classes":
            _refuse_unknown([masks for _, masks in found[1]], colors, len(names))
        return Pairs(sets[0].name, names, sets[0], sets[1], notes)
    every = max(round(1 / config.val_fraction), 2)
    held = tuple(range(every - 1, len(sets[0]), every))
    if not held:
        raise ConvatlasError(f"{config.source!r} has {len(sets[0])} pairs, of which none can be held out: give more, "
                             "or a folder val/")
    kept = tuple(index for index in range(len(sets[0])) if index not in set(held))
    told = f"Of the {len(sets[0])} pairs every {every}th is held out, in the order of their names."
    return Pairs(sets[0].name, names, Subset(sets[0], kept), Subset(sets[0], held), (*notes, told))


def _files(root: Path) -> list[tuple[Path, tuple[Path, ...]]]:
    """Pairs of an image and its masks, by name."""
    images = next((root / name for name in IMAGES if (root / name).is_dir()), None)
    masks = next((root / name for name in MASKS if (root / name).is_dir()), None)
    if images is not None and masks is not None:
        by_stem = {path.stem: path for path in _pictures(masks)}
        pictures = _pictures(images)
        missing = [path.name for path in pictures if _mask_stem(path.stem, by_stem) is None]
        if missing:
            more = f" and {len(missing) - 1} more" if missing[1:] else ""
            raise ConvatlasError(f"{str(images / missing[0])!r}{more} has no mask in {str(masks)!r}: it needs a file "
                                 "of the same name")
        return [(path, (by_stem[stem],)) for path in pictures if (stem := _mask_stem(path.stem, by_stem)) is not None]
    folders = sorted(path for path in root.iterdir() if (path / "images").is_dir() and (path / "masks").is_dir())
    return [(image, tuple(_pictures(folder / "masks"))) for folder in folders
            for image in _pictures(folder / "images")[:1]]


def _mask_stem(stem: str, known: Mapping[str, Path]) -> str | None:
    return next((name for name in (stem, f"{stem}_mask", f"{stem}_label") if name in known), None)


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir()
                  if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


def _meaning(masks: Sequence[tuple[Path, ...]],
             asked: str) -> tuple[Kind, tuple[str, ...], dict[tuple[int, ...], int] | None, tuple[str, ...]]:
    """(what the numbers are, names of the classes, colours, a sentence) of training masks."""
    if any(len(files) != 1 for files in masks):
        return "instances", ("background", "object"), None, ("Masks are one file per object.",)
    colors = _colors([files[0] for files in masks])
    values, largest = set[int](), list[int]()
    for (path,) in masks:
        here = np.unique(read_mask(path, colors)).tolist()
        values |= set(here)
        largest.append(max(here))
    numbered = colors is None and (max(largest) > 255 or (len(set(largest)) > 1 and _consecutive(masks)))
    kind: Kind = "binary" if values <= {0, 255} or values <= {0, 1} else "instances" if numbered else "classes"
    if asked != "auto":
        kind = asked    # type: ignore[assignment]
    if kind != "classes":
        what = "0 and the foreground" if kind == "binary" else "objects, each with a number of its own"
        return kind, ("background", "object"), colors, (f"Masks hold {what} (data.masks = {kind}).",)
    count = max(values - {IGNORED}, default=0) + 1
    if count > 256:
        raise ConvatlasError(f"masks hold class numbers up to {count - 1}: if they are objects, --set "
                             "data.masks=instances")
    names = ("background", *(f"class {number}" for number in range(1, count)))
    told = f"Masks hold {count} classes (data.masks = classes)" + (", and 255 where a pixel does not count."
                                                                   if IGNORED in values else ".")
    absent = sorted(set(range(count)) - values)
    some = (f"Of them {_listed(values - {IGNORED})} occur; if that is not what the masks mean, data.masks says "
            "what they are.")
    return kind, names, colors, (told, some) if absent else (told,)


def _refuse_unknown(masks: Sequence[tuple[Path, ...]], colors: Mapping[tuple[int, ...], int] | None,
                    count: int) -> None:
    """Class numbers that no training mask has would be judged without having been learned."""
    odd = {path: set(np.unique(read_mask(path, colors)).tolist()) - {*range(count), IGNORED} for (path,) in masks}
    if wrong := [path for path, values in odd.items() if values]:
        more, values = f" and {len(wrong) - 1} more" if wrong[1:] else "", _listed(set().union(*odd.values()))
        raise ConvatlasError(f"the mask {str(wrong[0])!r}{more} holds {values}, and those of the training part 0 to "
                             f"{count - 1}, or {IGNORED} where a pixel does not count")


def _listed(values: Collection[int]) -> str:
    """As words: 1, 4 and 9; of many the first ten."""
    words = [str(value) for value in sorted(values)]
    if len(words) > 10:
        return f"{', '.join(words[:10])} and {len(words) - 10} more values"
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def _consecutive(masks: Sequence[tuple[Path, ...]]) -> bool:
    """True if nearly every mask uses all numbers from 0 to its own largest, as numbered objects do."""
    some = [np.unique(read_mask(path)) for (path,) in masks[:50]]
    return sum(len(numbers) >= 0.9 * (int(numbers.max()) + 1) for numbers in some) >= 0.9 * len(some)


def _colors(masks: Sequence[Path]) -> dict[tuple[int, ...], int] | None:
    """Of masks in colour: which class each colour is, black first; None for masks of numbers."""
    with _opened(masks[0]) as first:
        if first.mode not in ("RGB", "RGBA"):
            return None
    found = set[tuple[int, ...]]()
    for path in masks:
        with _opened(path) as image:
            found |= {tuple(color)
                      for color in np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0).tolist()}
        if len(found) > 64:
            raise ConvatlasError(f"the mask {str(path)!r} has {len(found)} colours: masks are numbers, or few plain "
                                 "colours (as PNG; JPEG mixes them)")
    return {color: number for number, color in enumerate(sorted(found))}


def read_mask(path: Path, colors: Mapping[tuple[int, ...], int] | None = None) -> Numbers:
    """Numbers (H, W): of a palette its indices, of colours their classes. Raises UnreadableImage."""
    with _opened(path) as image:
        try:
            pixels: NDArray[Any] = np.asarray(image.convert("RGB") if colors is not None else image)
        except (OSError, ValueError, SyntaxError) as error:
            raise UnreadableImage(f"cannot read the mask {str(path)!r}: {' '.join(str(error).split())}") from error
    if colors is None:
        if pixels.ndim == 3:
            raise UnreadableImage(f"the mask {str(path)!r} is in colour, and others hold numbers")
        return pixels.astype(np.int64)
    numbers = np.full(pixels.shape[:2], -1, np.int64)
    for color, number in colors.items():
        numbers[(pixels == color).all(axis=2)] = number
    if (numbers < 0).any():
        odd = tuple(pixels[numbers < 0][0].tolist())
        raise UnreadableImage(f"the mask {str(path)!r} has the colour {odd}, which no training mask has")
    return numbers


def size_of(path: Path) -> tuple[int, int]:
    """(height, width), from the file's head."""
    with _opened(path) as image:
        return image.height, image.width


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (OSError, ValueError, SyntaxError) as error:
        raise UnreadableImage(f"cannot read {str(path)!r}: {' '.join(str(error).split())}") from error
