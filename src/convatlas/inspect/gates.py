"""Gates of squeeze-and-excitation: the factor of every channel, class by class (Hu et al. 2018, section 6.4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data import ImageSet, Transform
from ..draw.canvas import MARGIN, canvas, graph, write
from ..draw.markup import clipped
from ..draw.plots import COLORS, MAX_LABEL
from ..errors import ConvatlasError, nearest
from ..net.model import Convnet
from ..parts import SqueezeExcite
from .curves import PALETTE
from .pictures import inputs
from .places import spread, watching

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WITH_GATES = ("se_resnet50", "mobilenet_v3_large", "efficientnet_b0")      # networks to try instead
CHOSEN = 4                                      # classes drawn unless others are asked for, as in the paper's figures
# most classes whose own deviations are shaded, as in the paper's figure of two
BANDS = 2
DRAWN = 50                                      # channels of a layer, evenly spread, as in the paper's figures
WIDE, HIGH, LEFT, BETWEEN, TOP, FOOT = 620, 150, 40, 56, 84, 44


@dataclass(frozen=True)
class Gates:
    """The factors of one layer, over the images of each class and over all."""

    layer: str
    classes: tuple[str, ...]
    images: int         # all of them
    counts: Tensor      # (K,): of each class
    mean: Tensor        # (K, C), float64; nan for a class without images
    std: Tensor         # (K, C): between the images of a class
    all_mean: Tensor    # (C,): over all images
    all_std: Tensor     # (C,)


def gates(model: Convnet, images: ImageSet, classes: Sequence[str], transform: Transform, *, count: int | None = None,
          batch_size: int = 64) -> list[Gates]:
    """The factors of every squeeze-and-excitation of `model` on `images`, whose labels number `classes`.

    `count` images, spread evenly over the set (default: all). A factor that differs from pixel to pixel counts by its
    mean; an image of several labels counts for each of them. Raises ConvatlasError for a network without
    squeeze-and-excitation.
    """
    layers = {name: module.gate for name, module in model.named_modules() if isinstance(module, SqueezeExcite)}
    if not layers:
        raise ConvatlasError(f"{model.name} has no squeeze-and-excitation, so there are no gates to look at; networks "
                             f"that have: {', '.join(WITH_GATES)}, or resnet20_cifar built with excite.reduction=4")
    seen: dict[str, Tensor] = {}
    sums = {name: _Sums(len(classes)) for name in layers}
    with watching(model, layers, lambda name, given, scale: seen.update({name: scale.mean((2, 3))})) as device:
        for numbers, batch in inputs(images, spread(images, count), transform, batch_size):
            model(batch.to(device))
            members = _members(images.labels[numbers], len(classes))
            for name, scale in seen.items():
                sums[name].add(members, scale.double().cpu())
    return [sums[name].told(name, tuple(classes)) for name in seen]


def _members(labels: Tensor, classes: int) -> Tensor:
    """(n, K) of 0 and 1: which image belongs to which class."""
    return (labels if labels.ndim == 2 else F.one_hot(labels, classes)).double()


class _Sums:
    """Running sums of a layer's factors and of their squares, for each class and, in the last row, for all images."""

    def __init__(self, classes: int) -> None:
        self.counts = torch.zeros(classes + 1, dtype=torch.float64)
        self.once: Tensor | float = 0.0
        self.twice: Tensor | float = 0.0

    def add(self, members: Tensor, scale: Tensor) -> None:
        """`members` (n, K), `scale` (n, C)."""
        members = torch.cat([members, torch.ones(len(members), 1, dtype=torch.float64)], 1)
        self.counts += members.sum(0)
        self.once = self.once + members.T @ scale
        self.twice = self.twice + members.T @ scale.square()

    def told(self, layer: str, classes: tuple[str, ...]) -> Gates:
        mean = self.once / self.counts[:, None]         # 0 / 0 is nan
        std = (self.twice / self.counts[:, None] - mean.square()).clamp(min=0).sqrt()
        return Gates(layer, classes, int(self.counts[-1]), self.counts[:-1].long(), mean[:-1], std[:-1],
                     mean[-1], std[-1])


# -- the picture -----------------------------------------------------------------------------------------------------

def draw(found: Sequence[Gates], title: str, classes: Sequence[str] = (), layers: Sequence[str] = ()) -> "Figure":
    """A graph per layer: the mean factor of each channel for some classes (default: the first four with images) and for
    all images.

    The deviation over all images is shaded, or those of the classes where there are but one or two. `layers` are drawn
    (default: the last of each stage). Raises ConvatlasError for unknown names.
    """

    first = found[0]
    chosen = [_known(name, first.classes, "class") for name in classes]
    chosen = chosen or [i for i, count in enumerate(first.counts.tolist()) if count][:CHOSEN]
    rows = ([found[_known(name, [each.layer for each in found], "layer with gates")] for name in layers]
            or _last_of_stages(found))
    lines = ["The factor by which squeeze-and-excitation multiplies each channel: mean over the images of a class.",
             f"Grey: over all {first.images} images. Shaded: one standard "
             f"deviation{' of each class' if len(chosen) <= BANDS else ''}."]
    wide, high = LEFT + WIDE + 2 * MARGIN, TOP + 52 + len(rows) * (HIGH + BETWEEN) - BETWEEN + FOOT + MARGIN
    with canvas(wide, high, title, lines) as (figure, sheet):
        x = float(MARGIN + LEFT)
        named = ((clipped(first.classes[k], MAX_LABEL), PALETTE[i % 7]) for i, k in enumerate(chosen))
        for name, color in (("all", COLORS["soft"]), *named):
            sheet.plot([x, x + 16], [TOP + 18, TOP + 18], color=color, linewidth=2.4)
            write(sheet, x + 22, TOP + 18, name, "ink", va="center")
            x += 42 + 6.6 * len(name)
        for i, gates in enumerate(rows):
            y = TOP + 28 + 24 + i * (HIGH + BETWEEN)
            _lines(graph(figure, MARGIN + LEFT, y, WIDE, HIGH), gates,
                   [(k, PALETTE[j % 7]) for j, k in enumerate(chosen)])
            write(sheet, MARGIN + LEFT, y - 7, f"{gates.layer}, {gates.mean.shape[1]} channels", "ink",
                  11, weight="bold")
        write(sheet, MARGIN + LEFT + WIDE / 2, high - MARGIN, "channel", "soft", ha="center")
    return figure


def _known(name: str, names: Sequence[str], what: str) -> int:
    if name not in names:
        raise ConvatlasError(f"there is no {what} "
                             f"{name!r}{nearest(name, names) or '; there are ' + ', '.join(names[:10])}")
    return list(names).index(name)


def _last_of_stages(found: Sequence[Gates]) -> list[Gates]:
    """The last layer of each part of the network: 'stages.2' of 'stages.2.5.branch.se'."""
    return list({".".join(gates.layer.split(".")[:2]): gates for gates in found}.values())


def _lines(axes: "Axes", gates: Gates, chosen: Sequence[tuple[int, str]]) -> None:
    channels = torch.linspace(0, gates.mean.shape[1] - 1, min(DRAWN, gates.mean.shape[1])).round().long()
    mean, std = gates.all_mean[channels], gates.all_std[channels]
    bands = [(gates.mean[k, channels], gates.std[k, channels], color) for k, color in chosen]
    for own, around, color in bands if len(chosen) <= BANDS else [(mean, std, COLORS["soft"])]:
        axes.fill_between(channels, own - around, own + around, color=color, alpha=0.2, linewidth=0)
    axes.plot(channels, mean, color=COLORS["soft"], linewidth=2.2)
    for own, _, color in bands:
        axes.plot(channels, own, color=color, linewidth=1.2)
    values = torch.cat([gates.mean[:, channels].nan_to_num(0.5).flatten(), mean - std, mean + std])
    axes.set_ylim(min(0.0, values.min().item()), max(1.0, values.max().item()))
    axes.set_xlim(0, max(1, gates.mean.shape[1] - 1))
    axes.grid(axis="y", color=COLORS["line"], linewidth=0.8)
