"""`convatlas scale baseline`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ...errors import ConvatlasError
from .. import console
from ..options import (
    COMMON,
    COUNT,
    DATA,
    DATA_HELP,
    NATURAL,
    OUTPUT,
    REAL,
    TRAINING,
    AnyRecipe,
    DataDir,
    Debug,
    Download,
    Sets,
    argument,
    option,
)
from ..trials import command, interruptible
from .asking import Yes, agreed
from .common import BUDGET, LatencyBudget, Macs

if TYPE_CHECKING:
    from ...scale.baseline_plan import Asked, Plan
    from ...scale.baseline_rivals import Compared


def baseline(
    data: Annotated[str, argument("DATA", DATA_HELP)],
    macs: Macs = None,
    latency: LatencyBudget = None,
    minutes: Annotated[float, option("--minutes", panel=BUDGET, metavar="M", parser=REAL, show_default=True,
                                     help="Time for the search; the comparison comes on top.")] = 30.0,
    seeds: Annotated[int, option(
        "--seeds", panel=TRAINING, parser=NATURAL, show_default=True,
        help="How often what is found and its rivals are trained for the comparison; 0: no comparison.")] = 5,
    epochs: Annotated[int | None, option(
        "--epochs", panel=TRAINING, parser=COUNT, help="Of a full training; left out: as the recipe says.")
    ] = None,
    recipe: AnyRecipe = None,
    sets: Sets = None,
    image_size: Annotated[str | None, option(
        "--image-size", panel=DATA, metavar="N|HxW",
        help="Pixels of the network's input; left out: the pictures' own, 224 at most.")] = None,
    images: Annotated[int | None, option(
        "--images", panel=DATA, parser=COUNT, help="Take so many of the training images, alike of every class.")
    ] = None,
    data_dir: DataDir = None,
    download: Download = False,
    workers: Annotated[int | None, option(
        "--workers", panel=COMMON, parser=COUNT, help="Trials at the same time, on one thread each; left out: as many "
        "as there are processors.")] = None,
    out: Annotated[Path | None, option(
        "--out", panel=OUTPUT, metavar="DIR", help="Where the search lies; left out: searches/baseline-DATA-TARGET.")
    ] = None,
    yes: Yes = False,
    debug: Debug = False,
) -> None:
    """Find a small network for your data by search, as EfficientNet-B0 was found: the rows of its table are varied
    (kernel, expansion, channels, layers, squeeze-and-excitation) by regularised evolution towards MnasNet's objective,
    accuracy · (cost / target)^-0.07, each judged after one epoch; the best few are trained in full, and what is found
    is compared with EfficientNet-B0 scaled down to the same cost. It is written as network.yaml, which stands wherever
    a network's name does. The same command goes on after Ctrl-C.

    [bold]Examples[/]
      convatlas scale baseline fashion-small --macs 2M --minutes 30 --epochs 16
      convatlas scale baseline photos/ --latency 5ms --minutes 600 --seeds 3
      convatlas train searches/baseline-photos-5ms/network.yaml photos/
    """
    from ..configuration import configured
    from ..configuration import image_size as size

    if (macs is None) == (latency is None):
        raise ConvatlasError("a search has one target: give --macs, such as 50M, or --latency, such as 5ms")
    if not 0 < minutes < float("inf"):
        raise ConvatlasError(f"--minutes {minutes:g} is refused: it must be more than 0")
    if seeds == 1:
        raise ConvatlasError("--seeds 1 is too few: without 2 there is no interval; 0 leaves the comparison out")
    target, word = (macs or 0, f"{(macs or 0) / 1e6:g}M") if latency is None else (latency, f"{1000 * latency:g}ms")
    where = out or Path("searches") / f"baseline-{Path(data).stem}-{word}"
    flags = [("model.name", "efficientnet_b0"), ("model.fields.image_size", size(image_size)), ("data.source", data),
             ("data.data_dir", data_dir), ("data.download", download or None), ("train.epochs", epochs)]
    run, choice = configured(flags, recipe=recipe, config=None, sets=sets or ())
    with console.loading():
        from ...scale.baseline import PROXY
        from ...scale.baseline_plan import Asked, planned
        from ...trials import processes

    asked = Asked(run, choice, "macs" if latency is None else "latency", target, minutes, seeds, images)
    many, begun = processes() if workers is None else workers, (where / PROXY).is_dir()
    with interruptible():
        plan = planned(asked, where, many, console.plain)
        if not agreed(plan.words(many), yes or begun):
            raise typer.Exit(1)
        _found(plan, asked, where, many, data)


def _found(plan: "Plan", asked: "Asked", where: Path, workers: int, data: str) -> None:
    from ...scale.baseline import search
    from ...scale.baseline_page import REPORT, leave
    from ...scale.baseline_rivals import compared

    searched = search(plan, where, workers, console.plain)
    against: Compared | None = None
    if plan.seeds:
        against = compared(plan, searched.spec, asked, where, workers, console.plain)
    network = leave(where, data, plan, searched, against, command())
    accuracy = searched.full[searched.chosen][1].accuracy
    lines = [f"[bold green]{100 * accuracy:.2f} %[/] of the search part: {plan.price.words(searched.spec)}"
             + (", the start itself" if searched.spec == plan.start else "")]
    lines += [escape(rival.sentence) for rival in (against.rivals if against else ())]
    lines += [f"network  {escape(str(network))}", f"report   {escape(str(where / REPORT))}",
              f"train    convatlas train {escape(shlex.quote(str(network)))} {escape(shlex.quote(data))}"]
    for line in lines:
        console.out.print(line, soft_wrap=True)
