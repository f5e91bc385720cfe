"""`convatlas facts`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from . import console
from .options import COMMON, Debug, Json, argument, switch

if TYPE_CHECKING:
    from ..facts import Erratum, Verdict

MARKS: dict[str, tuple[str, str, str]] = {       # verdict → mark, style, what it means
    "match": ("✓", "green", "the same"),
    "explained": ("≈", "yellow", "differs, and the reason is known"),
    "mismatch": ("✗", "bold red", "differs"),
    "not reproduced here": ("–", "bright_black", "only training could tell"),
    "not built here": ("·", "bright_black", "of a network that is not here"),
}


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
        mark, style, _ = MARKS[each["verdict"]]
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
    return ", ".join(f"[{style}]{mark} {counts[verdict]} {verdict}[/] ({meaning})"
                     for verdict, (mark, style, meaning) in MARKS.items() if counts[verdict])


def figure(value: Any) -> str:
    """A figure to read: thousands apart, shapes with ×."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {figure(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        shape = all(isinstance(part, int) for part in value)
        return "×".join(map(str, value)) if shape else ", ".join(map(figure, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return console.exact(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
