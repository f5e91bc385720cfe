"""`convatlas scale search`."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

from .. import console
from ..options import (
    COMMON,
    COUNT,
    DATA,
    DATA_HELP,
    OUTPUT,
    AnyRecipe,
    DataDir,
    Debug,
    DeviceName,
    Download,
    Epochs,
    Sets,
    argument,
    option,
)
from ..trials import Ray, Workers, command, interruptible
from .asking import Yes, agreed

SEARCH = "The search"       # a panel of --help


def search(
    model: Annotated[str, argument("MODEL", "The network that is scaled: a name that [bold]convatlas list[/] shows.")],
    data: Annotated[str, argument("DATA", DATA_HELP)],
    phi: Annotated[float, option("--phi", panel=SEARCH, metavar="φ", show_default=True,
                                 help="Candidates cost 2^φ times as much as the network.")] = 1.0,
    equal: Annotated[Literal["macs", "latency"], option(
        "--equal", panel=SEARCH, show_default=True, help="What that cost is: multiply-adds, or the time of one call of "
        "the deployed network on this machine, measured first, which takes minutes.")] = "macs",
    trials: Annotated[int, option("--trials", panel=SEARCH, parser=COUNT, show_default=True,
                                  help="Candidates: ways to share it among depth, width and resolution.")] = 12,
    seeds: Annotated[int, option("--seeds", panel=SEARCH, parser=COUNT, show_default=True,
                                 help="How often each is trained to be ranked.")] = 3,
    finals: Annotated[int, option(
        "--finals", panel=SEARCH, parser=COUNT, show_default=True, help="How often the best, their rivals and the "
        "network as it is are trained to be judged by the test part, from other seeds.")] = 5,
    best: Annotated[int, option("--best", panel=SEARCH, parser=COUNT, show_default=True,
                                help="Candidates that are judged by the test part.")] = 3,
    epochs: Epochs = None,
    recipe: AnyRecipe = None,
    sets: Sets = None,
    images: Annotated[int | None, option(
        "--images", panel=DATA, parser=COUNT, help="Take so many of the training images, the same for every "
        "trial.")] = None,
    data_dir: DataDir = None,
    download: Download = False,
    device: Annotated[DeviceName | None, option("--device", panel=COMMON, help="Where to compute.")] = None,
    workers: Workers = None,
    ray: Ray = None,
    out: Annotated[Path | None, option(
        "--out", panel=OUTPUT, metavar="DIR", help="The search's folder; left out: searches/MODEL-DATA.")] = None,
    yes: Yes = False,
    debug: Debug = False,
) -> None:
    """Find the ratio in which depth, width and resolution of a network should grow, on your data: candidates of equal
    cost are trained from several seeds and ranked on images held out of the training part, those that fall behind are
    stopped early; the best stand against one dimension alone on the test part, which is touched once. The same command
    goes on after Ctrl-C or a crash; given again meanwhile, also on another machine that sees the folder, it helps.

    [bold]Examples[/]
      convatlas scale search resnet20_cifar fashion-small --epochs 10 --set model.fields.width=0.5
      convatlas scale search mobilenet_v2 photos/ --trials 12 --seeds 3 --epochs 15 --images 2000
      convatlas scale budget mobilenet_v2 --macs 1G --found searches/…
    """
    from ..configuration import configured

    flags = [("model.name", model), ("data.source", data), ("data.data_dir", data_dir),
             ("data.download", download or None), ("train.epochs", epochs), ("train.device", device)]
    run, choice = configured(flags, recipe=recipe, config=None, sets=sets or ())
    where = out or Path("searches") / f"{model}-{Path(data).stem}"      # no date: tomorrow the same command goes on
    with console.loading():
        from ...scale.search import Question
        from ...scale.search import search as searched

    with interruptible():
        question = Question(phi, equal, trials, seeds, best, finals, images)
        found = searched(run, choice, where, question, workers=workers, ray=ray, command=command(), tell=console.plain,
                         agree=lambda sentence: agreed(sentence, yes))
    rule = found.plan.networks[found.chosen].coefficients
    assert rule is not None
    console.out.print(f"[bold green]α = {rule[0]:.3f}, β = {rule[1]:.3f}, γ = {rule[2]:.3f}[/]", soft_wrap=True)
    console.plain(found.noise)
    for each in found.versus:
        console.plain(f"{each}")
    console.plain(f"report   {where / 'report.html'}")
    console.plain(f"go on    convatlas scale apply {shlex.quote(str(where))} --phi 2..4")
