"""Recipes: how a paper trained its network, one file per paper, each a function that returns a Run. Imports no torch.

A file is found by existing; its function has the file's name.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from ..errors import ConvatlasError, nearest
from ..run import Run


@cache
def names() -> tuple[str, ...]:
    """Every recipe, in alphabetical order."""
    return tuple(sorted(module.name for module in iter_modules(__path__)))


def recipe(name: str) -> Run:
    """The Run of that recipe; an unknown name is a ConvatlasError with the nearest ones."""
    if name not in names():
        raise ConvatlasError("there is no recipe "
                             f"{name!r}{nearest(name, names()) or '; there are ' + ', '.join(names())}")
    run: Run = getattr(import_module(f"{__name__}.{name}"), name)()
    return run.change("recipe", name)


def about(name: str) -> str:
    """The recipe's docstring: its source and where it departs from it."""
    recipe(name)
    return (import_module(f"{__name__}.{name}").__doc__ or "").strip()
