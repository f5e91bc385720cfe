"""The parts of a data set, train, val and test, by the names that people give their folders."""

import re
from pathlib import Path
from typing import Literal

Part = Literal["train", "val", "test"]
WORDS: dict[Part, frozenset[str]] = {
    "train": frozenset({"train", "training", "trn", "tr"}),
    "val": frozenset({"val", "valid", "validation", "validate", "dev", "eval", "evaluation", "holdout"}),
    "test": frozenset({"test", "testing", "tst", "ts"}),
}
# what stands beside such a word in the name of a folder: train_set, seg_train, test-images, imagesTr, val2017
BESIDE = frozenset({"", "set", "sets", "split", "data", "dataset", "datasets", "part", "folder", "dir", "images",
                    "image", "imgs", "img", "pics", "seg", "raw", "png", "jpg", "my"})


def part_of(name: str) -> Part | None:
    """The part that a folder's name says, in any case, alone, in the plural or beside a word such as `set`; None for
    other names.
    """
    # trainSet, imagesTr: a capital after a small letter begins a word
    words = re.split(r"[\W_\d]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    found = [_part(word) for word in words if word not in BESIDE]
    return found[0] if len(found) == 1 else None


def parts_in(root: Path) -> dict[Part, list[Path]]:
    """The folders in `root` that are named as parts, sorted; two of one part are both listed."""
    found: dict[Part, list[Path]] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if (part := part_of(folder.name)) is not None:
            found.setdefault(part, []).append(folder)
    return found


def _part(word: str) -> Part | None:
    """The part that one word says, also in the plural or written together with another: `tests`, `trainset`."""
    for part, known in WORDS.items():
        if any(word.removesuffix(end) in known for end in ("", "s", "set", "sets", "data")):
            return part
    return None
