"""An evaluation as people are told it: values that the command line draws."""

from dataclasses import dataclass
from typing import NamedTuple


class Line(NamedTuple):
    """`label`, then a figure that stands out, then plain text."""

    label: str
    text: str
    figure: str = ""


class Table(NamedTuple):
    """A header that begins with '>' stands above a column of numbers; a cell that is a number, 0 to 1, is drawn as a
    bar.
    """

    headers: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]


@dataclass(frozen=True)
class Told:
    """The words of `convatlas eval`."""

    head: str                           # how many images, and how fast
    parts: tuple[Line | Table, ...]     # in their order
    skipped: int                        # images that could not be read
    classes: Table                      # a row for each class
    width: int = 6                      # of the labels
