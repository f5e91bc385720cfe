"""Overlap-tile drawn on an image: what the network sees to score a tile, beyond the image mirrored (Ronneberger et al.
2015, Figure 2).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..draw.canvas import MARGIN, below, canvas, least_width, show, write
from ..draw.plots import COLORS
from ..errors import ConvatlasError
from ..net.segmenter import Segmenter
from ..segment.picture import picture
from ..segment.tiles import Tiling, tiling

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Box(NamedTuple):
    """Pixels from (top, left) to before (bottom, right) of the image; outside it they are mirrored."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class Tiles:
    """The image as all tiles see it together, and one tile."""

    name: str
    tiling: Tiling
    scored: tuple[Box, ...]     # of every tile, in rows
    seen: tuple[Box, ...]
    chosen: int                 # index of the tile that is shown
    whole: Tensor               # uint8 (1 or 3, H, W): the image and what is mirrored around it
    origin: tuple[int, int]     # row and column of `whole` in the image, not above 0


def overlap_tile(net: Segmenter, image: Tensor, tile: int | None = None, chosen: int = 0,
                 overlap: int | None = None) -> Tiles:
    """The tiles of an image uint8 (C, H, W) for `net`: at most `tile` pixels along a side of what it sees at once
    (default: as many as it was made for), of a padded network with `overlap`. Tiles are numbered along rows.
    """
    cut = tiling(net.eval(), (image.shape[1], image.shape[2]), tile or max(net.image_size), overlap)
    if not 0 <= chosen < cut.count:
        raise ConvatlasError(f"tile number {chosen} is refused: there are tiles 0 to {cut.count - 1}")
    scored, seen = [], []
    for row in cut.rows:
        for column in cut.columns:
            scored.append(Box(row.start, column.start, row.stop, column.stop))
            (top, high), (left, wide) = cut.seen(row), cut.seen(column)
            seen.append(Box(top, left, top + high, left + wide))
    top, left = min(box.top for box in seen), min(box.left for box in seen)
    bottom, right = max(box.bottom for box in seen), max(box.right for box in seen)
    whole = picture(image[:3] if len(image) > 2 else image[:1]).read(top, left, bottom - top, right - left)
    return Tiles(net.name, cut, tuple(scored), tuple(seen), chosen, whole, (top, left))


# -- the picture -----------------------------------------------------------------------------------------------------

PANEL, GAP = 430, 40            # units of the longer side of a panel, between two
FINE = 900                      # pixels along a side, beyond which every second, third … is drawn
SEEN, SCORED = "#2f7bff", "#ffd23d"


def draw(result: Tiles) -> "Figure":
    """Left, the image in its mirrored border with all tiles; right, the pixels that one of them is scored from."""
    scored, seen = result.scored[result.chosen], result.seen[result.chosen]
    cut, (high, wide) = result.tiling, result.tiling.size
    title = "Overlap-tile: " + ("what is beyond the image is mirrored" if cut.border else "tiles share their ends")
    shared = (f"it sees {cut.border} pixels more on every side than it scores" if cut.border else
              f"neighbours share {cut.overlap} pixels" if cut.overlap else "one tile holds the image")
    count = f"{cut.count} tile" + "s" * (cut.count > 1)
    lines = [f"{result.name} on an image of {high}×{wide}: {count} of at most "
             f"{max(box.bottom - box.top for box in result.seen)}×{max(box.right - box.left for box in result.seen)}; "
             + shared,
             "yellow: pixels that are scored; blue: pixels that tile is scored from; pale: mirrored"]
    top = below(lines) + 12
    panels = _paled(result), _crop(result, seen)
    rooms = [PANEL * min(1.0, pixels.shape[1] / pixels.shape[0]) for pixels in panels]
    width = sum(rooms) + GAP + 2 * MARGIN
    with canvas(max(width, least_width(title, lines)), top + PANEL + 56, title, lines) as (figure, axes):
        all_of_it = Box(*result.origin, result.origin[0] + result.whole.shape[1],
                        result.origin[1] + result.whole.shape[2])
        x = float(MARGIN)
        for k, (pixels, room, frame) in enumerate(zip(panels, rooms, (all_of_it, seen), strict=True)):
            scale = min(room / (frame.right - frame.left), PANEL / (frame.bottom - frame.top))
            show(axes, pixels, x, top, scale * (frame.right - frame.left), scale * (frame.bottom - frame.top))
            corner = x - scale * frame.left, top - scale * frame.top
            if k == 0:
                for box in result.scored:
                    _outline(axes, box, corner, scale, SCORED, 0.8)
                _outline(axes, Box(0, 0, high, wide), corner, scale, COLORS["ink"], 1.2)
            _outline(axes, scored, corner, scale, SCORED, 2.4)
            _outline(axes, seen, corner, scale, SEEN, 2.4)
            x += room + GAP
        said = (f"tile {result.chosen} of {cut.count}",
                f"{seen.bottom - seen.top}×{seen.right - seen.left} pixels give scores of "
                f"{scored.bottom - scored.top}×{scored.right - scored.left}")
        for i, line in enumerate(said):
            write(axes, MARGIN + rooms[0] + GAP, top + PANEL + 20 + 16 * i, line, "soft", 10.5)
    return figure


def _paled(result: Tiles) -> np.ndarray:
    """The whole as (h, w, 3), what is mirrored half as strong."""
    pixels = result.whole.float()
    (top, left), (high, wide) = result.origin, result.tiling.size
    inside = torch.zeros(pixels.shape[1:], dtype=torch.bool)
    inside[-top : high - top, -left : wide - left] = True
    return _drawn(torch.where(inside, pixels, 0.5 * pixels + 127.5))


def _crop(result: Tiles, box: Box) -> np.ndarray:
    top, left = result.origin
    return _drawn(result.whole[:, box.top - top : box.bottom - top, box.left - left : box.right - left])


def _drawn(pixels: Tensor) -> np.ndarray:
    step = -(-max(pixels.shape[1:]) // FINE)
    shown: np.ndarray = pixels.expand(3, -1, -1)[:, ::step, ::step].movedim(0, 2).round().to(torch.uint8).numpy()
    return shown


def _outline(axes: "Axes", box: Box, corner: tuple[float, float], scale: float, color: str, width: float) -> None:
    """`corner` is where the image's own pixel (0, 0) lies: x, y."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((corner[0] + scale * box.left, corner[1] + scale * box.top),
                             scale * (box.right - box.left), scale * (box.bottom - box.top), fill=False,
                             edgecolor=color, linewidth=width, zorder=3))
