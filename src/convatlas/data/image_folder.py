"""A folder of images by class: `root/<class>/*.png`, or `root/train/<class>/…` beside `root/val/<class>/…`.

With a table `labels.csv` in `root` (or in `train` and `val`), of images with any number of labels: see `table.py`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ..errors import ConvatlasError
from ..pixels import SUFFIXES as SUFFIXES
from .arrays import single_labels
from .images import Files, Source
from .split import Split
from .table import TABLE, read_table

VAL, TEST = ("val", "valid", "validation"), ("test",)


def read_folder(root: Path, split: Split) -> Source:
    """Open a folder of images; the sorted names of the class folders are the classes.

    Training prefers `val` over `test` for validation, evaluation the reverse; where there is neither, `split` says what
    happens. Hidden files are ignored, and so are links to folders inside a class.
    """
    if (root / TABLE).is_file() or (root / "train" / TABLE).is_file():
        return _read_tables(root, split)
    name = root.resolve().name
    parted = _has_parts(root)
    top = root / "train" if parted else root
    files = _files_by_class(top)
    classes = tuple(files)
    if len(classes) < 2 and not split.for_eval:
        raise ConvatlasError(f"{str(top)!r} has one class only, {classes[0]!r}; it needs two at least. {_layout(root)}")
    train, notes = _image_files(files, classes), _stray(top)
    part = _judged(root, split) if parted else None
    if part is None:
        return split.source(name, str(root), classes, train, notes)

    judged = _files_by_class(part)
    unknown = [each for each in judged if each not in classes]
    if unknown:
        listed = ", ".join(map(repr, unknown))
        raise ConvatlasError(f"{str(part)!r} has classes that {str(top)!r} lacks: {listed}; both need the same ones")
    absent = [each for each in classes if each not in judged]
    if absent:
        notes = (*notes, f"{part} has no images of {', '.join(map(repr, absent))}.")
    return Source(name, classes, train, _image_files(judged, classes), (*notes, *_stray(part)))


def _read_tables(root: Path, split: Split) -> Source:
    name, parted = root.resolve().name, not (root / TABLE).is_file()
    train = read_table(root / "train" / TABLE if parted else root / TABLE)
    part = _judged(root, split) if parted else None
    images = Files(train.files, train.labels(train.classes))
    notes = single_labels(images.labels, str(train.path))
    if part is None:
        return split.source(name, str(root), train.classes, images, notes, multi_label=True)
    val = read_table(part / TABLE)
    return Source(name, train.classes, images, Files(val.files, val.labels(train.classes)), notes, multi_label=True)


def _judged(root: Path, split: Split) -> Path | None:
    """The folder beside `train` whose images are judged, if there is one."""
    names = (*TEST, *VAL) if split.for_eval else (*VAL, *TEST)
    return next((root / each for each in names if (root / each).is_dir()), None)


def _has_parts(root: Path) -> bool:
    """True if `root/train` holds classes, rather than being a class of trains."""
    inside = {path.name for path in _folders(root)}
    return "train" in inside and (bool(_folders(root / "train")) or inside <= {"train", *VAL, *TEST})


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files_by_class(root: Path) -> dict[str, list[Path]]:
    """The image files of each class folder, both sorted; every class has some."""
    folders = _folders(root)
    if not folders:
        loose = sum(_is_image(path.name) for path in root.iterdir())
        found = f"holds {loose} images, but no class folders" if loose else "has neither class folders nor images"
        raise ConvatlasError(f"{str(root)!r} {found}. {_layout(root)}")
    files = {folder.name: _images_below(folder) for folder in folders}
    for label, paths in files.items():
        if not paths:
            kinds = ", ".join(sorted(SUFFIXES))
            raise ConvatlasError(
                f"class {label!r} has no images: no file in {str(root / label)!r} ends in {kinds}; "
                "add some or remove the folder"
            )
    return files


def _images_below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for here, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        found += [Path(here, each) for each in names if _is_image(each)]
    return sorted(found)


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def _image_files(files: Mapping[str, Sequence[Path]], classes: Sequence[str]) -> Files:
    pairs = [(path, number) for number, label in enumerate(classes) for path in files.get(label, ())]
    return Files([path for path, _ in pairs], torch.tensor([number for _, number in pairs]))


def _stray(root: Path) -> tuple[str, ...]:
    count = sum(_is_image(path.name) for path in root.iterdir())
    return (f"{count} images that lie in {root} itself, outside the class folders, are left out.",) if count else ()


def _layout(root: Path) -> str:
    return (
        f"Expected is one folder of images per class, such as {root}/cat/1.png and {root}/dog/1.png, "
        f"or the same below {root}/train and {root}/val"
    )
