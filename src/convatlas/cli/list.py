"""`convatlas list`."""

import sys
from dataclasses import asdict
from typing import Annotated, Literal

import typer
from rich.text import Text

from .. import known
from ..known import Listed
from . import console
from .options import OUTPUT, REAL, Debug, Json, argument, option, switch

FILTERS = "Filters"


def list_models(
    patterns: Annotated[list[str] | None, argument("PATTERN", "Names, with * for any letters and ? for one.")] = None,
    family: Annotated[str | None, option("--family", panel=FILTERS, help="Only this family.")] = None,
    max_params: Annotated[float | None, option(
        "--max-params", panel=FILTERS, parser=REAL, help="At most so many parameters, for example 5e6.")] = None,
    fidelity: Annotated[Literal["paper", "authors", "field"] | None, option(
        "--fidelity", panel=FILTERS,
        help="As the paper printed it, as its authors released it, or as the field uses it.")] = None,
    pretrained: Annotated[bool, switch(
        "--pretrained", panel=FILTERS, help="The weights that are known of them, as [bold]--weights[/] takes them: "
        "those that come along, and public ones.")] = False,
    debug: Debug = False,
    names: Annotated[bool, switch("--names", panel=OUTPUT, help="Print the names alone, one per line.")] = False,
    json: Json = False,
) -> None:
    """List the networks: parameters, multiply-adds (of convolutions and linear layers, for one image), the input they
    were made for, whose version each is, and the idea it is known for.

    [bold]Examples[/]
      convatlas list
      convatlas list 'lenet*' 'alex*'
      convatlas list --max-params 5e6 --fidelity paper --names
      convatlas list --pretrained 'resnet*'
    """
    from ..errors import nearest

    everything = _all()
    found = known.chosen(everything, patterns or "*", family=family, max_params=max_params, fidelity=fidelity)
    if not found:
        names_ = sorted(each.name for each in everything)
        near = next(filter(None, (nearest(pattern.strip("*?"), names_) for pattern in patterns or ())), "")
        console.error(f"no network fits {_asked(patterns, family, max_params, fidelity)}"
                      f"{near or f'; `convatlas list` shows all {len(everything)}'}")
        raise typer.Exit(1)
    if pretrained:
        _pretrained([each.name for each in found], names, json)
    elif json:
        console.document([asdict(each) for each in found])
    elif names:
        console.plain("\n".join(each.name for each in found))
    else:
        _table(found)


def _all() -> list[Listed]:
    """Every network's line, as stored; as registered, where that may be more: once networks are imported, or if files
    of networks have changed.
    """
    stored = None if "convatlas.net.registry" in sys.modules else known.listed()
    if stored is not None:
        return stored
    with console.loading():
        from .. import zoo

    return zoo.listed()


def _asked(patterns: list[str] | None, family: str | None, max_params: float | None, fidelity: str | None) -> str:
    limit = None if max_params is None else f"{max_params:g}"
    filters = {"--family": family, "--fidelity": fidelity, "--max-params": limit}
    return " ".join([*map(repr, patterns or ()), *(f"{flag} {value}" for flag, value in filters.items() if value)])


def _pretrained(found: list[str], names: bool, json: bool) -> None:
    from ..weights import catalog, shipped

    rows = [each for each in catalog() if each.ours in found]
    here = [each for each in shipped() if each.ours in found]
    if json:
        console.document([*map(asdict, here), *map(asdict, rows)])
        return
    if names:
        named = [*((each.ours, each.id) for each in here), *((each.ours, each.id) for each in rows)]
        console.plain("\n".join(map(" ".join, named)))
        return
    if here:
        table = console.table("network", "weights", ">parameters", "measured", "", "", "licence of the data")
        for mine in here:
            low, high = map(console.percent, mine.interval)
            table.add_row(f"[bold cyan]{mine.ours}[/]", mine.id, console.short(mine.params), mine.measure,
                          console.percent(mine.figure), f"{low} to {high}", mine.licence)
        console.out.print(table)
        console.plain("These come along; commands that take a run take NETWORK.WEIGHTS in its place, such as "
                      f"{here[0].name}.", to=console.err)
    if not here and not rows:
        console.plain("no weights are known of these networks", to=console.err)
    elif rows:
        table = console.table("network", "weights", ">classes", ">top-1", ">top-5", ">input", "licence")
        for each in rows:
            told = ("–" if value is None else f"{value:.2f} %" for value in (each.top1, each.top5))
            table.add_row(f"[bold cyan]{each.ours}[/]", each.id, str(each.classes), *told,
                          str(each.image_size), each.licence)
        console.out.print(table)
        console.plain("Accuracies are as those who trained them report them. Nothing is downloaded unless asked "
                      "(--download).", to=console.err)


def _table(found: list[Listed]) -> None:
    table = console.table("name", "family", ">params", ">macs", "input", "as in", "idea")
    for each in found:
        size = each.image_size
        high, wide = (size, size) if isinstance(size, int) else size
        table.add_row(f"[bold cyan]{each.name}[/]", each.family, console.short(each.params), console.short(each.macs),
                      f"{each.in_chans}×{high}×{wide}", each.fidelity,
                      Text(each.idea, no_wrap=True, overflow="ellipsis"))
    for column in table.columns[:-1]:       # one line per network: where room is short, the idea is cut
        column.no_wrap = True
    console.out.print(table)
