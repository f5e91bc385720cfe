"""`convatlas weights explain` and `convatlas weights convert`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from . import console
from .options import OUTPUT, TRAINING, Debug, Json, Preparation, argument, option, switch

weights = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

Model = Annotated[str | None, option("--model", panel=TRAINING, metavar="NAME",
                                     help="Which network it is; left out: all are tried.")]

Download = Annotated[bool, switch("--download", panel=TRAINING,
                                  help="Fetch weights that are named and not in the cache.")]
ByOrder = Annotated[bool, switch("--by-order", panel=TRAINING,
                                 help="Pair tensors of unknown names with MODEL's by their order, kinds and shapes.")]
SOURCE = "A run folder, a .safetensors, .pth, .h5 or .npz file, or a name such as timm/resnet50.a1_in1k."


@weights.callback()
def top() -> None:
    """Look into files of weights, and write them under other libraries' names.

    [bold]Examples[/]
      convatlas weights explain resnet50-11ad3fa6.pth
      convatlas weights convert runs/… model.pth --to torchvision
      convatlas train resnet50 photos/ --weights resnet50-11ad3fa6.pth
    """


@weights.command("explain")
def explain(
    file: Annotated[str, argument("FILE", SOURCE)],
    model: Model = None,
    download: Download = False,
    by_order: ByOrder = False,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Say whose network a file holds, and what loading it does with each tensor."""
    with console.loading():
        from ..weights.checkpoints import explain_weights

    report = explain_weights(file, model, download=download, by_order=by_order)
    if json:
        rows = [{"ours": row.ours, "theirs": row.theirs, "what": row.what, "why": row.why} for row in report.rows]
        console.document({"file": report.where, "network": report.network, "source": report.source,
                          "notes": list(report.notes), "tensors": rows})
        return
    console.out.print(f"[bold]{escape(report.where)}[/]: {escape(report.source)}, which is {escape(report.network)} "
                      "here", soft_wrap=True)
    for note in report.notes:
        console.out.print(f"  {escape(note)}", soft_wrap=True)
    table = console.table("here", "there", "what", "why")
    for row in report.rows:
        there = "the same" if row.theirs == row.ours else row.theirs or "–"
        table.add_row(escape(row.ours or "–"), escape(there), row.what, escape(row.why))
    console.out.print(table)


@weights.command("convert")
def convert(
    source: Annotated[str, argument("IN", SOURCE)],
    target: Annotated[Path, argument("OUT", "The file to write: .safetensors, or, of another library, .pth.")],
    to: Annotated[Literal["torchvision", "timm", "convatlas"], option("--to", panel=OUTPUT,
                                                                      help="Whose names the tensors get.")],
    model: Model = None,
    sets: Preparation = None,
    download: Download = False,
    by_order: ByOrder = False,
    debug: Debug = False,
) -> None:
    """Write weights so that another library's own network loads them, or ours those of another."""
    with console.loading():
        from ..weights.checkpoints import convert_weights
        from .configuration import preparation

    written = convert_weights(source, target, to, model, preprocess=preparation(sets), download=download,
                              by_order=by_order)
    console.out.print(f"written: {escape(str(written))}", soft_wrap=True)
