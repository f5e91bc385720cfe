"""`convatlas predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ..deploy import reader
from . import console
from .options import COUNT, OUTPUT, BatchSize, Debug, Device, Json, MaxPixels, Preparation, Strict, argument, option
from .paths import pictures, saved, told

if TYPE_CHECKING:
    from ..deploy.reader import Prediction


def predict(
    run: Annotated[Path, argument("RUN", "A run folder, a deployed folder, a file of weights (convatlas', torchvision's"
                                  " or timm's), or weights that come along, such as lenet5.digits.")],
    images: Annotated[list[str], argument("IMAGE", "Files, folders of them, or patterns such as 'photos/*.jpg'.")],
    sets: Preparation = None,
    strict: Strict = False,
    max_pixels: MaxPixels = None,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    debug: Debug = False,
    top_k: Annotated[int, option(
        "--top-k", "-k", panel=OUTPUT, parser=COUNT, help="Classes per image.", show_default=True)] = 5,
    json: Json = False,
) -> None:
    """Say what is in an image: the likeliest classes with their probabilities. An image that cannot be read is named on
    stderr and the others go on; the exit code is 1 if none could be read.

    [bold]Examples[/]
      convatlas predict runs/2026-11-23-lenet5-digits seven.png
      convatlas predict runs/photos holiday/ --top-k 3
      convatlas predict lenet5.digits seven.png
      convatlas predict runs/photos 'holiday/*.jpg' --json > guesses.json
    """
    from .configuration import preparation

    saved(run)
    files, prepared = pictures(images), preparation(sets)
    if not prepared and reader.answers(run, device):     # without torch, whose import takes longer than the answer
        found = reader.predict(run, files, top_k=top_k, batch_size=batch_size, strict=strict, max_pixels=max_pixels)
    else:
        with console.loading():
            from ..api import account, opened
            from ..api import predict as guess

        candidate = opened(run, device, prepared)
        for line in account(candidate):
            console.plain(line, to=console.err)
        found = guess(candidate, files, top_k=top_k, device=device, batch_size=batch_size, strict=strict,
                      max_pixels=max_pixels)
    failed = [each.error for each in found if each.error is not None]
    for reason in (*failed, *told(each.notes for each in found)):
        console.warn(reason)
    if json:
        console.document({"run": str(run), "images": [_plain(each) for each in found]})
    else:
        _table([each for each in found if each.error is None])
    if failed:
        console.plain(f"{len(failed)} of {len(found)} images could not be read", to=console.err)
    if len(failed) == len(found):
        raise typer.Exit(1)


def _plain(found: "Prediction") -> dict[str, object]:
    ranked = zip(found.classes, found.probabilities, strict=True)
    return {"image": found.image, "error": found.error,
            "predictions": [{"class": name, "probability": share} for name, share in ranked]}


def _table(predictions: list["Prediction"]) -> None:
    if not predictions:
        return
    table = console.table("image", "class", ">probability", "")
    for found in predictions:
        for rank, (name, share) in enumerate(zip(found.classes, found.probabilities, strict=True)):
            table.add_row("" if rank else escape(found.image), escape(name), console.percent(share), console.bar(share),
                          style="" if rank else "bold", end_section=rank + 1 == len(found.classes))
    console.out.print(table)
