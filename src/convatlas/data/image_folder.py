"""A folder of images by class: `root/<class>/*.png`, or `root/train/<class>/…` beside `root/val/<class>/…`.

With a table such as `labels.csv` in `root` (or in `train` and `val`), of images with any number of labels: see
`table.py`. What the names of folders mean, `parts.py` says; what is not plain is told, and what fits nothing refused.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ..errors import ConvatlasError, enumerated
from ..files import Kinds, escaped, folders_in, in_words, listed
from ..pixels import SUFFIXES as SUFFIXES
from .images import Files, ImageSet, Source
from .parts import Part, kind_of, part_of, parts_in
from .split import Split
from .table import TABLE, part_of_table, read_table, tables

PARTS: tuple[Part, ...] = ("train", "val", "test")
PLAIN = frozenset({"train", "val", "valid", "validation", "test"})      # names of parts that are beyond doubt
BOXES = frozenset({".txt", ".xml", ".json"})        # files of boxes, as YOLO, VOC and COCO have them
# pictures that Pillow cannot read, at least not everywhere
CONVERTIBLE = frozenset({".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".dng", ".cr2", ".nef", ".arw"})
# kinds of things left out, besides those of `files.listed`
OUTSIDE = ("image outside the class folders", "images outside the class folders")
MASK = ("mask beside its image", "masks beside their images")
UNNAMED = ("image without a line in a table", "images without a line in a table")


def read_folder(root: Path, split: Split) -> Source:
    """Open a folder of images: as its `labels.csv` says, else by its class folders, whose sorted names are the classes,
    else as another table in it says.

    Hidden files and folders are left out, links to folders inside a class, and what is no picture; a note counts them.
    """
    certain = _tables(root)
    if certain:
        return _read_tables(root, certain, split)
    try:
        return _read_classes(root, split)
    except ConvatlasError:
        guessed = _guessed(root)
        if not guessed:
            raise
        return _read_tables(root, guessed, split)


def _read_classes(root: Path, split: Split) -> Source:
    name, (tops, notes) = root.resolve().name, _parts(root)
    found, left = dict[Part, dict[str, list[Path]]](), _beside(root) if tops else Kinds()
    for part, top in (tops or {"train": root}).items():
        try:
            found[part] = _by_class(top, root, left)
            if unknown := [each for each in found[part] if each not in found.get("train", found[part])]:
                raise ConvatlasError(f"{str(top)!r} has classes that {str(tops['train'])!r} lacks: "
                                     f"{', '.join(map(repr, unknown))}; both need the same ones")
        except ConvatlasError as error:
            if split.for_eval or part != "test" or "val" not in found:
                raise
            found.pop(part, None)       # nothing of training depends on it
            notes = (*notes, f"The test part is left out: {error}.")
    classes = tuple(sorted(frozenset[str]().union(*found.values())))
    if len(classes) < 2 and (not split.for_eval or _guessed(root)):
        top = tops.get("train", root)
        deeper = f", or {str(top / classes[0])!r} is what is meant" if folders_in(top / classes[0]) else ""
        raise ConvatlasError(f"{str(top)!r} has one class only, {classes[0]!r}; it needs two at least{deeper}. "
                             f"{_layout(root)}")
    for part, images in found.items():
        if absent := [each for each in classes if each not in images]:
            notes = (*notes, f"{tops[part]} has no images of {', '.join(map(repr, absent))}.")
    sets: dict[Part, ImageSet] = {part: _image_files(images, classes) for part, images in found.items()}
    where = f" in {enumerated([f'{top.relative_to(root).as_posix()}/' for top in tops.values()])}" if tops else ""
    return split.source(name, str(root), classes, sets, (*notes, *_left_out(name, left)),
                        layout=f"class folders{where}")


def _read_tables(root: Path, paths: Mapping[Part | None, Path], split: Split) -> Source:
    name, read = root.resolve().name, {part: read_table(path) for part, path in paths.items()}
    notes = tuple(note for table in read.values() for note in table.notes)
    words = enumerated([path.relative_to(root).as_posix() for path in paths.values()])
    if any(path.name != TABLE for path in paths.values()):
        notes = (f"The labels of {name} are those of {words}.", *notes)
    found = {part: table for each, table in read.items()
             for part, table in (table.by_part() if each is None else {each: table}).items()}
    classes = found["train"].classes if "train" in found else tuple(dict.fromkeys(
        label for table in found.values() for label in table.classes))
    single = all(table.single for table in found.values())
    sets: dict[Part, ImageSet] = {part: Files(table.files, table.labels(classes, single))
                                  for part, table in found.items()}
    if "train" in found and not split.for_eval:
        if single and len(classes) < 2:
            raise ConvatlasError(f"{words} of {str(root)!r} has one class only, {classes[0]!r}; a classifier needs at "
                                 "least two")
        if lacking := sorted({*classes} - frozenset[str]().union(*found["train"].named)) if len(found) > 1 else []:
            raise ConvatlasError(f"{words} of {str(root)!r} has no training image of {', '.join(map(repr, lacking))}")
    if single:
        notes = (*notes, f"In {words} every file has exactly one label: they are read as classes that exclude each "
                         "other.")
    images, left = listed(root, SUFFIXES)
    left -= Kinds(path.suffix.lower() for path in paths.values())
    left[UNNAMED] = len({*images} - {file for table in found.values() for file in table.files})
    return split.source(name, str(root), classes, sets, (*notes, *_left_out(name, +left)), multi_label=not single,
                        layout=words)


def _tables(root: Path) -> dict[Part | None, Path]:
    """The `labels.csv` of a folder, or those of its parts."""
    if (root / TABLE).is_file():
        return {None: root / TABLE}
    named = parts_in(root)
    if not any((folder / TABLE).is_file() for folders in named.values() for folder in folders):
        return {}
    tops = {part: _only(root, part, named[part]) for part in PARTS if part in named}
    return {part: top / TABLE for part, top in tops.items() if part != "test" or (top / TABLE).is_file()}


def _guessed(root: Path) -> dict[Part | None, Path]:
    """Other tables that name images which are there: those of parts, in `root` or in its folders, or the only one."""
    # a competition's sample_submission.csv is filled in with anything
    inside = [path for path in tables(root) if "submission" not in path.stem.lower()]
    found: dict[Part | None, list[Path]] = {}
    for path in inside:
        found.setdefault(part_of_table(path), []).append(path)
    if "train" in found:
        found.pop(None, None)
    elif not found:
        found = {part: [path for folder in folders for path in tables(folder)]
                 for part, folders in parts_in(root).items()}
    if several := next((paths for paths in found.values() if len(paths) > 1), None):
        raise ConvatlasError(f"several tables name the images in {str(root)!r}: "
                             f"{enumerated([path.name for path in several])}; rename the one that is meant to {TABLE}")
    return {part: paths[0] for part, paths in found.items() if paths}


def _parts(root: Path) -> tuple[dict[Part, Path], tuple[str, ...]]:
    """The folders that hold the class folders of each part, none where `root` holds them itself, and notes."""
    named, folders = parts_in(root), folders_in(root)
    tops = {part: [_inner(folder, part) for folder in named[part]] for part in PARTS if part in named}
    whole = [part for part, each in tops.items() if any(map(folders_in, each))]      # those with class folders
    others = [folder.name for folder in folders if part_of(folder.name) is None]
    words = enumerated([repr(folder.name) for folder in folders if part_of(folder.name)])
    if not whole:
        classes = [other for other in others if kind_of(other) != "masks"]
        if not named or (classes and len(folders) == len(others) + 1):
            return {}, ()       # a class called train, perhaps, beside one called plane
        _refuse_pairs(root)
        raise ConvatlasError(f"{str(root)!r} has folders that are named as parts of a data set, {words}, but no class "
                             f"folders in them{_boxes(root, *folders)}. {_layout(root)}")
    if "train" not in tops and any(folders_in(root / other) for other in others):
        raise ConvatlasError(f"{str(root)!r} holds {words}, named as a part of a data set, beside "
                             f"{enumerated(list(map(repr, others)))}, which is not: call the part to learn from train, "
                             "or rename what is a class")
    notes: tuple[str, ...] = ()
    found = {part: _only(root, part, each) for part, each in tops.items()}
    if "test" in found and "test" not in whole and listed(found["test"], SUFFIXES, deep=False)[0]:
        notes = (f"{found.pop('test')} has images without class folders: it is left out.",)
    if any(named[part][0].name not in PLAIN for part in found):
        said = enumerated([f"{found[part].relative_to(root).as_posix()}/ for {part}" for part in found])
        notes = (*notes, f"The parts of {root.resolve().name} are taken to be {said}.")
    if others:
        notes = (*notes, f"Left out beside the parts of {root.resolve().name}: {enumerated(others)}.")
    return found, notes


def _inner(folder: Path, part: Part) -> Path:
    """The folder of a part, or the only one in it where that is named as the same part: `seg_train/seg_train`."""
    inside = folders_in(folder)
    return inside[0] if len(inside) == 1 and part_of(inside[0].name) == part else folder


def _only(root: Path, part: Part, folders: Sequence[Path]) -> Path:
    if len(folders) > 1:
        raise ConvatlasError(f"{str(root)!r} has several folders for the part {part}: "
                             f"{enumerated([repr(folder.name) for folder in folders])}; leave one of them")
    return folders[0]


def _by_class(top: Path, root: Path, left: Kinds) -> dict[str, list[Path]]:
    """The image files of each class folder, both sorted; every class has some. `left` counts what else there is."""
    folders, beside = folders_in(top), _beside(top)
    if not folders:
        loose = beside[OUTSIDE]
        found = f"holds {loose} images, but no class folders" if loose else "has neither class folders nor images"
        raise ConvatlasError(f"{str(top)!r} {found}{_boxes(top)}. {_layout(root)}")
    _refuse_pairs(top)
    files: dict[str, list[Path]] = {}
    left.update(beside)
    for folder in folders:
        label = _readable(folder)
        _refuse_pairs(folder)
        images, also = listed(folder, SUFFIXES)
        files[label] = _without_masks(images)
        also[MASK] = len(images) - len(files[label])
        if not files[label]:
            kinds = ", ".join(sorted(SUFFIXES))
            there = f" (it holds {in_words(+also)})" if +also else ""
            raise ConvatlasError(f"class {label!r} has no images: no file in {str(folder)!r} ends in {kinds}{there}; "
                                 "add some or remove the folder")
        left.update(+also)
    return files


def _readable(folder: Path) -> str:
    """The name of a class folder: it goes into weights, whose texts are UTF-8."""
    if escaped(folder.name) != folder.name:
        raise ConvatlasError(f"the name of the class folder {str(folder)!r} is not UTF-8; rename it")
    return folder.name


def _without_masks(paths: list[Path]) -> list[Path]:
    """The images of which no other is the mask: `x_mask.png` and `x_mask_1.png` are, beside `x.png`."""
    named = {path: found[1] for path in paths
             if (found := re.fullmatch(r"(.+)[_-]mask([_-]?\d+)?\.\w+", path.name, re.IGNORECASE))}
    if not named:
        return paths
    stems = {(path.parent, path.stem) for path in paths}
    return [path for path in paths if path not in named or (path.parent, named[path]) not in stems]


def _refuse_pairs(where: Path) -> None:
    """Refuse folders of images beside folders of masks or of boxes, which are no classes."""
    named = [(folder, kind_of(folder.name)) for folder in folders_in(where)]
    masks = [folder for folder, kind in named if kind == "masks"]
    images = [folder for folder, kind in named if kind == "images" or (kind is None and part_of(folder.name))]
    if not images or not masks:
        return
    words = f"{str(where)!r} holds the folders {images[0].name!r} and {masks[0].name!r}"
    if any(listed(folder, SUFFIXES)[0] for folder in masks):
        raise ConvatlasError(f"{words}: images with masks are for networks that segment, such as unet; a classifier "
                             f"learns from one folder of images per class, such as {where}/cat and {where}/dog")
    if boxes := _boxes(where):
        raise ConvatlasError(f"{words}{boxes}. {_layout(where)}")


def _boxes(*places: Path) -> str:
    """Words on files of boxes that lie in these folders, or in folders in them that are named as annotations."""
    ends = {kind for place in places for kind in listed(place, SUFFIXES, deep=False)[1]} - {".txt"}
    ends |= {kind for place in places for folder in folders_in(place) if kind_of(folder.name) == "masks"
             for kind in listed(folder, SUFFIXES)[1]}
    kinds = enumerated(sorted(BOXES & ends))
    return f", with annotations in {kinds} files as detectors learn from, which classifiers do not" if kinds else ""


def _image_files(files: Mapping[str, Sequence[Path]], classes: Sequence[str]) -> Files:
    pairs = [(path, number) for number, label in enumerate(classes) for path in files.get(label, ())]
    return Files([path for path, _ in pairs], torch.tensor([number for _, number in pairs]))


def _beside(folder: Path) -> Kinds:
    """Counts by kind of the files in a folder itself, beside the class folders."""
    images, left = listed(folder, SUFFIXES, deep=False)
    left[OUTSIDE] = len(images)
    return +left


def _left_out(name: str, left: Kinds) -> tuple[str, ...]:
    convert = sorted(kind for kind in left if kind in CONVERTIBLE and isinstance(kind, str))
    how = f" To have {enumerated(convert)} read, convert them to .jpg or .png." if convert else ""
    return (f"Left out of {name}: {in_words(left)}.{how}",) if left else ()


def _layout(root: Path) -> str:
    return (
        f"Expected is one folder of images per class, such as {root}/cat/1.png and {root}/dog/1.png, "
        f"or the same below {root}/train and {root}/val"
    )
