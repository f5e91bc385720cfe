"""The lecture's experiments, one file per experiment, each a function that returns an Experiment. Imports no torch.

A file is found by existing; its function has the file's name, and its docstring is the protocol, written before the
experiment ran.
"""

from functools import cache
from importlib import import_module
from inspect import cleandoc
from pkgutil import iter_modules

from ..errors import ConvatlasError, nearest
from .machinery.plan import Experiment


@cache
def names() -> tuple[str, ...]:
    """Every experiment, in alphabetical order, as the command line writes it: `relu-vs-tanh`."""
    return tuple(sorted(module.name.replace("_", "-") for module in iter_modules(__path__) if not module.ispkg))


def experiment(name: str) -> Experiment:
    """The experiment of that name; an unknown one is a ConvatlasError with the nearest."""
    if name not in names():
        raise ConvatlasError(f"there is no experiment {name!r}"
                             f"{nearest(name, names()) or '; there are ' + ', '.join(names())}")
    word = name.replace("-", "_")
    found: Experiment = getattr(import_module(f"{__name__}.{word}"), word)()
    return found


def about(name: str) -> str:
    """The experiment's docstring: the paper's protocol, what is scaled down, and why."""
    experiment(name)
    return cleandoc(import_module(f"{__name__}.{name.replace('-', '_')}").__doc__ or "")
