"""`convatlas eval`."""

import math
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer
from rich.markup import escape
from rich.table import Table

from ..files import is_deployed
from . import console
from .eval_pixels import evaluate_pixels, segments
from .options import (
    COUNT,
    DATA,
    DATA_HELP,
    OUTPUT,
    REAL,
    BatchSize,
    DataDir,
    Debug,
    Device,
    Download,
    Json,
    Strict,
    Workers,
    argument,
    option,
    switch,
)
from .paths import saved

if TYPE_CHECKING:
    from ..evaluation.calibration import Calibration
    from ..evaluation.protocol import Protocol
    from ..evaluation.result import Evaluated

SHOWN, TOGETHER = "What the network is shown", "Several networks"
Name = Literal["centre", "alexnet-10crop", "googlenet-144crop", "vgg-dense", "resnet-multiscale"]
PARTS = {"val": "validation", "train": "training"}


def evaluate(
    models: Annotated[list[Path], argument(
        "MODEL", "A run folder, a deployed folder, or a file of weights: convatlas', torchvision's or timm's.")],
    data: Annotated[str, argument("DATA", DATA_HELP)],

    split: Annotated[Literal["val", "train"], typer.Option(
        "--split", help="The part held out, or the part to train on.", rich_help_panel=DATA)] = "val",
    data_dir: DataDir = None,
    download: Download = False,
    strict: Strict = False,

    protocol: Annotated[Name, option("--protocol", panel=SHOWN, help="As a paper judged its networks.", show_default=True)] = "centre",
    crop_pct: Annotated[float | None, option(
        "--crop-pct", panel=SHOWN, metavar="SHARE", parser=REAL, help="Share of the picture's short side that a crop takes.")] = None,
    scales: Annotated[str | None, option(
        "--scales", panel=SHOWN, metavar="N,…", help="Short sides in pixels to which pictures are resized, instead.")] = None,
    crops: Annotated[Literal["1", "5", "10"] | None, option(
        "--crops", panel=SHOWN, help="The centre; the corners too; these also mirrored.")] = None,
    flip: Annotated[bool | None, typer.Option(
        "--flip/--no-flip", rich_help_panel=SHOWN, show_default=False, help="Each view also mirrored.")] = None,
    dense: Annotated[bool, switch("--dense", panel=SHOWN, help="Whole pictures, by the network as a convolution.")] = False,
    image_size: Annotated[str | None, option(
        "--image-size", panel=SHOWN, metavar="N|HxW", help="Pixels of the network's input.")] = None,

    ensemble: Annotated[bool, switch("--ensemble", panel=TOGETHER, help="Average the probabilities of all MODELs.")] = False,
    weights: Annotated[str | None, option(
        "--weights", panel=TOGETHER, metavar="W,…", help="A number for each MODEL; left out: all alike.")] = None,

    objects: Annotated[Literal["none", "components", "watershed"], option(
        "--objects", panel=SHOWN, help="Of networks that segment: find objects in their pixels, and judge those too.")] = "none",

    batch_size: BatchSize = 256,
    device: Device = "auto",
    workers: Workers = 0,
    debug: Debug = False,

    top_k: Annotated[int, option("--top-k", "-k", panel=OUTPUT, parser=COUNT, show_default=True,
                                 help="Also count an image as right whose class is among the best K.")] = 5,
    out: Annotated[Path | None, option("--out", "-o", panel=OUTPUT, metavar="DIR",
                                       help="Write confusion matrix, predictions and calibration there (CSV, JSON, PNG).")] = None,
    json: Json = False,
) -> None:
    """Measure a trained network on labelled images: top-1 with its confidence interval, top-k, loss, calibration, and every
    class's precision (of the images called so, the share that are) and recall (of the images that are, the share called so).

    [bold]Examples[/]
      convatlas eval runs/2026-11-23-lenet5-digits digits
      convatlas eval runs/photos holiday/ --protocol alexnet-10crop --out judged/
      convatlas eval vgg16.pth imagenet/val --protocol vgg-dense --scales 256,384,512
      convatlas eval --ensemble runs/a runs/b runs/c photos/ --weights 1,1,2 --json
      torchrun --nproc-per-node 2 -m convatlas eval runs/photos photos/
    """
    from .progress import Progress

    for model in models:
        saved(model)
    if len(models) > 1 and not ensemble:
        raise typer.BadParameter(f"{len(models)} networks are given: --ensemble averages their probabilities", param_hint="MODEL")
    shown = _protocol(protocol, crop_pct=crop_pct, scales=scales, crops=crops, flip=flip, dense=dense, image_size=image_size)
    shares = None if weights is None else _numbers(weights, float, "--weights")
    with console.loading():
        from ..api import evaluate as measure
        from ..evaluation.files import folder, write

    if len(models) == 1 and not is_deployed(models[0]) and segments(models[0]):
        evaluate_pixels(models[0], data, split=split, objects=objects, device=device, json=json)
        return
    speaks = os.environ.get("RANK", "0") == "0"     # torchrun starts one process per rank: only one speaks
    if out is not None and speaks:
        folder(out)
    watch = Progress(console.err) if speaks else None       # stdout is for the result
    try:
        found = measure(models if len(models) > 1 else models[0], data, protocol=shown, weights=shares, split=split,
                        batch_size=batch_size, data_dir=data_dir, download=download, device=device, workers=workers, strict=strict,
                        watch=watch)
    finally:
        if watch is not None:
            watch.close()
    if not speaks:
        return
    for path in write(found, out) if out is not None else ():
        console.plain(f"written: {path}", to=console.err)
    if json:
        console.document({"run": " + ".join(map(str, models)), "data": found.data, "split": split, **document(found, top_k)})
    else:
        show(found, f"[bold]{escape(found.model)}[/] on {escape(found.data)}, {PARTS[split]} part", top_k)


def _protocol(name: str, *, crop_pct: float | None, scales: str | None, crops: str | None, flip: bool | None, dense: bool,
              image_size: str | None) -> "Protocol":
    """The protocol of that name, with the parts that are given put in."""
    from ..evaluation.protocol import changed, named
    from .plan import image_size as size

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


class Row(NamedTuple):
    """One class; shares are nan where there was nothing to share."""

    name: str
    images: int
    precision: float
    recall: float


def per_class(classes: tuple[str, ...], confusion: list[list[int]]) -> list[Row]:
    """A row for each class that an image is of, or was taken for."""
    called = [sum(column) for column in zip(*confusion, strict=True)]
    return [Row(name, sum(row), _share(row[i], called[i]), _share(row[i], sum(row)))
            for i, (name, row) in enumerate(zip(classes, confusion, strict=True)) if sum(row) or called[i]]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def document(found: "Evaluated", top_k: int) -> dict[str, Any]:
    """All figures, for --json."""
    result, calibration = found.evaluation, found.calibration()
    return {
        "top1": result.top1, "top1_interval": found.interval, "top5": result.top5, f"top{top_k}": found.top_k(top_k),
        "loss": result.loss, "log_loss": found.log_loss, "count": result.count, "skipped": result.skipped,
        "images_per_second": result.images_per_second,
        **({} if result.mean_ap is None else {"mean_ap": result.mean_ap}),
        **({} if calibration is None else {"calibration_error": calibration.error, "temperature": calibration.temperature,
                                           "calibration_error_with_temperature": calibration.cooled}),
        "protocol": found.protocol.model_dump(mode="json"), "preprocess": found.preprocess,
        **({"members": [{"run": member.model, "weight": weight, "top1": member.evaluation.top1, "top1_interval": member.interval,
                         f"top{top_k}": member.top_k(top_k), "log_loss": member.log_loss, "preprocess": member.preprocess}
                        for member, weight in zip(found.members, found.weights, strict=True)]} if found.members else {}),
        "classes": [{"class": row.name, "count": row.images, "precision": row.precision, "recall": row.recall}
                    for row in per_class(found.classes, result.confusion.tolist())],
    }


def show(found: "Evaluated", title: str, top_k: int) -> None:
    """All figures, for people."""
    result, (low, high) = found.evaluation, found.interval
    say = partial(console.out.print, soft_wrap=True)
    say(f"{title}: {console.exact(result.count)} images at {console.exact(round(result.images_per_second))} images/s")
    for seen in dict.fromkeys(each.preprocess for each in (found.members or (found,))):
        say(f"  shown  {escape(seen)}")
    if found.members:
        console.out.print(_members(found, top_k))
    say(f"  top-1  [bold green]{console.percent(result.top1)}[/] ({int(result.right.sum())} of {result.count}; "
        f"with 95 % confidence {console.percent(low)} to {console.percent(high)})")
    if top_k > 1:
        say(f"  top-{top_k}  {console.percent(found.top_k(top_k))}")
    say(f"  loss   {result.loss:.4f}{'' if found.loss.name == 'cross_entropy' else f' ({found.loss.name})'}")
    if result.mean_ap is not None:
        say(f"  mAP    {console.percent(result.mean_ap)}")
    calibration = found.calibration()
    if calibration is not None:
        say(f"  calibration error {console.percent(calibration.error)}{_heat(calibration)}")
    if result.skipped:
        console.warn(f"{result.skipped} images could not be read and are not counted")
    table = console.table("class", ">images", ">precision", ">recall", "")
    for row in per_class(found.classes, result.confusion.tolist()):
        table.add_row(escape(row.name), str(row.images), console.percent(row.precision), console.percent(row.recall),
                      "" if math.isnan(row.recall) else console.bar(row.recall))
    console.out.print(table)


def _heat(found: "Calibration") -> str:
    if math.isnan(found.temperature):
        return ""
    return f"; {console.percent(found.cooled)} with scores divided by {found.temperature:.2f}, which gives the least log loss here"


def _members(found: "Evaluated", top_k: int) -> Table:
    table = console.table("member", ">weight", ">top-1", f">top-{top_k}", ">log loss")
    for member, weight in zip(found.members, found.weights, strict=True):
        table.add_row(escape(member.model), f"{weight:.3g}", console.percent(member.evaluation.top1),
                      console.percent(member.top_k(top_k)), f"{member.log_loss:.4f}")
    return table
