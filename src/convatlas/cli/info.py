"""`convatlas info`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.markup import escape
from rich.table import Table

from . import console
from .facts import judged, plain_verdict
from .options import COMMON, FIELD, Debug, Json, argument, option

if TYPE_CHECKING:
    from ..zoo import Info

FIDELITY = {
    "paper": "as the paper printed it",
    "authors": "as its authors released it",
    "field": "as the field uses it",
}
PROSE = 100     # columns at most


def info(
    name: Annotated[str, argument("NAME", "A name that [bold]convatlas list[/] shows, or a run folder.")],
    sets: Annotated[list[str] | None, option(
        "--set", panel=COMMON, metavar=FIELD,
        help="A field of the network, such as [bold]num_classes=10[/]; repeatable.")] = None,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Explain a network: its paper, the idea, what departs from the paper, every layer with its trainable parameters
    and multiply-adds (of convolutions and linear layers, for one image), and published figures beside computed ones.

    [bold]Examples[/]
      convatlas info lenet5
      convatlas info alexnet_owt --set num_classes=10 --set image_size=128
      convatlas info runs/2026-11-23-lenet5-digits
    """
    from ..run import assignment

    fields: dict[str, Any] = {}
    for text in sets or ():
        fields |= assignment(text)

    with console.loading():
        from ..zoo import info as explain

    found = explain(Path(name) if Path(name).is_dir() else name, **fields)
    if json:
        console.document(_plain(found))
    else:
        _headline(found)
        _layers(found)
        if found.facts:
            console.out.print(judged(found.facts, named=False))


def _plain(found: "Info") -> dict[str, Any]:
    from ..registry import plain

    layers = [{"name": row.name, "type": row.kind, "output": row.output, "kernel": row.kernel, "params": row.params,
               "macs": row.macs, "connections": row.connections, "receptive_field": row.receptive_field}
              for row in found.layers]
    return {"name": found.name, "aliases": found.aliases, "family": found.family, "title": found.title,
            "idea": found.idea, "mirrors": found.mirrors, "departs": found.departs, "fidelity": found.fidelity,
            "recipe": found.recipe, "spec": plain(found.spec), "params": found.params, "macs": found.macs,
            "connections": found.connections, "layers": layers,
            "facts": [plain_verdict(verdict) for verdict in found.facts]}


def _headline(found: "Info") -> None:
    from ..registry import plain

    fields = "\n".join(f"{field}: {_value(value)}" for field, value in plain(found.spec).items())
    rows = {"paper": found.title, "idea": found.idea, "mirrors": found.mirrors, "departs": found.departs,
            "version": FIDELITY[found.fidelity], "recipe": found.recipe, "fields": fields}
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(max_width=PROSE)
    for label, text in rows.items():
        if text:
            grid.add_row(label, escape(text))
    also = f"  (also {', '.join(found.aliases)})" if found.aliases else ""
    console.out.print(f"[bold cyan]{found.name}[/]{also}")
    console.out.print(grid)


def _value(value: Any) -> str:
    return "×".join(map(str, value)) if isinstance(value, list) else str(value)


def _layers(found: "Info") -> None:
    table = console.table("layer", "type", "output", "kernel", ">params", ">macs")
    for row in found.layers:
        table.add_row(escape(row.name), row.kind, "×".join(map(str, row.output)), row.kernel,
                      console.exact(row.params) if row.params else "", console.exact(row.macs) if row.macs else "")
    table.add_section()
    table.add_row("total", "", "", "", console.exact(found.params), console.exact(found.macs), style="bold")
    console.out.print(table)
    console.out.print(f"{console.exact(found.connections)} connections, those of biases included\n", soft_wrap=True)
