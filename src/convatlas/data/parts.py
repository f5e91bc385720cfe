"""Parts of a data set (train, val, test) and kinds of folders (images, masks), by the names that people give them."""

import re
from pathlib import Path
from typing import Literal

from ..files import folders_in

Part = Literal["train", "val", "test"]
Kind = Literal["images", "masks"]
WORDS: dict[Part, frozenset[str]] = {
    "train": frozenset({"train", "training", "trn", "tr"}),
    "val": frozenset({"val", "valid", "validation", "validate", "dev", "eval", "evaluation", "holdout"}),
    "test": frozenset({"test", "testing", "tst", "ts"}),
}
# what stands beside such a word in the name of a folder: train_set, seg_train, test-images, imagesTr, val2017
BESIDE = frozenset({"", "set", "sets", "split", "data", "dataset", "datasets", "part", "folder", "dir", "images",
                    "image", "imgs", "img", "pics", "seg", "raw", "png", "jpg", "my"})
IMAGES = frozenset({"images", "image", "imgs", "img", "jpegimages", "pictures", "pics", "photos", "inputs", "input"})
MASKS = frozenset({"masks", "mask", "labels", "label", "annotations", "annotation", "annots", "annot", "gt", "truth",
                   "groundtruth", "groundtruths", "segmentation", "segmentations", "segmentationclass",
                   "segmentationobject", "segs", "targets", "target"})
# what stands beside one of these: gtFine, leftImg8bit, ground_truth, SegmentationClass, images_png
ASIDE = frozenset({"", "set", "sets", "data", "folder", "dir", "png", "jpg", "raw", "my", "left", "right", "fine",
                   "coarse", "bit", "ground", "class", "object", "instance", "semantic", "seg", "binary", "all"})


def part_of(name: str, beside: frozenset[str] = BESIDE) -> Part | None:
    """The part that a folder's name says, in any case, alone, in the plural or beside a word such as `set`; None for
    other names.
    """
    found = [_part(word) for word in _words(name) if word not in beside]
    return found[0] if len(found) == 1 else None


def kind_of(name: str) -> Kind | None:
    """The kind that a folder's name says, in any case, alone or beside a part or a word such as `png`: `images`
    (`imagesTr`, `leftImg8bit`) or `masks` (`Mask`, `labelsTr`, `gtFine`, `annotations`). None for other names.
    """
    words = _words(name)
    if not all(word in IMAGES | MASKS | ASIDE or _part(word) for word in words):
        return None
    return "masks" if MASKS & {*words} else "images" if IMAGES & {*words} else None


def parts_in(root: Path) -> dict[Part, list[Path]]:
    """The folders in `root` that are named as parts, sorted; two of one part are both listed."""
    found: dict[Part, list[Path]] = {}
    for folder in folders_in(root):
        if (part := part_of(folder.name)) is not None:
            found.setdefault(part, []).append(folder)
    return found


def _words(name: str) -> list[str]:
    """In small letters: a capital after a small letter begins one (trainSet, imagesTr), digits and signs end one."""
    return re.split(r"[\W_\d]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def _part(word: str) -> Part | None:
    """The part that one word says, also in the plural or written together with another: `tests`, `trainset`."""
    for part, known in WORDS.items():
        if any(word.removesuffix(end) in known for end in ("", "s", "set", "sets", "data")):
            return part
    return None
