"""Pictures in a NumPy archive: `x_train, y_train[, x_test, y_test]`, `x, y` and the like."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import bounded
from ..errors import ConvatlasError, nearest
from .images import ImageSet, Source, Tensors
from .parts import Part
from .split import Split

Array = NDArray[np.generic]

LABELS = 1_000_000      # fewer classes than this in any set: a larger number is no class

NAMES: dict[Part, tuple[tuple[str, str], ...]] = {      # of pictures and their labels, the first pair that is there
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("x", "y"), ("images", "labels"),
              ("data", "target")),
    "val": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}


class Labels(NamedTuple):
    """The labels of every part, the names of their classes, and how they were read."""

    parts: dict[Part, Tensor]       # int64 (N,), or float32 (N, K) of 0 and 1
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_npz(path: Path, split: Split, classes: tuple[str, ...] = ()) -> Source:
    """Open an `.npz`; `classes` names the labels where they are known beforehand, else its own array `classes` may.

    Pictures are (N, H, W), (N, H, W, C) or (N, C, H, W), C being 1, 3 or 4, as `scaled` reads them; labels are class
    numbers from 0 or 1, names of classes, or 0 and 1 in (N, K).
    """
    arrays = _load(path)
    pairs = {part: pair for part in NAMES if (pair := _pair(arrays, part, path)) is not None}
    if not pairs or ("train" not in pairs and not split.for_eval):
        known = ", ".join(f"{x} and {y}" for x, y in NAMES["train"])
        raise ConvatlasError(f"{str(path)!r} holds {_listed(arrays)}; it needs two arrays named {known}")
    names = {part: f"{str(path)!r}: {x!r}" for part, (x, _) in pairs.items()}
    laid = {part: channels_first(arrays[x], names[part]) for part, (x, _) in pairs.items()}
    for part, (x, y) in pairs.items():
        if len(arrays[x]) != len(arrays[y]):
            raise ConvatlasError(f"{names[part]} has {len(arrays[x])} pictures, but {y!r} has {len(arrays[y])} labels")
    found = _labels({part: arrays[y] for part, (_, y) in pairs.items()}, classes or _class_names(arrays, path), path,
                    first=0 if classes else 1)
    multi_label = all(labels.dim() == 2 for labels in found.parts.values())
    if not split.for_eval:
        _check_classes(found.parts["train"], found.classes, path)
    pixels, notes = scaled(list(laid.values()), str(path))
    sets: dict[Part, ImageSet] = {
        part: Tensors(torch.from_numpy(images), found.parts[part], f"{path.stem}:{pairs[part][0]}")
        for part, images in zip(laid, pixels, strict=True)}
    return split.source(path.stem, str(path), found.classes, sets, (*notes, *found.notes), multi_label=multi_label,
                        layout=f"arrays {', '.join(x for x, _ in pairs.values())}")


def _check_classes(train: Tensor, names: Sequence[str], path: Path) -> None:
    if len(names) < 2:
        raise ConvatlasError(f"{str(path)!r} has one class only; a classifier needs at least two")
    counts = train.sum(0) if train.dim() == 2 else torch.bincount(train, minlength=len(names))
    if (counts == 0).any():
        empty, used = names[int(counts.argmin())], int((counts > 0).sum())
        raise ConvatlasError(f"{str(path)!r} has no training picture of class {empty!r}: {used} of {len(names)} "
                             "classes have some; labels are 0..K-1 or 1..K, and each needs pictures")


def _load(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                raise ConvatlasError(f"{str(path)!r} is one bare array; save with np.savez(file, x=pictures, y=labels)")
        return bounded.arrays(path, bounded.SPARSE)
    except FileNotFoundError as error:
        raise ConvatlasError(f"there is no file {str(path)!r}") from error
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConvatlasError(f"{str(path)!r} cannot be read as an .npz archive: {reason}") from error


def _pair(arrays: Mapping[str, Array], part: Part, path: Path) -> tuple[str, str] | None:
    """The first pair of names of a part that is there."""
    for x, y in NAMES[part]:
        if x in arrays and y in arrays:
            return x, y
        if x in arrays:
            raise ConvatlasError(f"{str(path)!r}: {x!r} has no labels {y!r} beside it; the archive holds "
                                 f"{_listed(arrays)}")
    return None


def channels_first(values: Array, where: str) -> Array:
    """Pictures in any of the layouts above as (N, C, H, W); `where` begins the sentence of an error."""
    if values.ndim == 3:
        values = values[:, None]
    elif values.ndim == 4:
        first, last = values.shape[1] in (1, 3, 4), values.shape[3] in (1, 3, 4)
        if first == last:
            why = "both the second and the last size could be" if first else "neither the second nor the last size is"
            raise ConvatlasError(f"{where} has the shape {values.shape}: {why} the channels (1, 3 or 4)")
        values = values.transpose(0, 3, 1, 2) if last else values
    else:
        raise ConvatlasError(f"{where} has the shape {values.shape}, not (N, H, W), (N, H, W, C) or (N, C, H, W)")
    if not values.size:
        raise ConvatlasError(f"{where} has the shape {values.shape}: there are no pictures in it")
    return values


def scaled(arrays: Sequence[Array], where: str) -> tuple[list[NDArray[np.uint8]], tuple[str, ...]]:
    """The pictures of all parts as uint8, and sentences about how they were read unless they are uint8 or in 0..1.

    All that are not uint8 are read by one scale. Whole numbers in 0..255 are taken as they are, also as floats;
    booleans, and integers that are all 0 or 1, become 0 and 255; uint16 beyond 255 is divided by 257, as 16-bit files
    are. Anything else is a ConvatlasError.
    """
    others = [values for values in arrays if values.dtype != np.uint8]
    factor, notes = _scale(others, where) if others else (1.0, _dark(arrays, where))
    return [np.array(values, dtype=np.uint8, order="C") if values.dtype == np.uint8
            else np.rint(values.astype(np.float32, order="C") * np.float32(factor)).astype(np.uint8)
            for values in arrays], notes


def _scale(arrays: Sequence[Array], where: str) -> tuple[float, tuple[str, ...]]:
    """The factor that makes 255 of white, and what to tell of it."""
    kinds = sorted({values.dtype.name for values in arrays})
    if any(values.dtype.kind not in "buif" for values in arrays):
        raise ConvatlasError(f"{where} holds pictures as {', '.join(kinds)}; they are integers in 0..255 or floats in "
                             "0..1")
    # NaN, where there is one, comes through both
    low, high = (float(reach([reach(values) for values in arrays])) for reach in (np.min, np.max))
    floats = [values for values in arrays if values.dtype.kind == "f"]
    said = f"The pictures of {where} are {', '.join(kinds)} in {low:g}..{high:g}"
    if low >= 0 and high <= 1:
        return 255.0, () if floats else (f"{said}: 1 is taken for white.",)
    if low >= 0 and high <= 255 and all((values == np.rint(values)).all() for values in floats):
        return 1.0, (f"{said}: they are taken as they are, with 255 for white.",)
    if kinds == ["uint16"]:
        return 1 / 257, (f"{said}: 65535 is taken for white, so that the brightest is {round(high / 257)} of 255.",)
    found = "NaN" if low != low else f"values in {low:g}..{high:g}"
    raise ConvatlasError(f"{where} holds pictures as {', '.join(kinds)} with {found}; they must be whole numbers in "
                         "0..255, floats in 0..1, or uint16")


def _dark(arrays: Sequence[Array], where: str) -> tuple[str, ...]:
    if any(float(np.max(values)) > 1 for values in arrays):
        return ()
    return (f"The pictures of {where} hold 0 and 1 only, of 255: they are nearly black. If 1 is white, save them as "
            "booleans.",)


def _labels(found: Mapping[Part, Array], names: tuple[str, ...], path: Path, first: int) -> Labels:
    """The labels of all parts, which are of one kind; `names` are their classes', where these are known, and numbers
    may count from 0 to `first`.
    """
    parts = {part: values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
             for part, values in found.items()}
    if len({values.shape[1:] for values in parts.values()}) > 1:
        shapes = " and ".join(str(values.shape) for values in parts.values())
        raise ConvatlasError(f"{str(path)!r} has labels of the shapes {shapes}; those of all parts must be of one kind")
    if all(values.ndim == 2 and values.dtype.kind in "biuf" and np.isin(values, (0, 1)).all()
           for values in parts.values()):
        return _columns(parts, names, path)
    if any(values.ndim != 1 for values in parts.values()):
        odd = next(iter(parts.values()))
        raise ConvatlasError(f"the labels of {str(path)!r} are {odd.dtype} {odd.shape}; labels are integers of shape "
                             "(N,), or 0 and 1 of shape (N, K) for several labels per picture")
    if all(values.dtype.kind in "US" for values in parts.values()):
        return _named(parts, names, path)
    return _numbered(parts, names, path, first)


def _columns(parts: Mapping[Part, Array], names: tuple[str, ...], path: Path) -> Labels:
    """0 and 1 in (N, K): several labels, or, where every row has exactly one 1, one class."""
    count = next(iter(parts.values())).shape[1]
    if names and count != len(names):
        raise ConvatlasError(f"{str(path)!r} has {count} columns of labels, but {len(names)} classes")
    names = names or tuple(map(str, range(count)))
    tensors = {part: torch.from_numpy(values.astype(np.float32)) for part, values in parts.items()}
    if any((labels.sum(1) != 1).any() for labels in tensors.values()):
        return Labels(tensors, names)
    return Labels({part: labels.argmax(1) for part, labels in tensors.items()}, names,
                  (f"In {path} every picture has exactly one of {count} labels: they are read as one class each.",))


def _named(parts: Mapping[Part, Array], names: tuple[str, ...], path: Path) -> Labels:
    """Names of classes, as text."""
    texts = {part: _decoded(values, path) for part, values in parts.items()}
    known = sorted({str(name) for values in texts.values() for name in np.unique(values)})
    if unknown := sorted({*known} - {*names}) if names else []:
        raise ConvatlasError(f"{str(path)!r} has the label {unknown[0]!r}, which is none of its classes"
                             f"{nearest(unknown[0], names)}")
    note = () if names else (f"The labels of {path} are text: the classes are {len(known)} names, sorted.",)
    names = names or tuple(known)
    places = {name: number for number, name in enumerate(names)}
    return Labels({part: torch.tensor([places[str(name)] for name in values.tolist()], dtype=torch.int64)
                   for part, values in texts.items()}, names, note)


def _numbered(parts: Mapping[Part, Array], names: tuple[str, ...], path: Path, first: int) -> Labels:
    """Class numbers from 0, or, where none is 0 and `first` is 1, from 1."""
    kinds = sorted({values.dtype.name for values in parts.values()})
    whole = all(values.dtype.kind in "biu" or (values.dtype.kind == "f" and bool((values == np.rint(values)).all()))
                for values in parts.values())
    if not whole:
        raise ConvatlasError(f"the labels of {str(path)!r} are {', '.join(kinds)}; labels are integers 0..K-1, 1..K or "
                             "names of classes")
    numbers = {part: values.astype(np.int64) for part, values in parts.items()}
    low, high = (int(reach([reach(values) for values in numbers.values()])) for reach in (np.min, np.max))
    if low < 0:
        raise ConvatlasError(f"{str(path)!r} has the label {low}; labels are integers 0..K-1 or 1..K")
    if high >= LABELS:
        raise ConvatlasError(f"{str(path)!r} has the label {high}, but no set has {LABELS} classes; labels are "
                             "integers 0..K-1 or 1..K")
    notes: tuple[str, ...] = ()
    if low == first == 1 and len(names) <= high:
        numbers = {part: values - 1 for part, values in numbers.items()}
        notes = (f"The labels of {path} are 1 to {high} and never 0: they are taken to count from 1.",)
        names, high = names or tuple(str(number) for number in range(1, high + 1)), high - 1
    if names and high >= len(names):
        raise ConvatlasError(f"{str(path)!r} has the label {high + len(notes)}, but {len(names)} classes; labels count "
                             f"from {len(notes)}")
    if "bool" in kinds:
        notes = (*notes, f"The labels of {path} are booleans: False is class 0, True class 1.")
    return Labels({part: torch.from_numpy(values) for part, values in numbers.items()},
                  names or tuple(map(str, range(high + 1))), notes)


def _class_names(arrays: Mapping[str, Array], path: Path) -> tuple[str, ...]:
    if "classes" not in arrays:
        return ()
    names = tuple(str(value) for value in _decoded(arrays["classes"], path).ravel())
    if len(set(names)) != len(names):
        raise ConvatlasError(f"{str(path)!r}: 'classes' names a class twice: {', '.join(names)}")
    return names


def _decoded(values: Array, path: Path) -> Array:
    """Bytes as text."""
    try:
        return np.char.decode(values.astype(np.bytes_), "utf-8") if values.dtype.kind == "S" else values
    except UnicodeDecodeError as error:
        raise ConvatlasError(f"{str(path)!r} has names of classes that are not UTF-8: {error.reason}; save them as "
                             "strings") from error


def _listed(arrays: Mapping[str, Array]) -> str:
    return ", ".join(arrays) or "nothing"
