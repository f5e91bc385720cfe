"""A run's own page: its curves, its confusion matrix with the images behind every cell, its mistakes, and a map of
images by the activity of the last hidden layer.
"""

import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConvatlasError
from ..runs.folder import METRICS, run_of
from .build import Asset, Page, Wanted, given

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import ImageSet
    from ..net.model import Convnet

MOST = 2000         # images of a page at most; beyond that a seed chooses
SIDE = 96           # pixels of a thumbnail's longer side
COLUMNS = ("epoch", "train_loss", "val_loss", "train_top1", "val_top1", "val_iou", "lr", "images_per_second")


def runs(wanted: Wanted) -> Iterator[Page | Asset]:
    """A page for each run."""
    for folder, slug in zip(wanted.runs, slugs(wanted.runs), strict=True):
        wanted.tell(f"{folder}: its network answers for the images it held out")
        yield from _page(folder, slug)


def slugs(folders: Sequence[Path]) -> list[str]:
    """Names for the files of runs: letters that every system and address takes, each once."""
    found: list[str] = []
    for folder in folders:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip(".-") or "run"
        found.append(name if name not in found else f"{name}-{len(found) + 1}")
    return found


def _page(folder: Path, slug: str) -> Iterator[Page | Asset]:
    from ..engine.records import read_rows  # imports torch
    from ..net.segmenter import Segmenter  # the same
    from ..weights.checkpoints import load  # the same

    if not folder.is_dir():
        raise ConvatlasError(f"{str(folder)!r} is no run folder, and only runs have pages of their own; --weights "
                             "takes files of weights")
    run, model = run_of(folder), load(folder).eval()
    rows = read_rows(folder / METRICS)
    told: dict[str, Any] = {"curves": {column: [row[column] for row in rows] for column in COLUMNS
                                       if rows and all(column in row for row in rows)}}
    asked: dict[str, Any] = {"items": []}
    if not isinstance(model, Segmenter):
        asked = _answers(folder, model)
        for number, picture in enumerate(asked.pop("pictures")):
            yield Asset(f"run/{slug}/{number}.png", picture)
    yield given(f"run/{slug}", {**told, **asked, "slug": slug})
    yield Page(f"run/{slug}.html", "run.html.j2", folder.resolve().name, {
        "name": folder.resolve().name, "network": run.model.name, "source": run.data.source, "epochs": len(rows),
        "seed": run.train.seed, "yaml": run.to_yaml(), "count": len(asked["items"]), "all": asked.get("all", 0),
        "right": sum(item[0] == item[1] for item in asked["items"]), "interval": asked.get("interval"),
        "several": asked.get("several", False), "segments": isinstance(model, Segmenter)},
        scripts=("run",), styles=("run",), inline={"slug": slug}, section="Runs")


def _answers(folder: Path, model: "Convnet") -> dict[str, Any]:
    """Truth, answer, confidence and place on the map of every image that the run held out, and its picture."""
    import torch

    from ..data.images import ranged  # imports torch
    from ..data.sampling import permutation  # the same
    from ..engine.distributed import world  # the same
    from ..engine.losses import probabilities  # the same
    from ..evaluation.judging import own_data  # the same
    from ..evaluation.statistics import wilson  # the same
    from ..inspect.pictures import ending, inputs  # the same
    from ..inspect.vectors import embed  # the same
    from ..run import Loss  # the same
    from ..zoo import transforms  # the same

    with world("cpu") as here:
        source = own_data(folder, here)
    transform = transforms(model)
    images = ranged(source.val, transform.range)
    chosen = sorted(permutation(len(images), 0)[:MOST].tolist())
    classes = list(source.classes)
    several = images.labels.ndim > 1
    items: list[list[Any]] = []
    hidden: list[Tensor] = []
    pictures: list[bytes] = []
    for numbers, x in inputs(images, chosen, transform, 64):
        with torch.inference_mode():
            shares = probabilities(model(x).float(), model.card.loss or Loss())
        hidden.append(embed(model, x))
        for row, number in enumerate(numbers):
            truth = -1 if several else int(images.labels[number])
            said = int(shares[row].argmax())
            items.append([truth, said, round(float(shares[row, said]), 4), ending(images.name(number), 40)])
            pictures.append(_thumbnail(images, number))
    if not items:
        raise ConvatlasError(f"none of the images that {folder.name!r} held out can be read: there is nothing to show")
    places, variance = flat(torch.cat(hidden))
    for item, (x_, y_) in zip(items, places.tolist(), strict=True):
        item += [round(x_, 3), round(y_, 3)]
    right = sum(item[0] == item[1] for item in items)
    # outputs beyond the classes of the data are numbered
    names = classes + [f"output {i}" for i in range(len(classes), 1 + max(item[1] for item in items))]
    return {"classes": names, "items": items, "pictures": pictures, "variance": variance, "several": several,
            "all": len(images), "interval": None if several else wilson(right, len(items))}


def flat(vectors: "Tensor") -> "tuple[Tensor, list[float]]":
    """Vectors (N, width) in their first two principal components, (N, 2) between −1 and 1, and the share of the
    variance in each. A component's sign is that of its largest weight.
    """
    import torch

    shifted = vectors.double() - vectors.double().mean(0)
    _, scale, rows = torch.linalg.svd(shifted, full_matrices=False)
    two = rows[:2] * rows[:2].gather(1, rows[:2].abs().argmax(1, keepdim=True)).sign()
    places = torch.nn.functional.pad(shifted @ two.T, (0, 2 - len(two)))
    whole = float(scale.square().sum()) or 1.0
    shares = [float(each) ** 2 / whole for each in scale[:2]] + [0.0] * (2 - len(two))
    return places / places.abs().amax().clamp_min(1e-12), shares


def _thumbnail(images: "ImageSet", number: int) -> bytes:
    from ..draw.plots import to_image  # imports torch

    picture = to_image(images.read(number))
    picture.thumbnail((SIDE, SIDE))
    content = BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()
