"""`convatlas eval`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer
from rich.markup import escape

from . import console
from .options import DATA, DATA_HELP, BatchSize, DataDir, Debug, Device, Download, Json, Strict, Workers, argument
from .paths import saved

if TYPE_CHECKING:
    from ..engine.evaluate import Evaluation


def evaluate(
    run: Annotated[Path, argument("RUN", "A run folder, or a .safetensors file from one.")],
    data: Annotated[str, argument("DATA", DATA_HELP)],
    split: Annotated[Literal["val", "train"], typer.Option(
        "--split", help="The part held out, or the part to train on.", rich_help_panel=DATA)] = "val",
    data_dir: DataDir = None,
    download: Download = False,
    strict: Strict = False,
    batch_size: BatchSize = 256,
    device: Device = "auto",
    workers: Workers = 0,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Measure a trained network on labelled images: top-1, top-5, loss, and every class's precision (of the images
    called so, the share that are) and recall (of the images that are, the share called so).

    [bold]Examples[/]
      convatlas eval runs/2026-11-23-lenet5-digits digits
      convatlas eval runs/lenet5-mnist mnist --data-dir ~/data --split train
      convatlas eval runs/photos holiday/ --json > holiday.json
    """
    saved(run)

    from .progress import Progress

    with console.loading():
        from ..api import evaluate as measure

    watch = Progress(console.err)       # stdout is for the result
    try:
        found = measure(run, data, split=split, batch_size=batch_size, data_dir=data_dir, download=download,
                        device=device, workers=workers, strict=strict, watch=watch)
    finally:
        watch.close()
    rows = _per_class(found.classes, found.evaluation.confusion.tolist())
    if json:
        _document({"run": str(run), "data": found.data, "split": split}, found.evaluation, rows)
    else:
        part = {"val": "validation", "train": "training"}[split]
        _show(f"[bold]{escape(str(run))}[/] on {escape(found.data)}, {part} part", found.evaluation, rows)


class Row(NamedTuple):
    """One class; shares are nan where there was nothing to share."""

    name: str
    images: int
    precision: float
    recall: float


def _per_class(classes: tuple[str, ...], confusion: list[list[int]]) -> list[Row]:
    called = [sum(column) for column in zip(*confusion, strict=True)]
    return [Row(name, sum(row), _share(row[i], called[i]), _share(row[i], sum(row)))
            for i, (name, row) in enumerate(zip(classes, confusion, strict=False))]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _document(what: dict[str, str], result: "Evaluation", rows: list[Row]) -> None:
    console.document({
        **what, "top1": result.top1, "top5": result.top5, "loss": result.loss, "count": result.count,
        **({} if result.mean_ap is None else {"mean_ap": result.mean_ap}),
        "skipped": result.skipped, "images_per_second": result.images_per_second,
        "classes": [{"class": row.name, "count": row.images, "precision": row.precision, "recall": row.recall}
                    for row in rows],
    })


def _show(what: str, result: "Evaluation", rows: list[Row]) -> None:
    speed = f"{console.exact(round(result.images_per_second))} images/s"
    right = f"{round(result.top1 * result.count)} of {result.count}"
    console.out.print(f"{what}: {console.exact(result.count)} images at {speed}", soft_wrap=True)
    console.out.print(f"  top-1  [bold green]{console.percent(result.top1)}[/] ({right})")
    console.out.print(f"  top-5  {console.percent(result.top5)}")
    console.out.print(f"  loss   {result.loss:.4f}")
    if result.mean_ap is not None:
        console.out.print(f"  mAP    {console.percent(result.mean_ap)}")
    if result.skipped:
        console.warn(f"{result.skipped} images could not be read and are not counted")
    table = console.table("class", ">images", ">precision", ">recall", "")
    for row in rows:
        table.add_row(escape(row.name), str(row.images), console.percent(row.precision), console.percent(row.recall),
                      "" if math.isnan(row.recall) else console.bar(row.recall))
    console.out.print(table)
