"""Pictures in a NumPy archive: `x_train, y_train[, x_test, y_test]`, `x, y` and the like."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ConvatlasError
from .images import Source, Tensors
from .split import Split

Array = NDArray[np.generic]

TRAIN = (("x_train", "y_train"), ("train_images", "train_labels"), ("x", "y"), ("images", "labels"), ("data", "target"))
VAL = (("x_val", "y_val"), ("val_images", "val_labels"))
TEST = (("x_test", "y_test"), ("test_images", "test_labels"))


def read_npz(path: Path, split: Split, classes: tuple[str, ...] = ()) -> Source:
    """Open an `.npz`; `classes` names the labels where they are known beforehand, else its own array `classes` may.

    Pictures are (N, H, W), (N, H, W, C) or (N, C, H, W), C being 1, 3 or 4, as uint8 or as floats in 0..1; labels are
    integers 0..K-1, or several per picture as 0 and 1 in (N, K). Training prefers the archive's validation arrays over
    its test arrays, evaluation the reverse.
    """
    arrays = _load(path)
    train = _part(arrays, TRAIN, path)
    if train is None:
        pairs = ", ".join(f"{x} and {y}" for x, y in TRAIN)
        raise ConvatlasError(f"{str(path)!r} holds {_listed(arrays)}; it needs two arrays named {pairs}")
    val = _part(arrays, (*TEST, *VAL) if split.for_eval else (*VAL, *TEST), path)
    parts = [part for part in (train, val) if part is not None]
    multi_label = train.labels.dim() == 2
    if len({part.labels.shape[1:] for part in parts}) > 1:
        shapes = " and ".join(str(tuple(part.labels.shape)) for part in parts)
        raise ConvatlasError(f"{str(path)!r} has labels of the shapes {shapes}; those of all parts must be of one kind")
    count = train.labels.shape[1] if multi_label else max(int(part.labels.max()) for part in parts) + 1
    names = classes or _class_names(arrays, path) or tuple(str(k) for k in range(count))
    if multi_label and count != len(names):
        raise ConvatlasError(f"{str(path)!r} has {count} columns of labels, but {len(names)} classes")
    if count > len(names):
        raise ConvatlasError(f"{str(path)!r} has the label {count - 1}, but {len(names)} classes; labels count from 0")
    if not split.for_eval:
        _check_classes(train, names, path)
    notes = single_labels(train.labels, str(path)) if multi_label else ()
    if val is None:
        return split.source(path.stem, str(path), names, train, notes, multi_label=multi_label)
    return Source(path.stem, names, train, val, notes, multi_label)


def single_labels(labels: Tensor, where: str) -> tuple[str, ...]:
    """A sentence if labels (N, K) might as well be class numbers."""
    if (labels.sum(1) != 1).any():
        return ()
    return (f"In {where} every picture has exactly one label. If they exclude each other, give one class per "
            "picture instead.",)


def _check_classes(train: Tensors, names: Sequence[str], path: Path) -> None:
    multi_label = train.labels.dim() == 2
    if len(names) < 2:
        raise ConvatlasError(f"{str(path)!r} has one class only; a classifier needs at least two")
    counts = train.labels.sum(0) if multi_label else torch.bincount(train.labels, minlength=len(names))
    if (counts == 0).any():
        empty = names[int(counts.argmin())]
        raise ConvatlasError(
            f"{str(path)!r} has no training picture of class {empty!r}; labels are 0..K-1, and each needs pictures"
        )


def _load(path: Path) -> dict[str, Array]:
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ConvatlasError(f"{str(path)!r} is one bare array; save with np.savez(file, x=pictures, y=labels)")
        with archive:
            return {key: _array(archive, key, path) for key in archive.files}
    except FileNotFoundError as error:
        raise ConvatlasError(f"there is no file {str(path)!r}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise ConvatlasError(f"{str(path)!r} cannot be read as an .npz archive: {reason}") from error


def _array(archive: Mapping[str, Array], key: str, path: Path) -> Array:
    try:
        return archive[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise ConvatlasError(
            f"{str(path)!r}: {key!r} holds Python objects, which are never unpickled; save it as plain numbers or text"
        ) from error


def _part(arrays: Mapping[str, Array], pairs: Sequence[tuple[str, str]], path: Path) -> Tensors | None:
    """The first pair of arrays that is there, checked."""
    for x, y in pairs:
        where = f"{str(path)!r}: {x!r}"
        if x in arrays and y in arrays:
            images, labels = pictures(arrays[x], where), _labels(arrays[y], f"{str(path)!r}: {y!r}")
            if len(images) != len(labels):
                raise ConvatlasError(f"{where} has {len(images)} pictures, but {y!r} has {len(labels)} labels")
            return Tensors(torch.from_numpy(images), torch.from_numpy(labels), f"{path.stem}:{x}")
        if x in arrays:
            raise ConvatlasError(f"{where} has no labels {y!r} beside it; the archive holds {_listed(arrays)}")
    return None


def pictures(values: Array, where: str) -> NDArray[np.uint8]:
    """Any of the layouts above as uint8 (N, C, H, W); `where` begins the sentence of an error."""
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
    if values.dtype == np.uint8:
        return np.array(values, dtype=np.uint8, order="C")
    if values.dtype.kind != "f":
        raise ConvatlasError(f"{where} holds {values.dtype}; pictures are uint8 in 0..255 or floats in 0..1")
    floats = values.astype(np.float32, order="C")
    low, high = float(np.min(floats)), float(np.max(floats))        # NaN, where there is one, comes through both
    if not (low >= 0 and high <= 1):
        found = "NaN" if low != low else f"values in {low:g}..{high:g}"
        raise ConvatlasError(f"{where} holds floats with {found}; they must lie in 0..1 (or be uint8 in 0..255)")
    return np.rint(floats * 255).astype(np.uint8)


def _labels(values: Array, where: str) -> NDArray[np.int64] | NDArray[np.float32]:
    """Class numbers (N,), or 0 and 1 for each class (N, K)."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2 and values.dtype.kind in "biuf" and np.isin(values, (0, 1)).all():
        return values.astype(np.float32)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ConvatlasError(f"{where} is {values.dtype} {values.shape}; labels are integers 0..K-1 of shape (N,), "
                             "or 0 and 1 of shape (N, K) for several labels per picture")
    labels = values.astype(np.int64)
    if labels.size and np.min(labels) < 0:
        raise ConvatlasError(f"{where} has the label {np.min(labels)}; labels are integers 0..K-1")
    return labels


def _class_names(arrays: Mapping[str, Array], path: Path) -> tuple[str, ...]:
    if "classes" not in arrays:
        return ()
    names = tuple(str(value) for value in arrays["classes"].ravel())
    if len(set(names)) != len(names):
        raise ConvatlasError(f"{str(path)!r}: 'classes' names a class twice: {', '.join(names)}")
    return names


def _listed(arrays: Mapping[str, Array]) -> str:
    return ", ".join(arrays) or "nothing"
