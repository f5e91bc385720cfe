"""`convatlas scale apply`."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import console
from ..options import COMMON, COUNT, Debug, argument, option
from .asking import Yes, agreed
from .budget import phis
from .search import SEARCH


def apply(
    found: Annotated[Path, argument("SEARCH", "The folder of a search that has ended.")],
    phi: Annotated[str, option("--phi", panel=SEARCH, metavar="N|N..M", show_default=True,
                               help="The φ to train at, such as 2, 2,3 or 2..4.")] = "2..4",
    seeds: Annotated[int, option("--seeds", panel=SEARCH, parser=COUNT, show_default=True,
                                 help="How often each network is trained.")] = 5,
    workers: Annotated[int | None, option(
        "--workers", panel=COMMON, parser=COUNT, help="Trials at the same time, on one thread each; left out: as many "
        "as there are processors. No figure depends on it.")] = None,
    yes: Yes = False,
    debug: Debug = False,
) -> None:
    """Train the larger networks that a search's ratio gives, beside those of equal cost with one dimension scaled
    alone, and say whether the rule held: on the test part, paired by seed, with intervals. The same command goes on
    after Ctrl-C.

    [bold]Examples[/]
      convatlas scale apply searches/resnet20_cifar-fashion-small --phi 2..4
    """
    steps = phis(phi)
    with console.loading():
        from ...scale.apply import apply as applied
        from ...scale.apply import verdict

    try:
        result = applied(found, steps, seeds=seeds, workers=workers, command=shlex.join(["convatlas", *sys.argv[1:]]),
                         agree=lambda sentence: agreed(sentence, yes), tell=console.plain)
    except KeyboardInterrupt:
        console.plain("interrupted; the same command goes on", to=console.err)
        raise typer.Exit(130) from None
    for each in result.versus:
        console.plain(f"{each}")
    for step in steps:
        console.plain(verdict(result, step))
    console.plain(f"report   {result.plan.folder / 'report.html'}")
