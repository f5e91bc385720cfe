"""The question before long work: what it will cost, and whether to go on."""

import sys
from typing import Annotated

import typer

from .. import console
from ..options import COMMON, switch

Yes = Annotated[bool, switch("--yes", panel=COMMON, help="Begin without asking whether it may take so long.")]


def agreed(sentence: str, yes: bool) -> bool:
    """Tell what it will cost, and ask, unless `yes`; where nobody can answer, the way to say so beforehand is told."""
    console.plain(f"{sentence}.")
    if yes:
        return True
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody can be asked here whether to begin: say so beforehand", param_hint="--yes")
    return typer.confirm("Begin?", default=True)
