"""Files made of an image's labels once they are all there: the picture of them, the overlay, the areas."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..files import whole_write
from .instances import instances, measured
from .output import ELSEWHERE, opened
from .picture import Picture, kind

LARGEST = 2048          # pixels along the longer side of an overlay; larger images are thinned out
VISIBLE = 0.45          # how strong a class's colour is over the image
AT_ONCE = 2**22         # pixels that are looked at together
COLORS = ((230, 75, 53), (0, 160, 135), (60, 84, 136), (243, 155, 127), (145, 209, 194), (126, 97, 72),
          (132, 145, 180), (220, 180, 0))

Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Finished:
    """An image that `segment` has finished: its files, and pixels per class; `error` says why there is nothing."""

    image: str
    labels: Path | None = None
    pixels: tuple[int, ...] = ()
    probabilities: Path | None = None
    overlay: Path | None = None
    instances: Path | None = None
    count: int | None = None            # instances
    error: str | None = None
    notes: tuple[str, ...] = ()         # keys of pixels.NOTES: what of the image is not shown as it is stored


def as_picture(labels: Path, final: Path) -> None:
    """An .npy of labels as PNG or TIFF, whose place it takes; nothing where that has been done."""
    if labels == final or not labels.is_file():
        return
    with whole_write(final, ELSEWHERE) as beside:
        Image.fromarray(np.load(labels)).save(beside, format="TIFF" if final.suffix == ".tif" else "PNG")
    labels.unlink()


def read_labels(path: Path) -> Any:
    """The labels (H, W) in one of `segment`'s files: an array in memory, a mapped file, or Zarr's."""
    if kind(path) != "picture":
        return opened(path)
    with Image.open(path) as image:
        return np.asarray(image)


def areas(labels: Any, classes: int) -> tuple[int, ...]:
    """Pixels of each class in labels (H, W), a few rows at a time."""
    total = np.zeros(classes, dtype=np.int64)
    for rows in _strips(labels.shape):
        total += np.bincount(np.asarray(labels[rows]).reshape(-1), minlength=classes)
    return tuple(total.tolist())


def write_overlay(image: Picture, labels: Any, path: Path) -> None:
    """The image with every class but 0 in a colour of its own, at most 2048 pixels long, as PNG."""
    thin = -(-max(labels.shape) // LARGEST)
    strips = [_tinted(image, labels, rows, thin) for rows in _strips(labels.shape, thin)]
    with whole_write(path, ELSEWHERE) as beside:
        Image.fromarray(np.concatenate(strips)).save(beside, format="PNG")


def write_areas(path: Path, found: Sequence[Finished], names: Sequence[str]) -> None:
    """`areas.csv`: one line per image and class, with its pixels and their share; and the image's instances, where
    counted.
    """
    with (whole_write(path, ELSEWHERE) as beside,
          beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file):
        table = csv.writer(file)
        table.writerow(("image", "class", "pixels", "share", "instances"))
        for each in found:
            for name, pixels in zip(names, each.pixels, strict=False):
                table.writerow((each.image, name, pixels, round(pixels / sum(each.pixels), 6),
                                "" if each.count is None else each.count))


def write_instances(labels: Labels, how: Literal["components", "watershed"], names: Sequence[str], path: Path) -> None:
    """Objects of every class but 0, numbered through: a TIFF (H, W) of int32, and a table of their places and areas
    beside it.
    """
    objects, rows = np.zeros(labels.shape, np.int32), list[tuple[object, ...]]()
    for label in np.unique(labels[labels > 0]).tolist():
        found = instances((labels == label).astype(np.float32), how)
        rows += [(len(rows) + i, names[label], each["area"], round(each["row"], 2), round(each["column"], 2))
                 for i, each in enumerate(measured(found), start=1)]
        objects += np.where(found > 0, found + objects.max(), 0).astype(np.int32)
    with (whole_write(path.with_suffix(".csv"), ELSEWHERE) as beside,
          beside.open("w", newline="", encoding="utf-8") as file):
        csv.writer(file).writerows([("object", "class", "area", "row", "column"), *rows])
    with whole_write(path, ELSEWHERE) as beside:
        Image.fromarray(objects).save(beside, format="TIFF")


def counted(path: Path) -> int:
    """Objects in the table beside a file of them."""
    return len(path.with_suffix(".csv").read_text(encoding="utf-8").splitlines()) - 1


def _tinted(image: Picture, labels: Any, rows: slice, thin: int) -> NDArray[np.uint8]:
    """Some rows of the overlay, (h, w, 3)."""
    pixels = image.read(rows.start, 0, rows.stop - rows.start, labels.shape[1])[:, ::thin, ::thin]
    shown = pixels[:3] if image.channels >= 3 else pixels[:1].expand(3, -1, -1)
    if shown.is_floating_point():
        shown = shown.float() * 255
    tint = torch.tensor([(0, 0, 0), *COLORS])
    classes = torch.from_numpy(np.asarray(labels[rows])[::thin, ::thin].astype(np.int64))
    strength = VISIBLE * (classes > 0)
    index = torch.where(classes > 0, (classes - 1) % len(COLORS) + 1, 0)
    mixed = shown.float() * (1 - strength) + tint[index].movedim(2, 0) * strength
    return mixed.round().clamp(0, 255).to(torch.uint8).movedim(0, 2).numpy()


def _strips(shape: tuple[int, ...], step: int = 1) -> Iterator[slice]:
    """Rows in parts of about `AT_ONCE` pixels that begin at multiples of `step`."""
    high = max(AT_ONCE // shape[1] // step, 1) * step
    for top in range(0, shape[0], high):
        yield slice(top, min(top + high, shape[0]))

