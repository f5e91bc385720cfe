"""`convatlas eval`."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from . import console
from .options import (
    COUNT,
    DATA,
    DATA_HELP,
    OUTPUT,
    REAL,
    AcceptChanges,
    BatchSize,
    DataDir,
    Debug,
    Device,
    Download,
    Json,
    MaxPixels,
    Preparation,
    Strict,
    Workers,
    argument,
    option,
    switch,
)
from .paths import saved

if TYPE_CHECKING:
    from ..evaluation.protocol import Protocol
    from ..tasks import Table as Rows
    from ..tasks import Told

SHOWN, TOGETHER = "What the network is shown", "Several networks"
Name = Literal["centre", "alexnet-10crop", "googlenet-144crop", "vgg-dense", "resnet-multiscale"]
PARTS = {"val": "validation part", "train": "training part", "test": "test part", "all": "all images"}


def evaluate(
    context: typer.Context,
    models: Annotated[list[Path], argument(
        "MODEL", "A run folder, a deployed folder, a file of weights (convatlas', torchvision's or timm's), or weights "
        "that come along, such as lenet5.digits.")],
    data: Annotated[str, argument("DATA", DATA_HELP)],
    split: Annotated[Literal["auto", "train", "val", "test", "all"], typer.Option(
        "--split", help="The part to judge; auto: the test part, else what was held out, else everything.",
        rich_help_panel=DATA)] = "auto",
    accept_changes: AcceptChanges = False,
    data_dir: DataDir = None,
    download: Download = False,
    sets: Preparation = None,
    strict: Strict = False,
    max_pixels: MaxPixels = None,
    protocol: Annotated[Name, option("--protocol", panel=SHOWN, help="As a paper judged its networks.",
                                     show_default=True)] = "centre",
    crop_pct: Annotated[float | None, option(
        "--crop-pct", panel=SHOWN, metavar="SHARE", parser=REAL,
        help="Share of the picture's short side that a crop takes.")] = None,
    scales: Annotated[str | None, option(
        "--scales", panel=SHOWN, metavar="N,…", help="Short sides in pixels to which pictures are resized, "
        "instead.")] = None,
    crops: Annotated[Literal["1", "5", "10"] | None, option(
        "--crops", panel=SHOWN, help="The centre; the corners too; these also mirrored.")] = None,
    flip: Annotated[bool | None, typer.Option(
        "--flip/--no-flip", rich_help_panel=SHOWN, show_default=False, help="Each view also mirrored.")] = None,
    dense: Annotated[bool, switch("--dense", panel=SHOWN, help="Whole pictures, by the network as a "
                                  "convolution.")] = False,
    image_size: Annotated[str | None, option(
        "--image-size", panel=SHOWN, metavar="N|HxW", help="Pixels of the network's input.")] = None,
    ensemble: Annotated[bool, switch("--ensemble", panel=TOGETHER,
                                     help="Average the probabilities of all MODELs.")] = False,
    shares: Annotated[str | None, option(
        "--shares", "--weights", panel=TOGETHER, metavar="W,…",
        help="A number for each MODEL; left out: all alike.")] = None,
    objects: Annotated[Literal["none", "components", "watershed"], option(
        "--objects", panel=SHOWN, help="Of networks that segment: find objects in their pixels, and judge those "
        "too.")] = "none",
    batch_size: BatchSize = 256,
    device: Device = "auto",
    workers: Workers = 0,
    debug: Debug = False,
    top_k: Annotated[int, option("--top-k", "-k", panel=OUTPUT, parser=COUNT, show_default=True,
                                 help="Also count an image as right whose class is among the best K.")] = 5,
    out: Annotated[Path | None, option("--out", "-o", panel=OUTPUT, metavar="DIR", help="Write confusion matrix, "
                                       "predictions and calibration there (CSV, JSON, PNG).")] = None,
    json: Json = False,
) -> None:
    """Measure a trained network on labelled images: top-1 with its confidence interval, top-k, loss, calibration, and
    every class's precision (of the images called so, the share that are) and recall (of the images that are, the share
    called so).

    [bold]Examples[/]
      convatlas eval runs/2026-11-23-lenet5-digits digits
      convatlas eval runs/photos holiday/ --protocol alexnet-10crop --out judged/
      convatlas eval vgg16.pth imagenet/val --protocol vgg-dense --scales 256,384,512
      convatlas eval --ensemble runs/a runs/b runs/c photos/ --shares 1,1,2 --json
      torchrun --nproc-per-node 2 -m convatlas eval runs/photos photos/
    """
    from .configuration import preparation
    from .progress import Progress

    prepared = preparation(sets)
    for model in models:
        saved(model)
    if len(models) > 1 and not ensemble:
        raise typer.BadParameter(f"{len(models)} networks are given: --ensemble averages their probabilities",
                                 param_hint="MODEL")
    shown = _protocol(protocol, crop_pct=crop_pct, scales=scales, crops=crops, flip=flip, dense=dense,
                      image_size=image_size)
    weights = None if shares is None else _numbers(shares, float, "--shares")
    with console.loading():
        from ..api import evaluate as measure
        from ..api import opened
        from ..evaluation.files import make_folder
        from ..tasks import task_of

    candidates = [opened(model, device, prepared) for model in models]
    task = task_of(candidates[0].net.name)
    task.check_options(_given(context), lambda name: f"--{name.replace('_', '-')}")
    speaks = os.environ.get("RANK", "0") == "0"     # torchrun starts one process per rank: only one speaks
    if out is not None and speaks:
        make_folder(out)
    watch = Progress(console.err) if speaks else None       # stdout is for the result
    try:
        found = measure(candidates, data, protocol=shown, weights=weights, split=split, objects=objects,
                        batch_size=batch_size, data_dir=data_dir, download=download, device=device, workers=workers,
                        strict=strict, max_pixels=max_pixels, accept_changes=accept_changes, watch=watch)
    finally:
        if watch is not None:
            watch.close()
    if not speaks:
        return
    for path in task.write(found, out) if out is not None else ():
        console.plain(f"written: {path}", to=console.err)
    if json:
        console.document({"run": " + ".join(map(str, models)), "data": found.data, "split": found.part,
                          **task.figures(found, top_k)})
    else:
        _show(f"[bold]{escape(found.model)}[/] on {escape(found.data)}, {PARTS[found.part]}", task.told(found, top_k))


def _given(context: typer.Context) -> set[str]:
    """The options that stand on the command line, whatever their values."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def _protocol(name: str, *, crop_pct: float | None, scales: str | None, crops: str | None, flip: bool | None,
              dense: bool, image_size: str | None) -> "Protocol":
    """The protocol of that name, with the parts that are given put in."""
    from ..evaluation.protocol import changed, named
    from .configuration import image_size as size

    side = size(image_size)
    fields = {
        "crop_pct": crop_pct,
        "scales": None if scales is None else _numbers(scales, int, "--scales"),
        "crops": {None: None, "1": 1, "5": 5, "10": 5}[crops],
        "flip": flip if flip is not None or crops is None else crops == "10",
        "dense": dense or None,
        "image_size": (side, side) if isinstance(side, int) else side,
    }
    return changed(named(name), {field: value for field, value in fields.items() if value is not None})


def _numbers(text: str, kind: type[int] | type[float], flag: str) -> list[float]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of numbers with commas between them", param_hint=flag) from None


def _show(title: str, told: "Told") -> None:
    """All figures, for people."""
    from ..tasks import Line

    console.out.print(f"{title}: {told.head}", soft_wrap=True)
    for part in told.parts:
        if isinstance(part, Line):
            figure = f"[bold green]{part.figure}[/]" if part.figure else ""
            console.out.print(f"  {part.label:<{told.width}} {figure}{escape(part.text)}", soft_wrap=True)
        else:
            console.out.print(_table(part))
    if told.skipped:
        console.warn(f"{told.skipped} images could not be read and are not counted")
    console.out.print(_table(told.classes))


def _table(rows: "Rows") -> Table:
    table = console.table(*rows.headers)
    for row in rows.rows:
        table.add_row(*(escape(cell) if isinstance(cell, str) else "" if math.isnan(cell) else console.bar(cell)
                        for cell in row))
    return table
