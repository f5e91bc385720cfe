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
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, ValidationError

from .. import bounded
from ..errors import ConvatlasError
from ..files import check_format, put
from ..run import Record
from .folder import CONFIG, IMAGES, MANIFEST, WEIGHTS

FORMAT = 1
LINE, RATIO = 2**13, 100    # bytes of one image's line, and by how much lines of names shrink, both at most


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

    images: int = Field(ge=0, lt=2**32)
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
            longest = min(most * LINE, RATIO * path.stat().st_size) + LINE
            text = bounded.unpacked(path, longest + 1).decode("utf-8", "surrogateescape")
            if len(text) > longest or not text.endswith("\n"):
                raise ValueError(f"it is cut short, or unfolds to more than {longest:,} bytes")
            rows = list(islice(csv.reader(io.StringIO(text, newline="")), most + 2))
            found = tuple(Entry(part, label, int(size), digest, name) for part, label, size, digest, name in rows[1:])
        except (OSError, ValueError, zlib.error, csv.Error) as error:
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
        plain = bounded.read_json(where)
        check_format(plain.get("format"), FORMAT, repr(str(where)))
        return Kept(folder, Manifest.model_validate(plain))
    except (OSError, ValueError, AttributeError, ValidationError) as error:
        raise ConvatlasError(f"the run's manifest {str(where)!r} cannot be read: {' '.join(str(error).split())[:300]}; "
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
