"""What `convatlas eval` prints of a network that segments."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.markup import escape

from . import console

if TYPE_CHECKING:
    from ..segment.evaluate import PixelEvaluation


def segments(path: Path) -> bool:
    """Whether a run folder or a file of ours holds a network that scores pixels."""
    from ..net import registry
    from ..weights import find, is_ours, read_card

    return is_ours(find(path)) and registry.variant(read_card(path).model).segments


def evaluate_pixels(run: Path, data: str, *, split: Literal["val", "train"], objects: Literal["none", "components", "watershed"],
                    device: str, json: bool) -> None:
    """Measure and print."""
    from .progress import Progress

    with console.loading():
        from ..segment.evaluate import evaluate_pixels as measure

    watch = Progress(console.err)
    try:
        found = measure(run, data, split=split, objects=objects, device=device, watch=watch)
    finally:
        watch.close()
    if json:
        console.document(_plain(run, split, found))
    else:
        _show(f"[bold]{escape(str(run))}[/] on {escape(found.data)}, {'validation' if split == 'val' else 'training'} part", found)


def _plain(run: Path, split: str, found: "PixelEvaluation") -> dict[str, object]:
    s, judged = found.scores, found.judged
    return {"run": str(run), "data": found.data, "split": split, "images": judged.count, "skipped": judged.skipped, "loss": judged.loss,
            "pixel_accuracy": s.accuracy, "pixel_error": 1 - s.accuracy, "mean_accuracy": s.mean_accuracy, "mean_iou": s.mean_iou,
            "frequency_weighted_iou": s.weighted_iou, "images_per_second": judged.images_per_second,
            **({} if found.average_precision is None else {"objects": found.objects, "average_precision": found.average_precision,
                                                           "rand_error": found.rand_error, "warping_error": found.warping_error}),
            "classes": [{"class": name, "iou": iou, "dice": dice} for name, iou, dice in zip(found.classes, s.iou, s.dice, strict=False)],
            "confusion": judged.confusion.tolist()}


def _show(what: str, found: "PixelEvaluation") -> None:
    s, judged, percent = found.scores, found.judged, console.percent
    console.out.print(f"{what}: {judged.count} images at {judged.images_per_second:.1f} images/s", soft_wrap=True)
    rows = [("mean IoU", f"[bold green]{percent(s.mean_iou)}[/] (weighted by frequency {percent(s.weighted_iou)})"),
            ("pixels right", f"{percent(s.accuracy)} (mean over the classes {percent(s.mean_accuracy)})"), ("loss", f"{judged.loss:.4f}")]
    if found.average_precision is not None and found.rand_error is not None and found.warping_error is not None:
        rows += [("objects", f"average precision {percent(found.average_precision)} over IoU 0.50 to 0.95, by {found.objects}"),
                 ("Rand error", f"{found.rand_error:.4f}"), ("warping error", f"{found.warping_error:.5f}")]
    for name, value in rows:
        console.out.print(f"  {name:<14}{value}", soft_wrap=True)
    if judged.skipped:
        console.warn(f"{judged.skipped} images could not be read and are not counted")
    table = console.table("class", ">IoU", ">Dice", "")
    for name, iou, dice in zip(found.classes, s.iou, s.dice, strict=False):
        table.add_row(escape(name), percent(iou), percent(dice), "" if iou != iou else console.bar(iou))
    console.out.print(table)
