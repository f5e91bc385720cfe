"""`convatlas scale apply`."""

from pathlib import Path
from typing import Annotated

from .. import console
from ..options import COUNT, Debug, argument, option
from ..trials import Ray, Workers, command, interruptible
from .asking import Yes, agreed
from .budget import phis
from .search import SEARCH


def apply(
    found: Annotated[Path, argument("SEARCH", "The folder of a search that has ended.")],
    phi: Annotated[str, option("--phi", panel=SEARCH, metavar="N|N..M", show_default=True,
                               help="The φ to train at, such as 2, 2,3 or 2..4.")] = "2..4",
    seeds: Annotated[int, option("--seeds", panel=SEARCH, parser=COUNT, show_default=True,
                                 help="How often each network is trained.")] = 5,
    workers: Workers = None,
    ray: Ray = None,
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

    with interruptible():
        result = applied(found, steps, seeds=seeds, workers=workers, ray=ray, command=command(),
                         agree=lambda sentence: agreed(sentence, yes), tell=console.plain)
    for each in result.versus:
        console.plain(f"{each}")
    for step in steps:
        console.plain(verdict(result, step))
    console.plain(f"report   {result.plan.folder / 'report.html'}")
