"""`convatlas facts`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..draw.numbers import VERDICTS, figure
from . import console
from .options import COMMON, Debug, Json, argument, switch

if TYPE_CHECKING:
    from ..facts import Erratum, Verdict

STYLES = {"match": "green", "explained": "yellow", "mismatch": "bold red", "not reproduced here": "bright_black",
          "not built here": "bright_black"}


def facts(
    names: Annotated[list[str] | None, argument("NAME", "Names from [bold]convatlas list[/]; left out: all.")] = None,
    check: Annotated[bool, switch(
        "--check", panel=COMMON, help="Exit with code 1 if a figure differs without a known reason.")] = False,
    errata: Annotated[bool, switch(
        "--errata", panel=COMMON, help="Show the mistakes and contradictions in papers and releases instead.")] = False,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Compare what papers published about their networks with what is computed from the networks here: parameters,
    multiply-adds, connections, shapes, each with its source. Nothing is trained: error rates are shown as published.

    [bold]Examples[/]
      convatlas facts lenet5
      convatlas facts --check
      convatlas facts alexnet --json
      convatlas facts --errata
    """
    with console.loading():
        from ..facts import check as compare
        from ..facts import errata as known

    if errata:
        _errata(known(), json)
        return
    verdicts = compare(names or None)
    wrong = [f"{verdict.name}: {verdict.fact}" for verdict in verdicts if verdict.verdict == "mismatch"]
    plain = [asdict(verdict) for verdict in verdicts]
    if json:
        console.document(plain)
    else:
        console.out.print(judged(plain, named=True))
        checked = sum(verdict.computed is not None for verdict in verdicts)
        console.out.print(f"{len(verdicts)} published figures, {checked} of them checked "
                          f"({checked / max(len(verdicts), 1):.0%}): {_counted(verdicts)}")
    if check and wrong:
        console.error(f"what was published and what is built differ: {'; '.join(wrong)}")
        raise typer.Exit(1)


def judged(verdicts: Sequence[Mapping[str, Any]], *, named: bool) -> Table:
    """Verdicts, as plain values, as a table; `named` puts the network's name before its first row."""
    table = console.table(*(["network"] if named else []), "", "fact", ">published", ">computed", "source")
    before = ""
    for each in verdicts:
        if named and before not in ("", each["name"]):
            table.add_section()
        mark, style = VERDICTS[each["verdict"]][0], STYLES[each["verdict"]]
        name = f"[bold cyan]{each['name']}[/]" if each["name"] != before else ""
        note = f" [bright_black]({escape(each['note'])})[/]" if each["note"] else ""
        computed = "" if each["computed"] is None else f"[{style}]{escape(figure(each['computed']))}[/]"
        table.add_row(*([name] if named else []), f"[{style}]{mark}[/]", escape(each["fact"]),
                      escape(figure(each["published"])), computed, escape(each["source"]) + note)
        before = each["name"]
    return table


def _errata(known: Sequence["Erratum"], json: bool) -> None:
    if json:
        console.document([vars(erratum) for erratum in known])
        return
    table = console.table("where", "printed", "found", "built here")
    for erratum in known:
        texts = map(escape, (erratum.printed, erratum.found, erratum.built))
        table.add_row(f"[bold cyan]{escape(erratum.where)}[/]", *texts, end_section=True)
    console.out.print(table)


def _counted(verdicts: Sequence["Verdict"]) -> str:
    counts = Counter(str(verdict.verdict) for verdict in verdicts)
    return ", ".join(f"[{STYLES[verdict]}]{mark} {counts[verdict]} {verdict}[/] ({meaning})"
                     for verdict, (mark, meaning) in VERDICTS.items() if counts[verdict])

