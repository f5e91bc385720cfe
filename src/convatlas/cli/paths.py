"""The paths a user types: saved networks and pictures."""

import glob
from collections.abc import Iterable
from pathlib import Path

from ..errors import ConvatlasError, nearest
from ..files import along


def saved(path: Path) -> Path:
    """`path` if something is there: a run folder, a .safetensors file, a deployed folder; or weights that come along,
    such as lenet5.digits.
    """
    if not path.exists() and str(path) not in along():
        beside = [str(other) for other in path.parent.iterdir()] if path.parent.is_dir() else []
        runs = [str(folder) for folder in Path("runs").iterdir()] if Path("runs").is_dir() else []
        hint = nearest(str(path), dict.fromkeys([*beside, *runs, *along()])) or "; `convatlas train` makes one"
        raise ConvatlasError(f"there is no run folder, .safetensors file or deployed folder {str(path)!r}{hint}")
    return path


def pictures(words: Iterable[str]) -> list[str]:
    """Files as they are, folders as the images in them at any depth, patterns (in quotes) as what they match.

    Of a folder, hidden files and folders are left out, and what is no picture: a note counts them.
    """
    from ..files import in_words, listed
    from ..pixels import SUFFIXES  # and with it NumPy
    from . import console

    found: list[str] = []
    for word in words:
        path = Path(word)
        if path.is_dir():
            try:
                inside, left = listed(path, SUFFIXES)
            except OSError as error:
                raise ConvatlasError(f"cannot read the folder {word!r}: {error.strerror or error}") from error
            if not inside:
                raise ConvatlasError(f"the folder {word!r} has no images ({', '.join(sorted(SUFFIXES))})")
            if left:
                console.plain(f"Left out of {word}: {in_words(left)}.", to=console.err)
            found += sorted(map(str, inside))
        elif not path.exists() and glob.has_magic(word):
            matched = sorted(glob.glob(word, recursive=True))     # noqa: PTH207 - Path.glob refuses absolute patterns
            if not matched:
                raise ConvatlasError(f"no file matches {word!r}")
            found += matched
        else:
            found.append(word)
    return found


def told(notes: Iterable[Iterable[str]]) -> list[str]:
    """Sentences about pictures of which not all is shown, each with their number; `notes` are keys of pixels.NOTES."""
    from ..pixels import NOTES  # and with it NumPy

    each = [tuple(keys) for keys in notes]
    counts = {key: sum(key in keys for keys in each) for key in NOTES}
    return [f"{count} of {len(each)} images {NOTES[key]}" for key, count in counts.items() if count]
