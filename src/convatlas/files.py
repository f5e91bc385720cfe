"""Files and folders: written whole or not at all, their digests and formats, the cache folder, the mark of a deployed
folder, the weights that come along.
"""

import errno
import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import ConvatlasError
from .version import __version__

DEPLOYED = "deploy.json"        # marks a deployed folder, and is written last
ZOO = Path(__file__).with_name("weights") / "zoo"       # weights that come along, and their cards
# what systems put among a user's files, besides names that begin with a dot
SYSTEM = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "$RECYCLE.BIN", "System Volume Information",
                    "lost+found", "__pycache__"})
# kinds of things that a listing leaves out, besides files by their suffix: of one, of several
BARE = ("file without a suffix", "files without a suffix")
HIDDEN_FILE, HIDDEN_FOLDER = ("hidden file", "hidden files"), ("hidden folder", "hidden folders")
EMPTY, CLOSED = ("empty folder", "empty folders"), ("folder that cannot be read", "folders that cannot be read")
LINKED = ("link to a folder", "links to folders")
SPECIAL = ("broken link or special file", "broken links or special files")     # devices, FIFOs and the like
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
Kinds = Counter[str | tuple[str, str]]      # a suffix, or one of the above
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)     # a full disk, a full share of it, a file that may not grow
LONG = 240              # bytes of a file's name, of which systems take 255, from which on none like it is longer


@contextmanager
def writing(path: Path, advice: str = "", errors: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
    """A context that turns what the system says against writing there into a ConvatlasError that ends with `advice`."""
    try:
        yield
    except errors as error:
        why = getattr(error, "strerror", None) or error
        raise ConvatlasError(f"cannot write {str(path)!r}: {why}" + (f"; {advice}" if advice else "")) from error


@contextmanager
def whole_write(path: Path, advice: str = "", *, parents: bool = False, sync: bool = False,
                errors: tuple[type[Exception], ...] = (OSError,)) -> Iterator[Path]:
    """A file beside `path` to be written: it takes its place when the block ends well, and is removed when the block
    fails.

    So `path` holds the old file or the new one, never half of one, however many processes write it at once. `parents`
    makes its folder first, `sync` waits until the disk has the content. Writing that fails with one of `errors` is a
    ConvatlasError that ends with `advice`.
    """
    name = path.name if len(os.fsencode(path.name)) < LONG else "long"
    beside = path.with_name(f".{name}.{os.urandom(4).hex()}")
    with writing(path, advice, errors):
        try:
            if parents:
                path.parent.mkdir(parents=True, exist_ok=True)
            beside.touch(exist_ok=False)
            mode = beside.stat().st_mode        # as the umask says; some libraries make files for their owner alone
            yield beside
            beside.chmod(mode)
            if sync:
                _sync(beside)
            beside.replace(path)
        finally:
            with suppress(OSError):
                beside.unlink()


def put(path: Path, content: str | bytes, advice: str = "", *, parents: bool = False, sync: bool = False) -> Path:
    """Write the content of a file, as `whole_write` does; of a text the UTF-8, in which names of files keep their
    bytes, whatever these are.
    """
    with whole_write(path, advice, parents=parents, sync=sync) as beside:
        beside.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
    return path


@contextmanager
def whole_files(folder: Path, last: str, ours: Collection[str] = (), advice: str = "") -> Iterator[Path]:
    """A folder in `folder` to be filled: its files take their places in `folder` when the block ends well, `last` after
    all others, and it is removed when the block fails.

    So files of one kind that belong together are the old ones or the new ones, and where `last` is, they are whole; in
    between `unfinished` is true. Of `ours`, the names that such files may have, those that are not written anew are
    removed. `folder` is made where it is not there. Writing that fails is a ConvatlasError.
    """
    fresh, absent, moving = folder / _staging(last), not folder.exists(), False
    with writing(folder if ours else folder / last, advice):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(fresh, ignore_errors=True)        # of a killed process
            fresh.mkdir()
            yield fresh
            files = sorted(fresh.iterdir(), key=lambda file: file.name == last)
            for file in files:
                _sync(file)
            gone = [folder / name for name in sorted(set(ours) - {file.name for file in files})]
            moving = True
            if len(files) > 1 or any(map(os.path.lexists, gone)):       # one file alone is replaced in one step
                (folder / last).unlink(missing_ok=True)
            for file in gone:
                file.unlink(missing_ok=True)
            for file in files:
                file.replace(folder / file.name)
            moving = False
        finally:
            if not moving:                  # else it says whose the half of the files is that lies in `folder`
                shutil.rmtree(fresh, ignore_errors=True)
            if absent:
                with suppress(OSError):     # which a folder with files in it is
                    folder.rmdir()


def unfinished(folder: Path, last: str) -> bool:
    """True for a folder in which `whole_files` was killed, or still writes."""
    return (folder / _staging(last)).is_dir()


def leftovers(folder: Path, *names: str) -> list[Path]:
    """The files that a killed `whole_write` of files of these names left in a folder."""
    ours = re.compile(rf"\.({'|'.join(map(re.escape, names))})\.[0-9a-f]{{8}}")
    return [path for path in folder.iterdir() if ours.fullmatch(path.name)]


def vacant(folder: Path, first: str) -> bool:
    """True for a folder in which there is nothing, or only what a killed process left of the file that it wrote
    `first`, which is removed.
    """
    left = leftovers(folder, first)
    if len(left) < len(list(folder.iterdir())):
        return False
    for path in left:
        path.unlink()
    return True


def _staging(last: str) -> str:
    return f".{last}.unfinished"


def _sync(path: Path) -> None:
    """Wait until the disk has the file's content."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def regular(path: Path) -> bool:
    """True for a regular file, or a link to one: whatever else may never end (a device) or never begin (a FIFO)."""
    try:
        return path.is_file()
    except OSError:         # a name that is too long
        return False


def escaped(name: str) -> str:
    """A file's name for what must be UTF-8: a byte that is not, as Python and JSON escape it (`caf\\udce9`)."""
    return name.encode("utf-8", "backslashreplace").decode()


def hidden(name: str) -> bool:
    """True for what a user does not mean: names that begin with a dot, and those of `SYSTEM`."""
    return name.startswith(".") or name in SYSTEM


def listed(folder: Path, suffixes: Collection[str], *, deep: bool = True) -> tuple[list[Path], Kinds]:
    """The regular files in a folder that end in one of `suffixes`, sorted, and what is left out, counted by kind; with
    `deep` at any depth.

    Links to files are followed, those to folders are not. Raises OSError where the folder cannot be read.
    """
    found, left, folders = list[Path](), Kinds(), [folder]
    while folders:
        here = folders.pop()
        try:
            with os.scandir(here) as entries:
                inside = list(entries)
        except OSError:
            if here == folder:
                raise
            left[CLOSED] += 1
            continue
        if not inside and here != folder:
            left[EMPTY] += 1
        for entry in inside:
            # no Path for each entry, which costs more than all the rest; what a link leads to may be out of reach
            suffix, link = os.path.splitext(entry.name)[1].lower(), entry.is_symlink()      # noqa: PTH122
            if os.path.isdir(entry.path) if link else entry.is_dir():                       # noqa: PTH112
                if hidden(entry.name):
                    left[HIDDEN_FOLDER] += 1
                elif link:
                    left[LINKED] += deep
                elif deep:
                    folders.append(here / entry.name)
            elif hidden(entry.name):
                left[HIDDEN_FILE] += 1
            elif not (os.path.isfile(entry.path) if link else entry.is_file()):             # noqa: PTH113
                left[SPECIAL] += 1
            elif suffix in suffixes:
                found.append(here / entry.name)
            else:
                left[suffix or BARE] += 1
    return sorted(found, key=_steps), +left


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, and links to some, sorted; without hidden ones."""
    with os.scandir(folder) as entries:
        return sorted((folder / entry.name for entry in entries if not hidden(entry.name) and (
            os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir())), key=_steps)         # noqa: PTH112


def _steps(path: Path) -> list[str]:
    """The order of paths, which compare step by step: a key spares most of the time that sorting paths takes."""
    return os.path.normcase(path).split(os.sep)         # noqa: PTH206 - .parts would not ignore case on Windows


def in_words(kinds: Mapping[str | tuple[str, str], int]) -> str:
    """Counts by kind: `12 .txt, 1 .heic, 2 hidden folders`, suffixes first, the commonest first."""
    ordered = sorted(kinds.items(), key=lambda each: (isinstance(each[0], tuple), -each[1], each[0]))
    return ", ".join(f"{count} {kind if isinstance(kind, str) else kind[count > 1]}" for kind, count in ordered)


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


def along() -> dict[str, Path]:
    """The files of weights that come along, by network and data, such as lenet5.digits."""
    return {path.stem: path for path in sorted(ZOO.glob("*.safetensors"))}


def shown(text: str) -> str:
    """Text for a terminal: what one would obey instead of showing it (controls, marks that turn the order of writing
    round) as JSON escapes it; line ends and tabs stay.
    """
    return OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
