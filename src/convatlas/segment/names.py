"""Names of classes from a file beside the images and masks, matched by colour or number."""

import re
from pathlib import Path

from .reading import Reading

BY_COLOR = ("class_dict.csv", "label_colors.txt", "labelmap.txt")       # a name and red, green, blue on each line
BY_NUMBER = ("classes.txt", "codes.txt")                                # the name of class 0, of class 1, and so on
LARGEST = 2**20         # bytes: no list of names is larger


def named(reading: Reading, root: Path) -> tuple[Reading, tuple[str, ...]]:
    """(reading with the names that a file in `root` gives its classes, a sentence about it); as it is where none does.
    """
    if reading.kind != "classes":
        return reading, ()
    for path in (root / name for name in (BY_COLOR if reading.of == "colors" else BY_NUMBER)):
        if not path.is_file() or path.stat().st_size > LARGEST:
            continue
        lines = [line.strip() for line in path.read_text("utf-8-sig", errors="replace").splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        if reading.of == "colors":
            table = dict(found for line in lines if (found := _colored(line)) is not None)
            names = [next((table[value] for value in own if value in table), None) for own in reading.values]
        else:
            names = [*lines] if len(lines) >= len(reading.classes) else []
        if not any(names):
            return reading, (f"{path.name} does not name the {len(reading.classes)} classes, and is left out.",)
        told = tuple(name or old for name, old in zip(names, reading.classes, strict=False))
        if len(set(told)) < len(told):
            return reading, (f"{path.name} gives two classes one name, and is left out.",)
        return reading.model_copy(update={"classes": told}), (f"The classes are named as in {path.name}: "
                                                              f"{', '.join(told[:8])}{', …' if told[8:] else ''}.",)
    return reading, ()


def _colored(line: str) -> tuple[tuple[int, int, int], str] | None:
    """A colour and its name: `64 128 64 Animal`, `Animal,64,128,64` or `Animal:64,128,64::`."""
    found = re.search(r"(?<![\w.])(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})(?![\w.])", line)
    if found is None or max(map(int, found.groups())) > 255:
        return None
    red, green, blue = map(int, found.groups())
    name = re.sub(r"^[\s,:;]+|[\s,:;]+$", "", line[: found.start()] + " " + line[found.end() :])
    return ((red, green, blue), name) if name else None
