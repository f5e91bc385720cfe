"""`convatlas inspect neighbours`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from .. import console
from ..options import COMMON, COUNT, DATA, BatchSize, DataDir, Debug, Device, Download, Json, argument, option
from ..paths import pictures
from .common import Network, Out, network, save, target
from .given import files, given

if TYPE_CHECKING:
    from ...inspect.neighbors import Neighbors

TOPIC = "neighbours"


def neighbors(
    model: Network,
    images: Annotated[list[str], argument(
        "IMAGE", "Queries: files, folders of them, or patterns such as 'photos/*.jpg'.")],
    among: Annotated[str, option("--among", panel=DATA, metavar="DATA", help=(
        "Where to look: a folder, with all images in it at any depth, or the training part of digits, mnist, cifar10, "
        "…, an .npz."))],
    index: Annotated[Path | None, option("--index", panel=DATA, metavar="DIR", help=(
        "Keep the vectors in this folder; the next call computes new and changed images only."))] = None,
    data_dir: DataDir = None,
    download: Download = False,
    k: Annotated[int, option("--neighbours", "-k", panel=COMMON, parser=COUNT, help="Neighbours per query.",
                             show_default=True)] = 6,
    metric: Annotated[Literal["euclidean", "cosine"], typer.Option(
        "--metric", help="What near means.", rich_help_panel=COMMON)] = "euclidean",
    engine: Annotated[Literal["exact", "faiss"], typer.Option(
        "--engine", help="What computes: torch, or faiss where that is installed.", rich_help_panel=COMMON)] = "exact",
    batch_size: BatchSize = 64,
    device: Device = "auto",
    debug: Debug = False,
    out: Out = None,
    json: Json = False,
) -> None:
    """Find the images that a network takes for alike: the nearest by the activity of its last hidden layer, as in
    AlexNet's Figure 4. Every one is compared. Images that cannot be read are named on stderr and left out.

    [bold]Examples[/]
      convatlas inspect neighbours runs/lenet seven.png --among mnist --data-dir ~/data
      convatlas inspect neighbours runs/photos 'new/*.jpg' --among photos/ --index photos.index -k 5 --out alike.png
      convatlas inspect neighbours runs/photos cat.jpg --among photos/ --metric cosine --json
    """
    path, queries = target(out, TOPIC), pictures(images)

    with console.loading():
        from ...engine.distributed import world
        from ...inspect.neighbors import draw
        from ...inspect.neighbors import neighbors as find
        from ...net.segmenter import of_images
        from ...zoo import transforms

    with world(device) as here:
        net = network(model).to(here.device)
        of_images(net, "look at it with `convatlas inspect segmentation`")
        source, classes = given(among, data_dir, download)
        found = find(net, files(queries), source, transforms(net), index=index, k=k, metric=metric, engine=engine,
                     batch_size=batch_size)
    save(draw(found, f"What {net.name} takes for alike", classes), path)
    if json:
        console.document({"model": model, "among": among, "metric": metric, "searched": found.searched,
                          "queries": _plain(found, classes)})
    else:
        _show(found)


def _plain(found: "Neighbors", classes: tuple[str, ...]) -> list[dict[str, object]]:
    return [{"image": name, "neighbours": [
        {"image": each.name, "distance": each.distance, **({"class": classes[each.label]} if classes else {})}
        for each in row
    ]} for name, row in zip(found.names, found.found, strict=True)]


def _show(found: "Neighbors") -> None:
    changes = found.changes
    console.plain(f"{console.exact(found.searched)} images searched: {changes.added} computed now, {changes.kept} "
                  f"known before, {changes.dropped} dropped, {changes.skipped} not readable")
    table = console.table("query", "neighbour", ">distance")
    for name, row in zip(found.names, found.found, strict=True):
        for rank, each in enumerate(row):
            table.add_row("" if rank else escape(name), escape(each.name), f"{each.distance:.4g}",
                          end_section=rank + 1 == len(row))
    console.out.print(table)
