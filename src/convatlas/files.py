"""Files and folders: written whole or not at all, their digests and formats, the cache folder, the mark of a deployed
folder.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import ConvatlasError
from .version import __version__

DEPLOYED = "deploy.json"        # marks a deployed folder, and is written last


@contextmanager
def whole_write(path: Path, advice: str = "", *, parents: bool = False, sync: bool = False,
                errors: tuple[type[Exception], ...] = (OSError,)) -> Iterator[Path]:
    """A file beside `path` to be written: it takes its place when the block ends well, and is removed when the block
    fails.

    So `path` holds the old file or the new one, never half of one, however many processes write it at once. `parents`
    makes its folder first, `sync` waits until the disk has the content. Writing that fails with one of `errors` is a
    ConvatlasError that ends with `advice`.
    """
    beside = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        beside.touch(exist_ok=False)
        mode = beside.stat().st_mode        # as the umask says; some libraries make files that nobody else may read
        yield beside
        beside.chmod(mode)
        if sync:
            with beside.open("r+b") as file:
                os.fsync(file.fileno())
        beside.replace(path)
    except errors as error:
        why = getattr(error, "strerror", None) or error
        raise ConvatlasError(f"cannot write {str(path)!r}: {why}" + (f"; {advice}" if advice else "")) from error
    finally:
        with suppress(OSError):
            beside.unlink()


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_format(found: object, known: int, where: str) -> None:
    """Refuse what a newer convatlas wrote: `found` is the format that a file or folder names; None, in the oldest ones,
    stands for 1.
    """
    if found is not None and (not isinstance(found, int) or found > known):
        raise ConvatlasError(f"{where} has format {found!r}, and convatlas {__version__} reads formats up to {known}: "
                             "update convatlas")


def cache_dir() -> Path:
    """The user's folder for data sets that were downloaded without a `data_dir`, for compiled kernels and for what was
    measured.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "convatlas"


def is_deployed(folder: str | Path) -> bool:
    """True for a folder that `convatlas deploy` wrote."""
    return (Path(folder).expanduser() / DEPLOYED).is_file()


def regular(path: Path) -> bool:
    """True for a regular file, or a link to one: whatever else may never end (a device) or never begin (a FIFO)."""
    return path.is_file()
