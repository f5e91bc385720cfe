"""Pictures that are there twice: with the same pixels, or nearly.

Near duplicates are looked for among neighbours: the nearest by thumbnails of 8×8 pixels, each channel centred, scaled
to length one, after a projection on their principal components, which never enlarges a distance. A pair is one if a
thumbnail of 16×16 is the other's, but for brightness, contrast and a small shift and stretch, which are fitted by least
squares to the picture and its derivatives (as Lucas & Kanade 1981 register two images): the distance is the root of the
share of variance that remains. How small it must be depends on the data, for some are alike by nature, such as digits.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional as F

from .census import Census, Watch

COARSE, FINE = 8, 16            # sides of the thumbnails that are searched, and compared
WIDTH, NEIGHBORS = 24, 5        # components, and neighbours of each picture
RADIUS = 0.4                    # distance of coarse thumbnails up to which neighbours are compared
SHARE, LEAST, MOST = 0.25, 0.05, 0.2    # of the usual distance between neighbours, and the bounds of that
SAMPLE, BLOCK, PAIRS = 1000, 1000, 32
MOVED, DIMMED = 0.1, 0.5        # most that a picture is shifted or stretched, of its half; contrast lost


class Group(NamedTuple):
    """Pictures that are one, by their numbers, rising."""

    members: tuple[int, ...]
    distance: float = 0.0           # the largest of its pairs; 0: the same pixels


def exact(census: Census) -> list[Group]:
    """Groups of pictures with the same pixels."""
    rows = census.readable
    if not len(rows):
        return []
    _, place, counts = np.unique(census.digest[rows].view(("u8", 2)), axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(place.reshape(-1), kind="stable")
    bounds = np.concatenate([[0], np.cumsum(counts)])
    found = [rows[order[bounds[i] : bounds[i + 1]]] for i in np.flatnonzero(counts > 1)]
    return sorted(Group(tuple(sorted(each.tolist()))) for each in found)


def near(census: Census, same: Sequence[Group], watch: Watch) -> tuple[list[Group], float]:
    """Groups of pictures that are nearly the same, of those with the same pixels the first; and the largest distance
    that was taken for that.

    Pictures on which nothing is to be seen are left out.
    """
    others = [index for group in same for index in group.members[1:]]
    rows = np.setdiff1d(census.readable[~census.flat[census.readable]], others)
    if len(rows) < 2:
        return [], LEAST
    points = _points(census, rows)
    tree = cKDTree(points)
    limit = _limit(census, rows, points, tree)
    pairs, distances = [], []
    for start in range(0, len(rows), BLOCK):
        here = np.arange(start, min(start + BLOCK, len(rows)))
        _, found = tree.query(points[here], k=min(NEIGHBORS + 1, len(rows)), distance_upper_bound=RADIUS)
        first, second = np.repeat(here, found.shape[1]), found.reshape(-1)
        wanted = (second < len(rows)) & (first != second)
        # each pair once, though its second may not name the first among its own neighbours
        both = np.unique(np.sort(np.stack([first[wanted], second[wanted]], 1), axis=1), axis=0)
        apart = distance(_thumbnails(census, rows[both[:, 0]]), _thumbnails(census, rows[both[:, 1]]))
        close = apart <= limit
        pairs.append(both[close])
        distances.append(apart[close])
        watch("comparing", min(start + BLOCK, len(rows)), len(rows))
    return list(_groups(np.concatenate(pairs), np.concatenate(distances), rows)), limit


def _groups(pairs: NDArray[np.int64], distances: NDArray[np.float32], rows: NDArray[np.int64]) -> Iterator[Group]:
    """Groups that hang together by pairs."""
    count = len(rows)
    graph = coo_array((np.ones(len(pairs), np.bool_), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, name = connected_components(graph, directed=False)
    worst: dict[int, float] = {}
    for number, apart in zip(name[pairs[:, 0]].tolist(), distances.tolist(), strict=True):
        worst[number] = max(worst.get(number, 0.0), apart)
    members: dict[int, list[int]] = {number: [] for number in worst}
    for place in np.flatnonzero(np.isin(name, list(worst))).tolist():
        members[int(name[place])].append(int(rows[place]))
    for number, indices in sorted(members.items(), key=lambda item: item[1]):
        yield Group(tuple(indices), worst[number])


def _limit(census: Census, rows: NDArray[np.int64], points: NDArray[np.float32], tree: cKDTree) -> float:
    """A share of the median distance of pictures from their fifth neighbour: nearer ones are not so by chance."""
    some = np.random.RandomState(0).permutation(len(rows))[:SAMPLE]     # a stream that NumPy never changes
    k = min(NEIGHBORS + 1, len(rows))
    far = tree.query(points[some], k=k)[1][:, -1]
    usual = float(np.median(distance(_thumbnails(census, rows[some]), _thumbnails(census, rows[far]))))
    return min(max(SHARE * usual, LEAST), MOST)


def _points(census: Census, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Coarse thumbnails' principal components, (N, WIDTH)."""
    channels = 3 if census.colored else 1

    def coarse(start: int) -> Tensor:
        small: Tensor = F.interpolate(_thumbnails(census, rows[start : start + BLOCK]), size=COARSE, mode="area")
        values = _centered(small).flatten(1)
        unit: Tensor = values / values.norm(dim=1, keepdim=True).clamp(min=1e-6)
        return unit

    gram = torch.zeros(channels * COARSE**2, channels * COARSE**2)
    for start in range(0, len(rows), BLOCK):
        part = coarse(start)
        gram += part.T @ part
    axes = torch.linalg.eigh(gram)[1][:, -WIDTH:]
    return torch.cat([coarse(start) @ axes for start in range(0, len(rows), BLOCK)]).numpy()


def _thumbnails(census: Census, rows: NDArray[np.int64]) -> Tensor:
    """float32 (n, C, FINE, FINE), C being 1 where no picture has colours, else 3."""
    pixels = torch.from_numpy(np.asarray(census.thumbnails[rows, : 3 if census.colored else 1])).float()
    small: Tensor = F.interpolate(pixels, size=FINE, mode="area")
    return small


def distance(a: Tensor, b: Tensor) -> NDArray[np.float32]:
    """Distances of thumbnails float32 (n, C, s, s) in 0..1, the same in both orders: (n,)."""
    found = [torch.minimum(_unexplained(a[i : i + PAIRS], b[i : i + PAIRS]),
                           _unexplained(b[i : i + PAIRS], a[i : i + PAIRS])) for i in range(0, len(a), PAIRS)]
    return torch.cat([torch.zeros(0), *found]).numpy()


def _unexplained(a: Tensor, b: Tensor) -> Tensor:
    """Root of the share of `b`'s variance that `a` does not explain: of 1 where it would have to be moved too far."""
    side = a.shape[-1]
    x = torch.linspace(-1, 1, side)
    wide, high = F.pad(a, (1, 1, 0, 0), mode="replicate"), F.pad(a, (0, 0, 1, 1), mode="replicate")
    across = (wide[..., 2:] - wide[..., :-2]) * (side / 4)          # derivatives per half of the picture
    down = (high[..., 2:, :] - high[..., :-2, :]) * (side / 4)
    columns = torch.stack([_centered(each) for each in (a, across, down, across * x, down * x[:, None])], -1)
    columns = columns.flatten(1, 3)
    lengths = columns.norm(dim=1, keepdim=True).clamp(min=1e-6)
    columns, wanted = columns / lengths, _centered(b).flatten(1)[..., None]
    square = columns.mT @ columns
    square.diagonal(dim1=1, dim2=2).add_(1e-4)          # derivatives of a plain picture vanish
    weights = torch.linalg.solve(square, columns.mT @ wanted)
    rest = (wanted - columns @ weights).square().sum((1, 2))
    whole = wanted.square().sum((1, 2)).clamp(min=1e-6)
    found = (weights / lengths.mT)[..., 0]
    gain = found[:, 0]
    moved = (found[:, 1:] / gain[:, None]).abs().amax(1)
    wrong = (moved > MOVED) | (gain < DIMMED) | (gain > 1 / DIMMED)
    share: Tensor = (rest / whole).clamp(0, 1).masked_fill(wrong, 1).sqrt()
    return share


def _centered(values: Tensor) -> Tensor:
    """Each channel of (n, C, h, w) with mean 0: a tint that pictures share is no likeness."""
    return values - values.mean((2, 3), keepdim=True)
