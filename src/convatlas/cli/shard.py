"""`convatlas data shard`."""

import time
from pathlib import Path
from typing import Annotated

from rich.markup import escape
from rich.progress import Progress

from ..errors import ConvatlasError
from . import console
from .options import DATA, REAL, WHOLE, Debug, Json, argument, option

QUIET = 10.0        # seconds between two lines where there is no terminal


def shard(
    folder: Annotated[Path, argument("FOLDER", "A folder with one sub-folder of images per class, or train/ and val/ "
                                     "of such.")],
    out: Annotated[Path, argument("OUT", "Where the shards go: a new or empty folder, or one that an interrupted run "
                                  "began.")],
    shard_mb: Annotated[float, option("--shard-mb", panel=DATA, parser=REAL, show_default=True,
                                      help="Size of a shard in MB, about.")] = 512,
    val: Annotated[float, option("--val", panel=DATA, metavar="SHARE", parser=REAL, show_default=True, help="Share of "
                                 "each class that becomes the validation part, where FOLDER has none; 0: none.")] = 0.2,
    seed: Annotated[int, option("--seed", panel=DATA, parser=WHOLE, show_default=True,
                                help="What shuffles the images and chooses those for validation.")] = 0,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Write a folder of images as tar shards of the WebDataset layout, for data that one disk, or one look-up per file,
    is too slow or too small for. Train on OUT itself, or copy it elsewhere and train on its address.

    Files go in byte for byte, in shuffled order. When interrupted, the same command goes on.

    [bold]Examples[/]
      convatlas data shard photos/ photos-shards/
      convatlas data shard imagenet/ /mnt/shards --shard-mb 1000
      convatlas train resnet50 s3://bucket/photos-shards
    """
    if not folder.is_dir():
        raise ConvatlasError(f"there is no folder {str(folder)!r}")
    if not 0 <= val < 1:
        raise ConvatlasError(f"--val {val:g} is refused: it is a share from 0 to below 1")
    if shard_mb <= 0:
        raise ConvatlasError(f"--shard-mb {shard_mb:g} is refused: it must be above 0")
    if out.resolve().is_relative_to(folder.resolve()):
        raise ConvatlasError(f"{str(out)!r} lies in {str(folder)!r}, where it would be taken for images; choose "
                             "another place")

    with console.loading():
        from ..data.shards.writer import write_shards

    with Progress(console=console.err, transient=True) as bar:
        task, spoken = bar.add_task("writing shards", total=None), time.monotonic()

        def report(done: int, total: int) -> None:
            nonlocal spoken
            bar.update(task, completed=done, total=total)
            if not console.err.is_terminal and time.monotonic() - spoken >= QUIET:
                spoken = time.monotonic()
                console.plain(f"{done / 1e6:.0f} of {total / 1e6:.0f} MB written", to=console.err)

        index = write_shards(folder, out, shard_bytes=round(shard_mb * 1e6), val_fraction=val, seed=seed, report=report,
                             tell=lambda sentence: console.plain(f"note: {sentence}", to=console.err))
    rows = [{"part": name, "shards": len(shards), "images": sum(each.images for each in shards),
             "bytes": sum(each.bytes for each in shards)}
            for name, shards in index.parts.items()]
    if json:
        console.document({"out": str(out), "classes": len(index.classes), "parts": rows})
        return
    table = console.table("part", ">shards", ">images", ">MB")
    for row in rows:
        table.add_row(str(row["part"]), *(console.exact(int(row[key])) for key in ("shards", "images")),
                      f"{int(row['bytes']) / 1e6:.1f}")
    console.out.print(table)
    console.out.print(f"[bold]{escape(str(out))}[/]: {len(index.classes)} classes. Next: convatlas train MODEL "
                      f"{escape(str(out))}", soft_wrap=True)
