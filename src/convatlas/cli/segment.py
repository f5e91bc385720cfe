"""`convatlas segment`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from . import console
from .options import (
    COUNT,
    NATURAL,
    OUTPUT,
    SPEED,
    BatchSize,
    Debug,
    Device,
    Json,
    MaxPixels,
    Strict,
    argument,
    option,
    switch,
)
from .paths import pictures, saved, told

if TYPE_CHECKING:
    from ..net.model import Convnet
    from ..segment.finish import Finished


def segment(
    run: Annotated[Path, argument("RUN", "A run folder of a network that segments, a folder that it was deployed to, "
                                  "or a .safetensors file from one.")],
    images: Annotated[list[str], argument("IMAGE", "Files, folders of them, or patterns; pictures, TIFF, .npy and Zarr "
                                          "of any size.")],
    out: Annotated[Path, option("--out", "-o", panel=OUTPUT, metavar="DIR", help="The folder for the results.")],
    probabilities: Annotated[bool, switch(
        "--probabilities", panel=OUTPUT, help="Also the probability of every class at every pixel, as .npy or "
        "Zarr.")] = False,
    overlay: Annotated[bool, switch("--overlay", panel=OUTPUT,
                                    help="Also the image with its classes in colour.")] = False,
    instances: Annotated[Literal["none", "components", "watershed"], option(
        "--instances", panel=OUTPUT, help="Also single objects and a table of them: what hangs together, or that cut "
        "at waists.")] = "none",
    tile: Annotated[int | None, option(
        "--tile", panel=SPEED, parser=COUNT, help="Side in pixels of what the network gets at once; else as memory "
        "allows.")] = None,
    overlap: Annotated[int | None, option(
        "--overlap", panel=SPEED, parser=NATURAL, help="Pixels that tiles of a padded network share; else as its depth "
        "asks.")] = None,
    batch_size: BatchSize = 1,
    tta: Annotated[Literal["none", "flips", "rotations", "rotations7", "all"], option(
        "--tta", panel=SPEED, help="Average over 4 flips, 4 rotations, the 7 other symmetries of a square, or all "
        "8.")] = "none",
    strict: Strict = False,
    max_pixels: MaxPixels = None,
    device: Device = "auto",
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Say for every pixel of an image what it belongs to. Images may be larger than memory; one command started again
    after an interruption goes on, and under torchrun several processes share the tiles.

    [bold]Examples[/]
      convatlas segment runs/unet-cells nuclei/ --out masks --overlay
      convatlas segment runs/unet-cells slide.tif --out slide --tile 2048 --instances watershed
      torchrun --nproc-per-node 4 -m convatlas segment runs/unet-cells slide.zarr --out slide
    """
    saved(run)

    with console.loading():
        from ..files import is_deployed
        from ..segment.jobs import without_results
        from ..segment.picture import is_zarr
        from ..segment.run import segment as label

    files = [file for word in images for file in ([word] if is_zarr(Path(word)) else pictures([word]))]
    files, results = without_results(files, out)
    if results:
        console.warn(f"left out, for they are results of an earlier segmentation: {', '.join(results[:3])}"
                     + (f" and {len(results) - 3} more" if len(results) > 3 else ""))
    net: Path | Convnet = run
    if is_deployed(run):
        from ..deploy.bundle import deployed
        from ..net.segmenter import of_pixels

        net = of_pixels(deployed(run, None if device == "auto" else device), "`convatlas predict` is for it")
    bar = _Bar()
    try:
        found = label(net, files, out, tile=tile, overlap=overlap, tta=tta, probabilities=probabilities,
                      overlay=overlay, instances=instances, batch_size=batch_size, device=device,
                      strict=strict, max_pixels=max_pixels, watch=bar)
    finally:
        bar.close()
    failed = [each.error for each in found if each.error is not None]
    for reason in (*failed, *told(each.notes for each in found)):
        console.warn(reason)
    if json:
        console.document({"run": str(run), "out": str(out), "images": [vars(each) for each in found]})
    else:
        _table([each for each in found if each.error is None])
    if len(failed) == len(found):
        raise typer.Exit(1)


class _Bar:
    """Progress of the image at hand, on a terminal."""

    def __init__(self) -> None:
        from rich.progress import Progress

        self.live = Progress(console=console.err, transient=True, disable=not console.err.is_terminal)
        self.row = self.live.add_task("", total=None)
        self.live.start()

    def __call__(self, image: str, done: int, total: int) -> None:
        self.live.update(self.row, description=escape(f"{Path(image).name}, tile {done} of {total}"),
                         completed=done, total=total)

    def close(self) -> None:
        self.live.stop()


def _table(found: list["Finished"]) -> None:
    if not found:
        return
    table = console.table("image", "labels", ">objects", ">share of each class")
    for each in found:
        shares = "  ".join(console.percent(pixels / sum(each.pixels)) for pixels in each.pixels)
        table.add_row(escape(each.image), escape(str(each.labels)),
                      "" if each.count is None else str(each.count), shares)
    console.out.print(table)
