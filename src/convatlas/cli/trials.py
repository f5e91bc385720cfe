"""Common ground of the commands that train many networks: how many at a time, Ctrl-C, and the command that a report
names.
"""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from . import console
from .options import COMMON, COUNT, option

Workers = Annotated[int | None, option(
    "--workers", panel=COMMON, parser=COUNT, help="Trials at the same time, on one thread each; left out: as many "
    "as there are processors. No figure depends on it.")]

Ray = Annotated[str | None, option(
    "--ray", panel=COMMON, metavar="ADDRESS", help="Have the trials done by a Ray cluster, --workers at a time, each "
    "on one processor: auto is the one that this machine belongs to. Its machines must all see the folder.")]


@contextmanager
def interruptible() -> Iterator[None]:
    """Work that the same command goes on with: Ctrl-C says so, and ends with its exit code."""
    try:
        yield
    except KeyboardInterrupt:
        console.plain("interrupted; the same command goes on", to=console.err)
        raise typer.Exit(130) from None


def command() -> str:
    """The command that runs now, as a shell reads it."""
    return shlex.join(["convatlas", *sys.argv[1:]])
