"""Objects from a network's classes of pixels: connected components, or a watershed that separates those that touch."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
SMALLEST = 10           # pixels of an object; fewer are noise


def components(foreground: NDArray[np.bool_], smallest: int = 0) -> Numbers:
    """Connected components of the foreground (H, W), over edges or corners, numbered from 1; int64 (H, W)."""
    from skimage.measure import label

    return _without_small(np.asarray(label(foreground, connectivity=2), dtype=np.int64), smallest)


def watershed(share: NDArray[np.floating[Any]], smallest: int = SMALLEST) -> Numbers:
    """Objects of a foreground probability (H, W), touching ones separated: flooded from the innermost points."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed as flood

    foreground = share > 0.5
    depth = gaussian_filter(distance_transform_edt(foreground), 1.0)
    seeds = np.zeros(share.shape, np.int64)
    for number, place in enumerate(peak_local_max(depth, min_distance=4, labels=components(foreground),
                                                  exclude_border=False), start=1):
        seeds[tuple(place)] = number
    return _without_small(np.asarray(flood(-depth, seeds, mask=foreground), dtype=np.int64), smallest)


def instances(share: NDArray[np.floating[Any]], how: Literal["components", "watershed"]) -> Numbers:
    """Objects of a foreground probability (H, W) of which at least 10 pixels are sure; int64 (H, W), 0 the background.
    """
    return watershed(share) if how == "watershed" else components(share > 0.5, SMALLEST)


def measured(objects: Numbers) -> Iterator[dict[str, float]]:
    """Of each object its number, area in pixels, and the centre of its pixels (row, column)."""
    rows, columns = np.indices(objects.shape)
    area = np.bincount(objects.ravel())
    high, wide = (np.bincount(objects.ravel(), weights=each.ravel()) for each in (rows, columns))
    for number in np.flatnonzero(area)[1 if area[0] else 0:]:
        yield {"object": int(number), "area": int(area[number]), "row": high[number] / area[number],
               "column": wide[number] / area[number]}


def _without_small(objects: Numbers, smallest: int) -> Numbers:
    """Numbered from 1 without gaps."""
    sizes = np.bincount(objects.ravel())
    kept = (sizes >= smallest) & (sizes > 0)
    kept[0] = False
    new: Numbers = np.where(kept, np.cumsum(kept), 0)[objects]
    return new
