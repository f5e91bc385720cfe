"""Pictures that a network takes for alike: the nearest by the activity of the last hidden layer (Krizhevsky et al.
2012, Figure 4).
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data import ImageSet, Transform
from ..data.images import ranged
from ..draw.canvas import LETTER
from ..draw.plots import COLORS, UNITS, defaults
from ..errors import ConvatlasError
from ..net.model import Convnet
from ..net.segmenter import of_images
from .nearest import Engine, Metric, nearest
from .pictures import ending, inputs, show
from .vectors import Changes, Index, embed, key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE, GAP, CAPTION, TOP = 104, 10, 34, 58        # units of a figure: a picture, what lies between, below and above
LETTERS = 18                                    # of a name below a picture


@dataclass(frozen=True)
class Neighbor:
    """One picture that was found; `pixels` are uint8 (C, H, W)."""

    name: str
    label: int
    distance: float
    pixels: Tensor


@dataclass(frozen=True)
class Neighbors:
    """Every query with its neighbours, nearest first."""

    names: tuple[str, ...]
    pictures: tuple[Tensor, ...]                # uint8 (C, H, W)
    found: tuple[tuple[Neighbor, ...], ...]
    metric: Metric
    searched: int                               # vectors
    changes: Changes                            # of the index, before it was searched


def neighbors(model: Convnet, queries: ImageSet, among: ImageSet, transform: Transform, *, index: Path | None = None,
              k: int = 6, metric: Metric = "euclidean", engine: Engine = "exact", batch_size: int = 64) -> Neighbors:
    """The `k` pictures of `among` nearest to each of `queries` by the vectors before the classifier of `model`, which
    is in eval mode.

    `transform` is `convatlas.transforms(model)`. `index` keeps the vectors in a folder, where the next call finds them;
    without it they are computed anew. A query that is itself among the pictures is not its own neighbour. Unreadable
    pictures are reported and left out. Raises ConvatlasError where nothing can be read, or the index belongs to another
    network.
    """
    of_images(model, "look at it with `convatlas inspect segmentation`")
    if k < 1:
        raise ConvatlasError(f"k = {k} is refused: it must be at least 1")
    queries, among = ranged(queries, transform.range), ranged(among, transform.range)
    asked = [(i, embed(model, x[None]))
             for numbers, batch in inputs(queries, range(len(queries)), transform, batch_size)
             for i, x in zip(numbers, batch, strict=True)]
    if not asked:
        raise ConvatlasError("none of the query images can be read")
    with tempfile.TemporaryDirectory() as folder:
        here = Index(index or Path(folder, "index"), model, transform)
        changes = here.update(among, batch_size)
        distances, numbers = nearest(torch.cat([vector for _, vector in asked]), here.vectors, k + 1, metric, engine)
        names = here.names(numbers.flatten().tolist())
        searched = here.vectors.count
    wanted = set(names)
    places = {name: i for i in range(len(among)) if (name := key(among, i)) in wanted}
    rows = []
    for row, (query, _) in enumerate(asked):
        own = key(queries, query)
        ranked = zip(names[row * numbers.shape[1] :], distances[row].tolist(), strict=False)
        rows.append(tuple(_neighbor(among, places[name], distance) for name, distance in ranked if name != own)[:k])
    if not any(rows):
        raise ConvatlasError("there is no other picture to find than the query itself: look among more pictures")
    shown = [query for query, _ in asked]
    return Neighbors(tuple(queries.name(i) for i in shown), tuple(queries.read(i) for i in shown), tuple(rows), metric,
                     searched, changes)


def _neighbor(among: ImageSet, i: int, distance: float) -> Neighbor:
    labels = among.labels
    return Neighbor(among.name(i), int(labels[i]) if labels.ndim == 1 else -1, distance, among.read(i))


def draw(result: Neighbors, title: str, classes: Sequence[str] = ()) -> "Figure":
    """Each query at the left, its neighbours beside it with their distances; `classes` name labels, otherwise pictures
    have theirs.
    """
    columns = 1 + max(map(len, result.found))
    kind = {"euclidean": "Euclidean distance", "cosine": "one minus the cosine"}[result.metric]
    among = (f"nearest of {f'{result.searched:,}'.replace(',', ' ')} "
             f"picture{'s' if result.searched > 1 else ''}, by {kind}")
    wide = max((SIDE + GAP) * columns + 4 * GAP, SIDE + 5 * GAP + LETTER * len(among),
               2 * GAP + 1.4 * LETTER * len(title))
    high = TOP + (SIDE + CAPTION) * len(result.names)
    with defaults():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(wide / UNITS, high / UNITS), dpi=UNITS, facecolor=COLORS["paper"])

        def text(x: float, y: float, words: str, color: str = "soft", size: float = 9, weight: str = "normal") -> None:
            figure.text(x / wide, 1 - y / high, words, color=COLORS[color], fontsize=size, fontweight=weight, va="top",
                        parse_math=False)

        def picture(x: float, y: float, pixels: Tensor) -> None:
            show(figure.add_axes((x / wide, 1 - (y + SIDE) / high, SIDE / wide, SIDE / high)), pixels)

        text(GAP, 10, title, "ink", 12.5, "bold")
        text(GAP, 36, "query", "accent", 10)
        text(SIDE + 4 * GAP, 36, among, "soft", 10)
        for row, (name, pixels, found) in enumerate(zip(result.names, result.pictures, result.found, strict=True)):
            y = TOP + (SIDE + CAPTION) * row
            picture(GAP, y, pixels)
            text(GAP, y + SIDE + 3, ending(name, LETTERS), "accent")
            for column, each in enumerate(found):
                x = SIDE + 4 * GAP + (SIDE + GAP) * column
                picture(x, y, each.pixels)
                text(x, y + SIDE
                     + 3, ending(classes[each.label] if 0 <= each.label < len(classes) else each.name, LETTERS), "ink")
                text(x, y + SIDE + 15, f"{each.distance:.3g}", "soft", 8.5)
    return figure
