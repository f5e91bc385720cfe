"""The manifest of a run's data: layout, classes and masks as training understood them, and every file with its part.

    data.json        layout, classes, the reading of masks; of each part the number of images and a digest
    images.csv.gz    part, class, bytes, digest and name of each file; absent where the data is no folder of files

Training writes both into the run folder, `deploy` copies them. Whoever opens the data again (`eval`, `--resume`,
`inspect predictions`) goes by them, whatever the folder holds by then. Imports no torch.
"""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, ValidationError

from ..errors import ConvatlasError
from ..files import check_format, put
from ..run import Record
from .folder import CONFIG, IMAGES, MANIFEST, WEIGHTS

FORMAT = 1
LONGEST = 2**26             # bytes of data.json


class Entry(NamedTuple):
    """One image: its file, and the masks that belong to it."""

    part: str               # train, val
    label: str              # its class; several with ';' between them; empty for an image with masks
    size: int               # bytes of all its files
    digest: str             # of their bytes, 16 hex digits for the image and 16 for its masks; empty in large sets
    name: str               # below the data's folder


HEAD = ("part", "class", "bytes", "digest", "name")


class Part(Record):
    """The images of one part."""

    images: int
    digest: str


class Manifest(Record):
    """The contents of data.json."""

    format: int = FORMAT
    source: str                             # as the run names it
    place: str | None = None                # the folder or file, absolute; None: no path, or not to be told
    name: str
    layout: str = ""
    parted: bool = False                    # the parts are the data's own
    classes: tuple[str, ...] = ()
    masks: dict[str, Any] | None = None     # `segment.reading.Reading`
    val_fraction: float
    seed: int
    parts: dict[str, Part] = Field({})


@dataclass(frozen=True)
class Kept:
    """The manifest in a folder."""

    folder: Path
    manifest: Manifest

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """All images; none where the data is no folder of files. Raises ConvatlasError for a damaged list."""
        path, most = self.folder / IMAGES, sum(part.images for part in self.manifest.parts.values())
        if not path.is_file():
            return ()
        try:
            with gzip.open(path, "rt", encoding="utf-8", errors="surrogateescape", newline="") as text:
                rows = list(islice(csv.reader(text), most + 2))
            found = tuple(Entry(part, label, int(size), digest, name) for part, label, size, digest, name in rows[1:])
        except (OSError, EOFError, ValueError, csv.Error) as error:
            raise ConvatlasError(f"the list of the run's images {str(path)!r} cannot be read: {error}") from error
        if len(found) != most:
            raise ConvatlasError(f"{str(path)!r} does not list the {most} images that {MANIFEST} beside it counts")
        return found

    def part(self, name: str) -> list[Entry]:
        """The images of one part."""
        return [entry for entry in self.entries if entry.part == name]


def kept(path: str | Path) -> Kept | None:
    """The manifest of what a user names: a run folder, the weights in it, a deployed folder; None where there is
    none.
    """
    folder = run_folder(path)
    where = folder / MANIFEST
    if not where.is_file():
        return None
    try:
        if where.stat().st_size > LONGEST:
            raise ValueError(f"it is longer than {LONGEST} bytes")
        plain = json.loads(where.read_text(encoding="utf-8"))
        check_format(plain.get("format"), FORMAT, repr(str(where)))
        return Kept(folder, Manifest.model_validate(plain))
    except (OSError, ValueError, AttributeError, RecursionError, ValidationError) as error:
        raise ConvatlasError(f"the run's manifest {str(where)!r} cannot be read: {' '.join(str(error).split())}; "
                             "without it nobody knows which images were held out") from error


def run_folder(path: str | Path) -> Path:
    """The run folder that weights lie in; any other path as it is."""
    path = Path(path).expanduser()
    return path.parent if path.name == WEIGHTS and (path.parent / CONFIG).is_file() else path


def write(folder: Path, manifest: Manifest, entries: Sequence[Entry]) -> None:
    """Both files, each whole or not at all; data.json last."""
    if entries:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([HEAD, *entries])
        put(folder / IMAGES, gzip.compress(text.getvalue().encode("utf-8", "surrogateescape"), 6, mtime=0))
    put(folder / MANIFEST, json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n")


def copy(source: str | Path | None, folder: Path) -> None:
    """Both files of a run or deployed folder, where it has them, for a deployed folder, which may leave this machine:
    without the place of the data.
    """
    if source is not None and (found := kept(source)) is not None:
        write(folder, found.manifest.model_copy(update={"place": None}), found.entries)
