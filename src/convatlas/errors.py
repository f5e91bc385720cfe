"""ConvatlasError, the one exception that a user can mend, and words of its sentences: nearest names, lists of names."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class ConvatlasError(Exception):
    """Something the user can put right. Its text is one sentence: what was wrong, with which value, what to do.

    The command line prints that sentence and exits with `exit_code`; a traceback appears only with `--debug`.
    """

    exit_code = 2


class DivergedError(ConvatlasError):
    """A loss or a weight that is not finite any more: training stopped."""


def nearest(word: str, known: Iterable[str], count: int = 3) -> str:
    """The end of an error sentence: `; did you mean 'lenet5' or 'alexnet'?`, or the empty string where nothing is near.
    """
    names = list(known)
    found = (get_close_matches(word, names, n=count, cutoff=0.6)
             or [name for name in names if word and word in name][:count])
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""


def installing(extra: str) -> str:
    """The command that installs an extra, for the end of a sentence: from a checkout, for the package is on no index.
    """
    return f"uv pip install -e '.[{extra}]' in a checkout of convatlas"


def some(names: Sequence[str], most: int = 5) -> str:
    """The first names, quoted: `'cat', 'dog' …`."""
    return ", ".join(map(repr, names[:most])) + (" …" if names[most:] else "")


def enumerated(words: Sequence[str]) -> str:
    """Words as a sentence lists them: `1, 4 and 9`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
