"""Feature maps: what the layers of a network make of one image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..draw.canvas import MARGIN, below, canvas, heat, least_width, show, write
from ..errors import ConvatlasError
from ..net.model import Convnet, by
from .places import layer as layer_of
from .places import stages, watching

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL, GAP, LABEL, UNDER = 64, 6, 132, 18        # units: a map, between two, the names at the left, the numbers below
STRIP = 10                                      # channels drawn per layer
PICTURE = 112


@dataclass(frozen=True)
class Maps:
    """Feature maps of one layer for one image."""

    layer: str
    values: Tensor      # (C, H, W)

    @property
    def activity(self) -> Tensor:
        """Each channel's mean absolute value, (C,)."""
        return self.values.abs().mean((1, 2))


def activations(model: Convnet, image: Tensor, layers: Sequence[str] = ()) -> list[Maps]:
    """The output of each of `layers` (default: stem and stages) for one image (C, H, W), prepared as
    `transforms(model)` does.

    Raises ConvatlasError for a layer that does not exist, that does not run, or gives no map.
    """
    names = list(layers) or stages(model)
    if not names:
        raise ConvatlasError(f"{model.name} has no stages to look at: name a layer, such as 'head.hidden'")
    seen: dict[str, Tensor] = {}
    modules = {name: layer_of(model, name) for name in names}
    with watching(model, modules, lambda name, given, output: seen.update({name: output})) as device:
        model(image[None].to(device))
    return [Maps(name, _map(name, seen.get(name))) for name in names]


def _map(name: str, output: object) -> Tensor:
    if output is None:
        raise ConvatlasError(f"layer {name!r} does not run when the network predicts: choose another")
    if not isinstance(output, Tensor) or output.ndim not in (2, 4):
        raise ConvatlasError(f"layer {name!r} gives no maps (N, C, H, W): choose another")
    return (output if output.ndim == 4 else output[:, :, None, None])[0].cpu()


# -- the picture -----------------------------------------------------------------------------------------------------

def draw(found: Sequence[Maps], picture: np.ndarray, title: str) -> "Figure":
    """A strip per layer: its most active channels, the most active first, from their least values (dark) to their
    largest (light), all but the outermost hundredths.

    `picture` is the image as the network saw it, bytes (h, w) or (h, w, 3).
    """
    lines = ["The channels with the largest mean response, the largest first. Dark: the least values of the row; "
             "light: the largest."]
    top = below(lines) + PICTURE + 24
    wide = max(MARGIN + LABEL + STRIP * (CELL + GAP) - GAP + MARGIN, least_width(title, lines))
    with canvas(wide, top + len(found) * (CELL + UNDER + GAP) - GAP + MARGIN, title, lines) as (figure, axes):
        write(axes, MARGIN, below(lines) + PICTURE / 2, "image", "ink", 11, va="center", weight="bold")
        write(axes, MARGIN, below(lines) + PICTURE / 2 + 16, by((picture.shape[0], picture.shape[1])),
              "soft", 9, va="center")
        show(axes, picture, MARGIN + LABEL, below(lines), PICTURE * picture.shape[1] / picture.shape[0], PICTURE)
        for i, maps in enumerate(found):
            y, (count, h, w) = top + i * (CELL + UNDER + GAP), maps.values.shape
            write(axes, MARGIN, y + CELL / 2 - 3, maps.layer, "ink", 11, va="center", weight="bold")
            write(axes, MARGIN, y + CELL / 2 + 13, f"{count} maps of {by((h, w))}", "soft", 9, va="center")
            strip = maps.activity.argsort(descending=True)[:STRIP]
            low, high = maps.values[strip].float().flatten().quantile(torch.tensor([0.01, 0.99])).tolist()
            for k, channel in enumerate(strip.tolist()):
                x = MARGIN + LABEL + k * (CELL + GAP)
                show(axes, heat(maps.values[channel], low, high), x, y, CELL, CELL)
                write(axes, x + CELL / 2, y + CELL + 4, str(channel), "soft", 8, ha="center", va="top")
    return figure
