"""`convatlas compare`."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated, Any

from rich.markup import escape

from . import console
from .info import account
from .options import Debug, Json, argument

ROWS: dict[str, str] = {        # what is compared → what it means
    "params": "trainable parameters",
    "macs": "multiply-adds for one image",
    "depth": "layers with weights",
    "activations": "MiB of layer outputs for one image, in float32",
    "input": "channels × height × width",
    "receptive field": "pixels, along one side, that a unit of the last map sees",
    "paper": "",
    "fidelity": "",
}


def compare(
    names: Annotated[list[str], argument("NAME", "Two or more names that [bold]convatlas list[/] shows.")],
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Put networks side by side: cost, depth, memory of activations, receptive field, and what differs in their
    specifications.

    [bold]Examples[/]
      convatlas compare lenet5 lenet5_modern
      convatlas compare alexnet alexnet_owt --json
    """
    found = [account(name) for name in names]
    columns = [_figures(each) for each in found]
    fields = _differing(found)
    if json:
        console.document([
            {"name": each["name"], **column, "spec": {field: values[i] for field, values in fields.items()}}
            for i, (each, column) in enumerate(zip(found, columns, strict=True))])
        return
    table = console.table("", *(f"[bold cyan]{each['name']}[/]" for each in found))
    for row, meaning in ROWS.items():
        label = row + (f"\n[bright_black]{meaning}[/]" if meaning else "")
        table.add_row(label, *(escape(_shown(column[row])) for column in columns))
    if fields:
        table.add_section()
    for field, values in fields.items():
        table.add_row(escape(field), *(escape(_shown(value)) for value in values))
    console.out.print(table)


def _figures(found: Mapping[str, Any]) -> dict[str, Any]:
    maps = [row["receptive_field"] for row in found["layers"] if len(row["output"]) == 3 and row["output"][1] > 1]
    size, channels = found["spec"]["image_size"], found["spec"]["in_chans"]
    high, wide = (size, size) if isinstance(size, int) else size
    values = sum(prod(row["output"]) for row in found["layers"] if not row["name"].startswith("aux."))
    return {"params": found["params"], "macs": found["macs"], "depth": found["depth"],
            "activations": round(values * 4 / 2**20, 1), "input": f"{channels}×{high}×{wide}",
            "receptive field": maps[-1] if maps else None, "paper": found["title"].rstrip("."),
            "fidelity": found["fidelity"]}


def _differing(found: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Fields of the specifications that are not the same in all, and their values ('–' where there is no such field).
    """
    specs = [each["spec"] for each in found]
    fields = dict.fromkeys(field for spec in specs for field in spec
                           if field not in ("num_classes", "in_chans", "image_size"))
    rows = {field: [spec.get(field, "–") for spec in specs] for field in fields}
    return {field: values for field, values in rows.items() if any(value != values[0] for value in values)}


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ("table of " + str(len(value)) + " rows" if value and isinstance(value[0], list)
                else ", ".join(map(str, value)))
    return console.exact(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)
