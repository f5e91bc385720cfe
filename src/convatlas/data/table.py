"""`labels.csv`: images with any number of labels each, as a table of the files beside it.

Two forms: `file,label` with the labels of an image separated by semicolons, or one column of 0 and 1 per class:

    file,label                  file,cat,dog
    1.jpg,cat;dog               1.jpg,1,1
    deep/2.jpg,                 deep/2.jpg,0,0
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ConvatlasError, nearest

TABLE = "labels.csv"


@dataclass(frozen=True)
class Table:
    """The contents of a labels.csv."""

    path: Path
    classes: tuple[str, ...]            # of the header, or sorted
    files: tuple[Path, ...]
    named: tuple[frozenset[str], ...]   # the labels of each

    def labels(self, classes: Sequence[str]) -> Tensor:
        """0 and 1 for each class, float32 (N, K); a label that is none of them is a ConvatlasError."""
        unknown = sorted({*self.classes} - {*classes})
        if unknown:
            raise ConvatlasError(f"{str(self.path)!r} has labels that the training images lack: "
                                 f"{', '.join(map(repr, unknown))}{nearest(unknown[0], classes)}")
        return torch.tensor([[float(label in own) for label in classes] for own in self.named])


def read_table(path: Path) -> Table:
    """Read and check a labels.csv; its files must be there. ConvatlasErrors name the line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text)
            header, rows = next(reader, []), [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConvatlasError(f"cannot read {str(path)!r}: {error}") from error
    columns = tuple(each.strip() for each in header)
    if len(columns) < 2 or columns[0] != "file" or len({*columns}) != len(columns) or "" in columns:
        raise ConvatlasError(f"{str(path)!r} begins with {','.join(header)!r}; expected is 'file,label', "
                             "with several labels separated by ';', or 'file,cat,dog' with 0 or 1 for each class")
    by_name = columns[1:] == ("label",)
    files: dict[Path, frozenset[str]] = {}
    for line, row in rows:
        where = f"{str(path)!r}, line {line}"
        if len(row) != len(columns):
            raise ConvatlasError(f"{where} has {len(row)} fields, but the header has {len(columns)}")
        file, cells = path.parent / row[0].strip(), [each.strip() for each in row[1:]]
        if not file.is_file():
            raise ConvatlasError(f"{where}: there is no file {str(file)!r}")
        if file in files:
            raise ConvatlasError(f"{where}: {row[0]!r} comes a second time; give all its labels in one line")
        if not by_name and not {*cells} <= {"0", "1"}:
            raise ConvatlasError(f"{where} holds {', '.join(sorted({*cells} - {'0', '1'}))!r}; each class has 0 or 1")
        names = (cells[0].split(";") if by_name
                 else [name for name, cell in zip(columns[1:], cells, strict=True) if cell == "1"])
        files[file] = frozenset(name.strip() for name in names if name.strip())
    classes = tuple(sorted(frozenset().union(*files.values()))) if by_name else columns[1:]
    if not files or not classes:
        raise ConvatlasError(f"{str(path)!r} names no {'label' if files else 'image'}")
    return Table(path, classes, tuple(files), tuple(files.values()))
