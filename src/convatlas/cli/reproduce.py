"""`convatlas reproduce`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from ..errors import ConvatlasError
from . import console
from .options import COMMON, COUNT, DATA, DATA_HELP, OUTPUT, DataDir, Debug, Download, argument, option, switch
from .trials import Workers, interruptible

if TYPE_CHECKING:
    from ..experiments.machinery.reproduce import Reproduced

COLORS = {"holds": "green", "does not hold here": "red", "too small to tell": "yellow"}
SIZE = "Size"


def reproduce(
    name: Annotated[str | None, argument("NAME", "An experiment that [bold]--list[/] shows.")] = None,
    listed: Annotated[bool, switch("--list", panel=COMMON, help="List the experiments.")] = False,
    every: Annotated[bool, switch("--all", panel=COMMON, help="All experiments, one after another.")] = False,
    quick: Annotated[bool, switch(
        "--quick", panel=SIZE, help="In minutes, on data that comes along; so also where no --data is named.")] = False,
    full: Annotated[bool, switch("--full", panel=SIZE, help="As published, for a GPU.")] = False,
    data: Annotated[str | None, option("--data", panel=DATA, metavar="DATA", help=DATA_HELP)] = None,
    data_dir: DataDir = None,
    download: Download = False,
    seeds: Annotated[int | None, option(
        "--seeds", panel=SIZE, parser=COUNT, help="How often each arm is trained; left out: as the protocol "
        "says.")] = None,
    workers: Workers = None,
    out: Annotated[Path, option(
        "--out", panel=OUTPUT, metavar="DIR", show_default=True,
        help="Where results go: DIR/NAME, of larger sizes DIR/NAME-standard and DIR/NAME-full.")
    ] = Path("reproductions"),
    json: Annotated[bool, switch("--json", panel=OUTPUT, help="With [bold]--list[/]: one JSON document and nothing "
                                 "else. What an experiment finds is in DIR/NAME/results.json.")] = False,
    debug: Debug = False,
) -> None:
    """Run an experiment of the papers again: networks that differ in one idea, each trained from several seeds,
    compared in pairs, with an interval, a verdict, and the picture that the paper drew. The same command goes on after
    Ctrl-C.

    [bold]Examples[/]
      convatlas reproduce --list
      convatlas reproduce relu-vs-tanh
      convatlas reproduce degradation --data cifar10 --data-dir data
      convatlas reproduce --all --quick
    """
    from ..experiments import names

    if quick and full:
        raise typer.BadParameter("--quick and --full exclude each other", param_hint="--full")
    if json and not listed:
        raise typer.BadParameter("it goes with --list; what an experiment finds is written to DIR/NAME/results.json",
                                 param_hint="--json")
    if listed:
        _list(json)
        return
    if (name is None) != every:
        raise typer.BadParameter("name an experiment, or --all; --list shows them", param_hint="NAME")
    size: Literal["quick", "full"] | None = "quick" if quick else "full" if full else None
    with console.loading():
        from ..experiments.machinery.page import overview, place
        from ..experiments.machinery.reproduce import planned
        from ..experiments.machinery.reproduce import reproduce as again

    for each in names() if every else [str(name)]:
        try:
            found, protocol, used = planned(each, size, data)
        except ConvatlasError as error:
            if not every:
                raise
            console.warn(f"left out: {error}")
            continue
        trials = len(protocol.arms) * (seeds or protocol.seeds)
        console.out.print(f"[bold]{escape(found.title)}[/]  [bright_black]{escape(found.paper)}[/]", soft_wrap=True)
        console.plain(f"{used}: {len(protocol.arms)} arms, {trials} trials; about {protocol.minutes:g} min on two "
                      "cores")
        told(partial(again, each, place(out, each, used), size=size, data=data, seeds=seeds, workers=workers,
                     data_dir=data_dir, download=download, tell=console.plain))
    if every:
        console.plain(f"all      {overview(out)}")


def told(conduct: Callable[[], "Reproduced"]) -> None:
    """Conduct an experiment and tell its verdicts; an interrupted one is gone on with by the same command."""
    with interruptible():
        done = conduct()
    for verdict in done.verdicts:
        console.out.print(f"[{COLORS[verdict.word]}]{verdict.word}[/]  {escape(verdict.text)}: effect "
                          f"{escape(verdict.sentence)}", soft_wrap=True)
    console.plain(f"report   {done.folder / 'report.html'}")


def _list(json: bool) -> None:
    from ..experiments import experiment, names

    if json:
        console.document([{"name": name, "title": found.title, "paper": found.paper, "minutes": found.quick.minutes}
                          for name in names() for found in (experiment(name),)])
        return
    table = console.table("experiment", "asks", "of", "min")
    for name in names():
        found = experiment(name)
        table.add_row(name, escape(found.title), escape(found.paper), f"{found.quick.minutes:g}")
    console.out.print(table)
