"""The kernels of a layer as pictures: those that look at colours as AlexNet's Figure 3, others channel by channel."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ..draw.canvas import MARGIN, below, canvas, least_width, show, write
from ..draw.plots import filter_pictures
from ..errors import ConvatlasError
from ..net.model import Convnet
from ..parts import LocalConv2d, TableConv2d
from .places import layer as layer_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL, GAP = 44, 4               # units: a kernel's longer side, and between two
# kernels that look at pixels, side by side: so many that the last row is full, where that can be
COLUMNS = range(6, 13)
MOST = 16                       # of a deeper layer: rows (kernels) drawn, and columns (their channels)


@dataclass(frozen=True)
class Kernels:
    """A layer's weights as pictures."""

    layer: str
    weights: Tensor         # (kernels, channels, height, width); nan where a connection table has no link
    of_image: bool          # they look at the image itself, so that channels are colours


def filters(model: Convnet, layer: str | None = None) -> Kernels:
    """The kernels of `layer`, or of the first layer with some.

    A fully connected layer over the image gives a picture of the whole input per unit, a local one a picture per
    position. Raises ConvatlasError for a layer that does not exist, or that has no kernels.
    """
    found = {name: pictures for name, module in model.named_modules()
             if (pictures := _pictures(module, model)) is not None}
    if not found:
        raise ConvatlasError(f"{model.name} has no layer whose weights are pictures")
    first = next(iter(found))
    if layer is not None and layer not in found:
        kind = type(layer_of(model, layer)).__name__
        raise ConvatlasError(f"{layer!r} of {model.name} is a {kind}, which has no kernels to draw; the first layer "
                             f"that has is {first!r}")
    name = layer or first
    return Kernels(name, found[name], name == first and found[name].shape[1] == model.in_chans)


def first_filters(model: Convnet) -> Tensor | None:
    """The first layer's weights as pictures, (filters, in_chans, height, width); None where its kind is unknown."""
    try:
        return filters(model).weights
    except ConvatlasError:
        return None


def _pictures(module: nn.Module, model: Convnet) -> Tensor | None:
    if isinstance(module, nn.Conv2d):
        return module.weight.detach()
    if isinstance(module, TableConv2d):
        weights = module.weight.new_full((module.cout * module.cin, module.kernel, module.kernel), torch.nan)
        return torch.unflatten(weights.index_copy(0, module.place, module.weight.detach()), 0,
                               (module.cout, module.cin))
    if isinstance(module, LocalConv2d):
        return torch.unflatten(module.weight.detach().flatten(0, 1), 1, (module.cin, module.kernel, module.kernel))
    if (isinstance(module, nn.Linear)
            and module.in_features == model.in_chans * model.image_size[0] * model.image_size[1]):
        return torch.unflatten(module.weight.detach(), 1, (model.in_chans, *model.image_size))
    return None


# -- the picture -----------------------------------------------------------------------------------------------------

def draw(found: Kernels, name: str, limit: int = 96) -> "Figure":
    """The kernels of network `name`: to `limit` of them as pictures where they have one channel or look at colours, as
    Krizhevsky et al. 2012, figure 3; otherwise the first sixteen, a row each, with a column for each of their first
    sixteen channels.
    """
    count, channels, high, wide = found.weights.shape
    title = f"{'First layer' if found.of_image else 'Kernels'} of {name}"
    size = f"{found.layer}: {count} kernels of {high}×{wide} pixels"
    if channels == 1 or (found.of_image and channels == 3):
        size += (", red, green and blue" if channels == 3 else "") + (f"; {limit} are drawn" if count > limit else "")
        return _grid(found.weights[:limit], title, [size, "Each is scaled by its largest weight; mid-grey is zero."])
    scale = "Each row is scaled by its largest weight: black is negative, white positive, mid-grey zero."
    return _table(found.weights, title, [f"{size}×{channels} channels", scale])


def _grid(weights: Tensor, title: str, lines: list[str]) -> "Figure":

    h, w = weights.shape[2:]
    high, wide = CELL * h / max(h, w), CELL * w / max(h, w)
    columns = max((n for n in COLUMNS if len(weights) % n == 0), default=min(len(weights), max(COLUMNS)))
    rows, top = -(-len(weights) // columns), below(lines)
    sheet = max(2 * MARGIN + columns * (wide + GAP) - GAP, least_width(title, lines))
    with canvas(sheet, top + rows * (high + GAP) - GAP + MARGIN, title, lines) as (figure, axes):
        for i, picture in enumerate(filter_pictures(weights, len(weights))):
            x, y = MARGIN + i % columns * (wide + GAP), top + i // columns * (high + GAP)
            show(axes, np.asarray(picture), x, y, wide, high)
    return figure


def _table(weights: Tensor, title: str, lines: list[str]) -> "Figure":
    weights = weights[:MOST, :MOST]
    count, channels = weights.shape[:2]
    cell, left, top = CELL * 0.8, MARGIN + 62, below(lines) + 20
    wide = max(left + channels * (cell + GAP) - GAP + MARGIN, least_width(title, lines))
    with canvas(wide, top + count * (cell + GAP) - GAP + MARGIN, title, lines) as (figure, axes):
        for j in range(channels):
            write(axes, left + j * (cell + GAP) + cell / 2, top - 6, f"{'channel ' if j == 0 else ''}{j}",
                  "soft", 9, ha="center")
        for i, kernel in enumerate(weights):
            y, largest = top + i * (cell + GAP), kernel.abs().nan_to_num(0).max().clamp(min=1e-12)
            write(axes, left - 10, y + cell / 2, f"kernel {i}", "soft", 9, ha="right", va="center")
            for j, channel in enumerate(kernel):
                if not channel.isnan().any():
                    pixels = (127.5 + 127.5 * channel / largest).round().to(torch.uint8).cpu()
                    show(axes, np.asarray(pixels), left + j * (cell + GAP), y, cell, cell)
    return figure
