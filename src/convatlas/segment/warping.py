"""Warping error: what is wrong once borders may be moved (Jain et al. 2010; ISBI 2012).

The truth is warped towards the prediction pixel by pixel, as long as no object splits, merges, vanishes or gets a hole:
only simple points change. What still differs then are errors of topology, not of where exactly a border was drawn.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
# neighbours in a circle; the odd ones share an edge
AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


def warping_error(truth: Mask, found: Mask) -> float:
    """The share of pixels in which `found` (H, W) differs from `truth` warped towards it.

    As with every known algorithm it is an upper bound: the best warping is not searched for.
    """
    return float((warped(truth, found) != found).mean())


def warped(truth: Mask, found: Mask) -> Mask:
    """The truth (H, W) after all flips of simple points that bring it nearer to `found`; beyond the edges lies
    background.

    Objects are 4-connected, what is between them 8-connected, so that a thin diagonal line separates two of them.
    Pixels of one of four interleaved grids are no neighbours, and flip at once.
    """
    now = np.pad(truth.astype(bool), 1)
    goal = np.pad(found.astype(bool), 1)
    grids = [np.zeros(now.shape, bool) for _ in range(4)]
    for number, grid in enumerate(grids):
        grid[1 + number // 2 : -1 : 2, 1 + number % 2 : -1 : 2] = True
    while True:
        flipped = 0
        for grid in grids:
            rows, columns = np.nonzero((now != goal) & grid)
            code = sum(now[rows + dy, columns + dx].astype(np.int64) << place for place, (dy, dx) in enumerate(AROUND))
            simple = _simple()[code] if len(rows) else np.zeros(0, bool)
            now[rows[simple], columns[simple]] ^= True
            flipped += int(simple.sum())
        if not flipped:
            inside: Mask = now[1:-1, 1:-1]
            return inside


@cache
def _simple() -> Mask:
    """Of each of the 256 neighbourhoods whether the pixel amid it may change: one object beside it over an edge, one
    background.
    """
    return np.array([_parts(code, corners=False) == 1 == _parts(code ^ 255, corners=True) for code in range(256)])


def _parts(code: int, *, corners: bool) -> int:
    """Number of parts of the pixels set in the ring that touch the middle: over edges only, or over corners too."""
    left, parts = {place for place in range(8) if code >> place & 1}, 0
    while left:
        part, new = set[int](), [left.pop()]
        while new:
            place = new.pop()
            part.add(place)
            (y, x) = AROUND[place]
            near = [other for other in left if (d := (abs(AROUND[other][0] - y), abs(AROUND[other][1] - x)))
                    in ((0, 1), (1, 0)) or (corners and d == (1, 1))]
            left -= set(near)
            new += near
        parts += corners or any(place % 2 for place in part)
    return parts
