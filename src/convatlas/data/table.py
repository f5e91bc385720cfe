"""Tables of images and their labels, such as `labels.csv`, as people, spreadsheets and competitions write them.

    file,label          file,cat,dog        image_id;breed      ,Filename,Class,Split
    1.jpg,cat;dog       1.jpg,1,1           0001;beagle         0,a/1.jpg,cat,train
    deep/2.jpg,         deep/2.jpg,0,0      0002;poodle         1,a/2.jpg,dog,test

One column names the files, another their labels (several are separated by `;` or `|`), or there is a column of 0 and 1
for each class. A column of parts is followed; what else there is, is left out and told.
"""

import codecs
import csv
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ConvatlasError, nearest
from ..files import listed, regular
from ..pixels import SUFFIXES
from .parts import BESIDE, Part, part_of

TABLE = "labels.csv"
SIGNS = ",;\t|"         # that separate columns
LARGEST = 1 << 29       # bytes of a table
LINE = 2**20            # bytes of a line: 20 000 classes in the header take a fifth of it

# names of columns in small letters, without blanks and signs; of several that are there, the first here is taken
FILE = ("file", "filename", "filepath", "path", "filenames", "files", "image", "imagepath", "imagefile", "imagename",
        "img", "imgpath", "imgname", "picture", "photo", "imageid", "imgid", "id", "idcode", "name")
LABEL = ("label", "labels", "class", "classname", "category", "categoryname", "target", "tag", "tags", "classes", "y",
         "species", "breed", "diagnosis", "labelid", "classid", "categoryid")
PART = ("split", "part", "set", "subset", "partition", "phase", "usage", "dataset")
# what stands beside a part in the name of a table: train_labels.csv
WORDS = BESIDE | {"labels", "label", "annotations", "annotation", "classes", "metadata", "meta", "df", "list"}


@dataclass(frozen=True)
class Table:
    """The contents of a table."""

    path: Path
    classes: tuple[str, ...]            # of the header, or sorted
    files: tuple[Path, ...]
    named: tuple[frozenset[str], ...]   # the labels of each
    parts: tuple[Part, ...] = ()        # of each, where a column says it
    notes: tuple[str, ...] = ()         # of what is read otherwise than it stands

    @property
    def single(self) -> bool:
        """True where every file has exactly one label."""
        return all(len(own) == 1 for own in self.named)

    def labels(self, classes: Sequence[str], single: bool) -> Tensor:
        """Class numbers, int64 (N,), or 0 and 1 for each class, float32 (N, K); a label that is none of `classes` is a
        ConvatlasError.
        """
        unknown = sorted({*self.classes} - {*classes})
        if unknown:
            raise ConvatlasError(f"{str(self.path)!r} has labels that the training images lack: "
                                 f"{', '.join(map(repr, unknown))}{nearest(unknown[0], classes)}")
        if not single:
            return torch.tensor([[float(label in own) for label in classes] for own in self.named])
        places = {label: number for number, label in enumerate(classes)}
        return torch.tensor([places[label] for own in self.named for label in own], dtype=torch.int64)

    def by_part(self) -> dict[Part, "Table"]:
        """The rows of each part; without a column of parts, all of them are to be learnt from."""
        rows = {part: [row for row, each in enumerate(self.parts) if each == part]
                for part in dict.fromkeys(self.parts)}
        return {part: replace(self, files=tuple(self.files[row] for row in chosen), parts=(),
                              named=tuple(self.named[row] for row in chosen))
                for part, chosen in rows.items()} or {"train": self}


def part_of_table(path: Path) -> Part | None:
    """The part that a table's name says: `train.csv`, `Test_labels.csv`."""
    return part_of(path.stem, WORDS)


def tables(folder: Path) -> list[Path]:
    """The tables in a folder that can be meant, sorted: of those with an understood header, whose first file is there.
    """
    return [path for path in listed(folder, {".csv", ".tsv"}, deep=False)[0] if _usable(path)]


def _usable(path: Path) -> bool:
    try:
        text = _Text.of(path)
        columns, (_, row) = _Columns.of(text, path), text.rows[0]
        return _Finder(path.parent, text.loose).file(row[columns.file], part_of_table(path)) is not None
    except (ConvatlasError, IndexError):
        return False


def read_table(path: Path) -> Table:
    """Read and check a table; its files must be there. ConvatlasErrors name the line."""
    text = _Text.of(path)
    columns, finder, files, parts = _Columns.of(text, path), _Finder(path.parent, text.loose), {}, list[Part]()
    for line, row in text.rows:
        where = f"{str(path)!r}, line {line}"
        if len(row) != len(text.header):
            raise ConvatlasError(f"{where} has {len(row)} fields, but the header has {len(text.header)}")
        part = part_of_table(path) if columns.part is None else part_of(row[columns.part])
        if columns.part is not None:
            if part is None:
                raise ConvatlasError(f"{where}: the column {text.header[columns.part]!r} holds {row[columns.part]!r}, "
                                     "which is neither train, val nor test")
            parts.append(part)
        file, cells = finder.file(row[columns.file], part), [row[place] for place in columns.labels]
        if file is None:
            raise ConvatlasError(f"{where}: there is no file {str(path.parent / row[columns.file])!r}")
        if file in files:
            raise ConvatlasError(f"{where}: {row[columns.file]!r} comes a second time; give all its labels in one line")
        if not columns.by_name and not {*cells} <= {"0", "1"}:
            raise ConvatlasError(f"{where} holds {', '.join(sorted({*cells} - {'0', '1'}))!r}; each class has 0 or 1, "
                                 "unless one column is called 'label'")
        names = (re.split(r"[;|]", cells[0]) if columns.by_name else
                 [text.header[place] for place, cell in zip(columns.labels, cells, strict=True) if cell == "1"])
        files[file] = frozenset(name.strip() for name in names if name.strip())
    classes = (tuple(sorted(frozenset().union(*files.values()))) if columns.by_name
               else tuple(text.header[place] for place in columns.labels))
    if not files or not classes:
        raise ConvatlasError(f"{str(path)!r} names no {'label' if files else 'image'}")
    return Table(path, classes, tuple(files), tuple(files.values()), tuple(parts),
                 tuple(_told(path, text, columns, finder)))


def _told(path: Path, text: "_Text", columns: "_Columns", finder: "_Finder") -> Iterator[str]:
    named = [text.header[columns.file], *(text.header[place] for place in columns.labels if columns.by_name)]
    if named not in (["file", "label"], ["file"]):
        yield (f"In {path} the column {named[0]!r} names the files"
               + (f", {named[1]!r} their labels." if named[1:] else "."))
    if columns.left_out:
        yield f"Left out of {path}: the columns {', '.join(repr(name or '(no name)') for name in columns.left_out)}."
    if text.loose:
        yield f"{path} is not UTF-8: it is read as Windows-1252."
    if finder.searched:
        yield f"Files of {path} are found by their names below {path.parent}."


@dataclass(frozen=True)
class _Text:
    """A table as text: blanks around cells and empty lines are left out."""

    header: tuple[str, ...]
    rows: list[tuple[int, list[str]]]       # with the numbers of their lines
    loose: bool                             # in Windows' encoding, since it is not UTF-8

    @classmethod
    def of(cls, path: Path) -> "_Text":
        try:
            if not regular(path) or path.stat().st_size > LARGEST:
                raise ConvatlasError(f"there is no table {str(path)!r}, or none of at most {LARGEST >> 20} MB")
            content = path.read_bytes()
            if any(len(line) > LINE for line in io.BytesIO(content)):
                raise ConvatlasError(f"{str(path)!r} is no table: it has a line of more than {LINE >> 10} KiB")
            encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
            try:
                text, loose = content.decode(encoding), False
            except UnicodeDecodeError:
                if encoding == "utf-16":
                    raise
                text, loose = content.decode("cp1252"), True
            head = text[:2**16].partition("\n")[0]
            del text            # the lines are decoded one by one, which takes a quarter of the memory
            sign = max(SIGNS, key=lambda each: len(next(csv.reader([head], delimiter=each), [])))
            reader = csv.reader(io.TextIOWrapper(io.BytesIO(content), "cp1252" if loose else encoding, newline=""),
                                delimiter=sign)
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ConvatlasError(f"cannot read {str(path)!r}: {error}") from error
        filled = [(number, row) for number, row in lines if any(row)]
        return cls(tuple(filled[0][1]) if filled else (), filled[1:], loose)


@dataclass(frozen=True)
class _Columns:
    """The places of a table's columns."""

    file: int
    labels: tuple[int, ...]     # one of names of labels, or several of 0 and 1, one for each class
    part: int | None
    left_out: tuple[str, ...]   # names of the others, where they are not empty

    @property
    def by_name(self) -> bool:
        """True for a column of names of labels; one of 0 and 1 alone is too: it has two classes."""
        return len(self.labels) == 1

    @classmethod
    def of(cls, text: _Text, path: Path) -> "_Columns":
        plain = [re.sub(r"[\W_]", "", name.lower()) for name in text.header]
        named = [name for name in text.header if name]
        file, part, label = (next((plain.index(word) for word in words if word in plain), None)
                             for words in (FILE, PART, LABEL))
        if part is not None and not any(part_of(row[part]) for _, row in text.rows if len(row) > part):
            part = None
        nameless = [place for place, name in enumerate(plain) if not name or name.startswith("unnamed")]
        rest = [place for place in range(len(plain)) if place not in (file, part, *nameless)]
        if file is None or not rest or len({*named}) != len(named):
            raise ConvatlasError(f"{str(path)!r} begins with {','.join(text.header)!r}; expected is 'file,label', with "
                                 "several labels separated by ';', or 'file,cat,dog' with 0 or 1 for each class")
        labels = rest if label is None else [label]
        left_out = [text.header[place] for place in sorted({*nameless, *rest} - {*labels})
                    if any(row[place] for _, row in text.rows if len(row) > place)]
        return cls(file, tuple(labels), part, tuple(left_out))


class _Finder:
    """The files that a table in `folder` names: as they stand there, else by their names anywhere below."""

    def __init__(self, folder: Path, loose: bool):
        self.folder, self.loose = folder, loose
        self.searched = False       # some were found by their names only

    @cached_property
    def _below(self) -> Mapping[str, list[tuple[Path, frozenset[Part]]]]:
        """All images below the folder, with the parts that their folders are named as, by name and by stem."""
        found = defaultdict[str, list[tuple[Path, frozenset[Part]]]](list)
        parts = dict[str, frozenset[Part]]()
        for path in listed(self.folder, SUFFIXES)[0]:
            above, _, name = str(path).rpartition(os.sep)
            if above not in parts:
                steps = Path(above).relative_to(self.folder).parts
                parts[above] = frozenset(part for step in steps if (part := part_of(step)) is not None)
            for key in {name, name.rpartition(".")[0]}:
                found[key].append((path, parts[above]))
        return found

    def file(self, name: str, part: Part | None) -> Path | None:
        """The file of that name; of several in folders of different parts, that of `part`. ConvatlasError where several
        remain.
        """
        spelled = dict.fromkeys([name, name.replace("\\", "/")])
        if self.loose:
            spelled |= {os.fsdecode(each.encode("cp1252")): None for each in spelled}
        for each in spelled:
            if regular(path := self.folder / each):
                return path
        for each in spelled:
            *above, last = each.removeprefix("./").split("/")
            hits = [(path, parts) for path, parts in self._below.get(last, ())
                    if not above or [*path.parts[-1 - len(above) : -1]] == above]
            if part is not None:
                hits = [hit for hit in hits if part in hit[1]] or [hit for hit in hits if not hit[1]]
            if len(hits) > 1:
                raise ConvatlasError(f"{name!r} may be {str(hits[0][0])!r} or {str(hits[1][0])!r}: give the path from "
                                     f"{str(self.folder)!r} on")
            if hits:
                self.searched = True
                return hits[0][0]
        return None
