"""Layouts of folders with images and masks: which files belong together, and to which part.

Known are, for example,

    root/images/a.png  root/masks/a.png                 or below root/train and root/val; or images/train, masks/train
    root/imagesTr/a.png  root/labelsTr/a.png            the part in the folder's own name; train/ beside train_masks/
    root/leftImg8bit/train/city/a_leftImg8bit.png       Cityscapes; JPEGImages and SegmentationClass are VOC's
    root/a.png  root/a_mask.png                         in one folder
    root/<id>/images/<id>.png  root/<id>/masks/*.png    one file per object, as in the Data Science Bowl 2018
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from ..data.parts import ASIDE, BESIDE, IMAGES, MASKS, WORDS, Kind, Part, kind_of, part_of, parts_in
from ..errors import ConvatlasError
from ..files import Kinds, folders_in, hidden, in_words
from ..files import listed as files_in
from ..pixels import SUFFIXES

# of several folders of masks the one is taken whose name has the first of these words
FIRST = ("mask", "label", "class", "fine")
# what stands beside the common name of two files; the first of these that an image has is taken
OF_MASKS = ("gtFine_labelTrainIds", "gtFine_labelIds", "gtCoarse_labelIds", "masks", "mask", "labels", "label", "gt",
            "groundtruth", "segmentations", "segmentation", "seg", "annotations", "annotation", "annot", "target", "L")
OF_IMAGES = ("leftImg8bit", "images", "image", "imgs", "img", "sat", "input", "rgb", "0000")
KNOWN = ("images/ beside masks/ (or labels/, annotations/) with files of the same names, the same below train/, val/ "
         "and test/, images/train beside masks/train, imagesTr beside labelsTr, NAME.png beside NAME_mask.png in one "
         "folder, and a folder for each picture with images/ and masks/, one file per object")
WHOLE: Literal["all"] = "all"       # the part of a folder that has none
ARRAYS = frozenset({".npy"})        # of masks also
ORPHAN = ("mask without an image", "masks without an image")
UNMASKED = ("image without a mask", "images without a mask")

Pair = tuple[Path, tuple[Path, ...]]


@dataclass(frozen=True)
class Listed:
    """The pairs of one part, of each image its masks (several: one file per object), in the order of their names."""

    pairs: tuple[Pair, ...]
    layout: str
    left: Kinds = field(default_factory=Kinds)      # what is left out, by kind
    folders: tuple[str, ...] = ()                   # and folders that are, with the reason


def listed(root: Path) -> dict[Part | Literal["all"], Listed]:
    """The pairs of every part of a folder, of one without parts under `all`; empty where no layout is recognised.

    A part may hold nothing but what is left out: images without any masks. Raises ConvatlasError for an image without
    a mask among others, and where names say two things.
    """
    found: dict[Part | Literal["all"], Listed] = {}
    both = _inside(root)
    for part in WORDS:
        ways = _ways(root, part)
        if len(ways) > 1:
            raise ConvatlasError(f"{str(root)!r} has two {part} parts, {ways[0].layout} and {ways[1].layout}: rename "
                                 "or move one")
        idle = [each for folder in (root, *(both or ())[:1]) for each in folders_in(folder)
                if _names_part(each.name, part) and _holds_pictures(each)]
        if ways:
            found[part] = ways[0]
        elif idle:
            found[part] = Listed((), "", folders=tuple(f"{_under(each, root)} (it has no masks)" for each in idle))
    if any(each.pairs for each in found.values()):
        images, masks = _both(root)
        if both is None and images is not None and masks is not None:
            outside = f"{_under(images, root)} and {_under(masks, root)} (they are outside the parts)"
            found[WHOLE] = Listed((), "", folders=(outside,))
        return found
    one = _one(root)
    if one is None:
        return {}
    return _voc_lists(root, one) or {**found, WHOLE: one}


def _ways(root: Path, part: Part) -> list[Listed]:
    """All that can be read as this part of a folder."""
    roles = _roles(root)
    own, theirs = _chosen(root, roles, "images", part), _chosen(root, roles, "masks", part)
    found: list[Listed | None] = [_beside(own, theirs, root)] if own is not None and theirs is not None else []
    for folder in parts_in(root).get(part, []):
        if role_of(folder.name) is None:
            one = _one(folder)
            found.append(replace(one, layout=f"{folder.name}/: {one.layout}") if one is not None
                         else _beside(folder, theirs, root) if theirs is not None else None)     # train_masks/
    if (both := _inside(root)) is not None:
        found += [_beside(here, there, root) for here, there in
                  zip(*(parts_in(each).get(part, []) for each in both), strict=False)]
    return [each for each in found if each is not None]


def _inside(root: Path) -> tuple[Path, Path] | None:
    """The folders of images and of masks, if the parts are folders in them."""
    images, masks = _both(root)
    if images is None or masks is None or not parts_in(images) or not parts_in(masks):
        return None
    return images, masks


def _both(root: Path) -> tuple[Path | None, Path | None]:
    """The folders of images and of masks whose names say no part."""
    roles = _roles(root)
    return _chosen(root, roles, "images", None), _chosen(root, roles, "masks", None)


def _voc_lists(root: Path, one: Listed) -> dict[Part | Literal["all"], Listed]:
    """The parts that VOC's lists of names say; none where they are not there."""
    found: dict[Part | Literal["all"], Listed] = {}
    for part in WORDS:
        path = root / "ImageSets" / "Segmentation" / f"{part}.txt"
        names = set(path.read_text(errors="surrogateescape").split()) if path.is_file() else set()
        if pairs := tuple(pair for pair in one.pairs if pair[0].stem in names):
            found[part] = Listed(pairs, f"{one.layout}, as ImageSets/Segmentation/{part}.txt says",
                                 one.left if part == "train" else Kinds())
    return found if "train" in found else {}


def _names_part(name: str, part: Part) -> bool:
    role = role_of(name)
    return part_of(name) == part if role is None else role == ("images", part)


def is_paired(root: Path) -> bool:
    """True for a folder of images and masks; found from names, without going through all files of a folder of images
    by class.
    """
    near = [root, *folders_in(root)[:20]]
    if any((role_of(each.name) or ("",))[0] == "masks" and _holds_pictures(each)
           for folder in near for each in folders_in(folder)[:50]):
        return True
    named = any(_stripped(Path(name).stem, OF_MASKS) for folder in near for name in islice(_names(folder), 200)
                if Path(name).suffix.lower() in SUFFIXES)
    with suppress(ConvatlasError):
        return named and bool(listed(root))
    return False


def role_of(name: str) -> tuple[Kind, Part | None] | None:
    """Role of a folder by its name, in any case, and the part that it names too: `labelsTr`, `train_masks`."""
    words = re.sub("annot$", "_annot", name)       # CamVid's trainannot
    kind = kind_of(words)
    return None if kind is None else (kind, part_of(words, BESIDE | ASIDE | IMAGES | MASKS))


def left_out(parts: Iterable[Listed]) -> tuple[str, ...]:
    """One sentence about all that is left out, by kind; none where that is nothing."""
    found = [*parts]
    left = sum((each.left for each in found), Kinds())
    said = "; ".join(filter(None, [in_words(left), ", ".join(name for each in found for name in each.folders)]))
    return (f"Left out: {said}.",) if said else ()


# -- one part ---------------------------------------------------------------------------------------------------------

def _one(root: Path) -> Listed | None:
    """The pairs of a folder without parts; None if its layout is not known."""
    images, masks = _both(root)
    if images is not None and masks is not None:
        return _beside(images, masks, root)
    return _together(root) or _subjects(root)


def _beside(images: Path, masks: Path, root: Path) -> Listed | None:
    """Pairs of two folders of files with the same names, or of the same folders inside them."""
    left = Kinds()
    pictures, numbered = _below(images, SUFFIXES, left), _below(masks, SUFFIXES | ARRAYS, left)
    if not pictures or not numbered:
        return None
    pairs: list[Pair] = []
    for folder, files in pictures.items():
        made, missing, orphans = _paired(files, numbered.pop(folder, []))
        left[ORPHAN] += len(orphans)
        pairs += made
        if missing and _is_voc(images, masks):
            left[UNMASKED] += len(missing)
        elif missing:
            raise _without(missing, masks / folder)
    left[ORPHAN] += sum(map(len, numbered.values()))
    role = role_of(masks.name)
    folders = [f"{each.name}/ (the masks are in {masks.name}/)" for each in folders_in(root)
               if each != masks and role is not None and role_of(each.name) == role and _holds_pictures(each)]
    if "" in pictures:
        folders += [f"{images.name}/{each.name}/" for each in folders_in(images)]
    return Listed(tuple(pairs), f"{_under(images, root)} beside {_under(masks, root)}", +left, tuple(folders))


def _together(root: Path) -> Listed | None:
    """Pairs in one folder: NAME and NAME_mask."""
    files, left = files_in(root, SUFFIXES | ARRAYS, deep=False)
    names = {file.stem for file in files}
    names |= {key for name in names for key in _stripped(name, OF_IMAGES)}
    masks = [file for file in files if any(key in names for key in _stripped(file.stem, OF_MASKS))]
    if not masks:
        return None
    images = [file for file in files if file not in set(masks)]
    pairs, missing, orphans = _paired(images, masks)
    if missing:
        raise _without(missing, root)
    left[ORPHAN] += len(orphans)
    return Listed(tuple(pairs), "images and masks in one folder, told apart by their names", +left)


def _subjects(root: Path) -> Listed | None:
    """A folder for each picture with its objects' masks, or for several pictures, as of one patient."""
    left, pairs, bare = Kinds(), list[Pair](), list[Path]()
    for folder in folders_in(root):
        images, masks = _both(folder)
        one = _subject(folder, images, masks) if images is not None and masks is not None else _together(folder)
        if one is not None:
            pairs += one.pairs
            left += one.left
        else:
            bare.append(folder)
    if not pairs:
        return None
    several = any(len(masks) > 1 for _, masks in pairs)
    if not several and (empty := [image for image, masks in pairs if not masks]):
        raise _without(empty, empty[0].parent.parent)
    names = [f"{each.name}/" for each in bare[:3]] + ([f"{len(bare) - 3} more folders"] if bare[3:] else [])
    return Listed(tuple(pairs), "a folder for each picture, with one mask per object" if several
                  else "a folder for each subject, with its images and masks", +left, tuple(names))


def _subject(folder: Path, images: Path, masks: Path) -> Listed | None:
    """The pairs of one subject: by name, or all masks of its one image."""
    pictures, left = files_in(images, SUFFIXES, deep=False)
    files, more = files_in(masks, SUFFIXES | ARRAYS, deep=False)
    made, missing, orphans = _paired(pictures, files, strict=len(pictures) > 1)
    if not pictures:
        return None
    if len(pictures) == 1 and (missing or orphans):
        made = [(pictures[0], tuple(files))]
    elif missing or orphans:
        raise ConvatlasError(f"{str(folder)!r} holds {len(pictures)} images and {len(files)} masks whose names do not "
                             f"pair them ({(missing or orphans)[0].name!r} has no other): give each mask its image's "
                             "name, or each image a folder of its own")
    return Listed(tuple(made), "", left + more)


def _without(missing: Sequence[Path], where: Path) -> ConvatlasError:
    more = f" and {len(missing) - 1} more" if missing[1:] else ""
    return ConvatlasError(f"{str(missing[0])!r}{more} has no mask in {str(where)!r}: it needs a file of the same name")


def _is_voc(images: Path, masks: Path) -> bool:
    """True for Pascal VOC, most of whose images have no mask."""
    return images.name == "JPEGImages" and masks.name.startswith("Segmentation")


# -- names ------------------------------------------------------------------------------------------------------------

def _paired(images: Sequence[Path], masks: Sequence[Path],
            strict: bool = True) -> tuple[list[Pair], list[Path], list[Path]]:
    """(pairs, images without a mask, masks without an image), by name."""
    if strict:
        for files, what in ((images, "images"), (masks, "masks")):
            counts = Counter(file.stem for file in files)
            if twice := [file for file in files if counts[file.stem] > 1]:
                raise ConvatlasError(f"{str(twice[0])!r} and {twice[1].name!r} are two {what} of one name: remove one "
                                     "of them")
    exact = {file.stem: file for file in masks}
    keys: dict[str, list[Path]] = {}
    for file in masks:
        for key in _stripped(file.stem, OF_MASKS):
            keys.setdefault(key, []).append(file)
    pairs, missing, used = list[Pair](), list[Path](), set[Path]()
    for image in images:
        names = (image.stem, *_stripped(image.stem, OF_IMAGES))
        found = next(([exact[name]] for name in names if name in exact), None) or next(
            (keys[name] for name in names if name in keys), [])
        if not found:
            missing.append(image)
            continue
        mask = min(found, key=lambda file: _rank(file.stem))
        if sum(_rank(file.stem) == _rank(mask.stem) for file in found) > 1:
            raise ConvatlasError(f"{str(image)!r} has {len(found)} masks, such as {found[0].name!r} and "
                                 f"{found[1].name!r}: keep one, or put those of each image into a folder of its own")
        pairs.append((image, (mask,)))
        used.add(mask)
    # what Cityscapes lays beside the mask: the same in colour, instances
    kept = {key for file in used for key in _stripped(file.stem, OF_MASKS)}
    orphans = [file for file in masks if file not in used
               and not any(file.stem.startswith(f"{key}_gt") for key in kept)]
    return pairs, missing, orphans


def _stripped(stem: str, words: Collection[str]) -> list[str]:
    """A file's name without a word at its beginning or end: `a` for `a_mask` and `mask_a`."""
    lower, found = stem.lower(), list[str]()
    for word in map(str.lower, words):
        for sign in "_-. ":
            if lower.endswith(sign + word) and len(stem) > len(word) + 1:
                found.append(stem[: -len(word) - 1])
            if lower.startswith(word + sign) and len(stem) > len(word) + 1:
                found.append(stem[len(word) + 1 :])
    return found


def _rank(stem: str) -> int:
    lower = stem.lower()
    return next((place for place, word in enumerate(OF_MASKS) if lower.endswith(word.lower())), len(OF_MASKS))


# -- files ------------------------------------------------------------------------------------------------------------

def _names(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries)


def _roles(root: Path) -> dict[tuple[Kind, Part | None], list[Path]]:
    found: dict[tuple[Kind, Part | None], list[Path]] = {}
    for folder in folders_in(root):
        if (role := role_of(folder.name)) is not None:
            found.setdefault(role, []).append(folder)
    return found


def _chosen(root: Path, roles: dict[tuple[Kind, Part | None], list[Path]], role: Kind,
            part: Part | None) -> Path | None:
    """The folder of a role that holds pictures, of several the one whose name stands first in the table."""
    holding = [each for each in roles.get((role, part), []) if _holds_pictures(each)]
    if len(holding) > 1 and role == "images":
        raise ConvatlasError(f"{str(root)!r} has the folders {holding[0].name!r} and {holding[1].name!r}: which of "
                             "them holds the images is not known; move one away")
    return min(holding, default=None, key=lambda each: next(
        (place for place, word in enumerate(FIRST) if word in each.name.lower()), len(FIRST)))


def _holds_pictures(folder: Path) -> bool:
    """True if there is one, in it or below."""
    return any(Path(name).suffix.lower() in SUFFIXES | ARRAYS and not hidden(name)
               for _, _, names in os.walk(folder) for name in names)


def _below(folder: Path, suffixes: Collection[str], left: Kinds) -> dict[str, list[Path]]:
    """The pictures of a folder, or where it has none those of its folders, by the folder's path in it."""
    files, others = files_in(folder, suffixes, deep=False)
    if files:
        left.update(others)
        return {"": files}
    files, others = files_in(folder, suffixes)
    left.update(others)
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault(os.path.relpath(file.parent, folder), []).append(file)
    return found


def _under(folder: Path, root: Path) -> str:
    return f"{folder.relative_to(root)}/"
