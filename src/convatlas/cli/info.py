"""`convatlas info`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.markup import escape
from rich.table import Table

from .. import known
from . import console
from .facts import judged
from .inspections.summary import peaks, sight, size
from .options import COMMON, FIELD, OUTPUT, Debug, Json, argument, option, switch

if TYPE_CHECKING:
    from ..inspect.memory import Memory
    from ..run import Optim

FIDELITY = {
    "paper": "as the paper printed it",
    "authors": "as its authors released it",
    "field": "as the field uses it",
    "own": "changed by a file",
}
PROSE = 100     # columns at most
BATCH = 32      # images of --memory


def info(
    name: Annotated[str, argument("NAME", "A name that [bold]convatlas list[/] shows, or a run folder.")],
    sets: Annotated[list[str] | None, option(
        "--set", panel=COMMON, metavar=FIELD,
        help="A field of the network, such as [bold]num_classes=10[/]; repeatable.")] = None,
    memory: Annotated[bool, switch("--memory", panel=OUTPUT, help=f"Tell the memory that a batch of {BATCH} images "
                                   "makes and keeps in each layer, and what predicting and training need.")] = False,
    receptive_field: Annotated[bool, switch("--receptive-field", panel=OUTPUT,
                                            help="Tell how many pixels of the image a unit of each layer sees, and "
                                            "from where on: unit i from stride · i + offset.")] = False,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Explain a network: its paper, the idea, what departs from the paper, every layer with its trainable parameters
    and multiply-adds (of convolutions and linear layers, for one image), and published figures beside computed ones.

    [bold]Examples[/]
      convatlas info lenet5
      convatlas info alexnet_owt --set num_classes=10 --set image_size=128
      convatlas info resnet18 --memory --receptive-field
      convatlas info runs/2026-11-23-lenet5-digits
    """
    found = account(name, sets or ())
    needs = _memory(found) if memory else None
    if json:
        console.document(_plain(found, needs))
    else:
        _headline(found)
        _layers(found, needs, receptive_field)
        if needs is not None:
            console.out.print(peaks(needs, _optim(found).name))
        if found["facts"]:
            console.out.print(judged(found["facts"], named=False))


def account(name: str, sets: Sequence[str] = ()) -> dict[str, Any]:
    """The account of a network, as `zoo.account` gives it: the stored one, or one that is computed now."""
    path = Path(name)
    stored = None if sets or path.exists() else known.account(name)
    if stored is not None:
        return stored
    from ..run import assignment

    fields: dict[str, Any] = {}
    for text in sets:
        fields |= assignment(text)
    with console.loading():
        from .. import zoo

    return zoo.account(zoo.info(path if path.is_dir() else name, **fields))


def _optim(found: Mapping[str, Any]) -> "Optim":
    from ..recipes import recipe

    return recipe(found["recipe"]).optim


def _memory(found: Mapping[str, Any]) -> "Memory":
    """Peak memory of a batch, for the network as described, without running it."""
    with console.loading():
        import torch

        from .. import zoo
        from ..inspect.memory import memory

    with torch.device("meta"):
        return memory(zoo.create_model(found["name"], **found["spec"]), BATCH, optim=_optim(found))


def _plain(found: Mapping[str, Any], needs: "Memory | None") -> dict[str, Any]:
    # once of a module that runs twice
    made, kept = ({}, {}) if needs is None else (dict(needs.made), dict(needs.kept))
    layers = [{**{key: value for key, value in row.items() if key != "sight"},
               "stride": row["sight"] and row["sight"][0][0], "offset": row["sight"] and row["sight"][0][1],
               **({} if needs is None else {"made": made.pop(row["name"], 0), "kept": kept.pop(row["name"], 0)})}
              for row in found["layers"]]
    peak = ({} if needs is None
            else {"memory": {"batch_size": BATCH, "predicting": needs.inference, "training": needs.training}})
    return {**peak, **found, "layers": layers}


def _headline(found: Mapping[str, Any]) -> None:
    from ..run import written

    fields = "\n".join(f"{field}: {written(value)}" for field, value in found["spec"].items())
    rows = {"paper": found["title"], "idea": found["idea"], "mirrors": found["mirrors"], "departs": found["departs"],
            "version": FIDELITY[found["fidelity"]], "recipe": found["recipe"], "fields": fields}
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(max_width=PROSE)
    for label, text in rows.items():
        if text:
            grid.add_row(label, escape(text))
    also = f"  (also {', '.join(found['aliases'])})" if found["aliases"] else ""
    console.out.print(f"[bold cyan]{found['name']}[/]{also}")
    console.out.print(grid)


def _layers(found: Mapping[str, Any], needs: "Memory | None", receptive_field: bool) -> None:
    memory = () if needs is None else (">made", ">kept")
    sees = (">sees", ">stride", ">offset") if receptive_field else ()
    table = console.table("layer", "type", "output", "kernel", ">params", ">macs", *memory, *sees)
    made, kept = ({}, {}) if needs is None else (dict(needs.made), dict(needs.kept))
    for row in found["layers"]:
        name, params, macs = row["name"], row["params"], row["macs"]
        bytes_ = () if needs is None else (made.pop(name, 0), kept.pop(name, 0))
        table.add_row(escape(name), row["type"], "×".join(map(str, row["output"])), row["kernel"],
                      console.exact(params) if params else "", console.exact(macs) if macs else "",
                      *(size(count) if count else "" for count in bytes_),
                      *(sight(row["sight"]) if receptive_field else ()))
    table.add_section()
    table.add_row("total", "", "", "", console.exact(found["params"]), console.exact(found["macs"]), style="bold")
    console.out.print(table)
    console.out.print(f"{console.exact(found['connections'])} connections, those of biases included\n", soft_wrap=True)
