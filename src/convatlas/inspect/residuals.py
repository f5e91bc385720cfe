"""Layer responses: the standard deviations of ResNet's Figure 7 (He et al. 2016)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..data import ImageSet
from ..draw.canvas import MARGIN, canvas, graph, write
from ..draw.markup import clipped
from ..draw.plots import COLORS
from ..errors import ConvatlasError
from ..net.model import Convnet
from ..parts import Residual, SqueezeExcite
from .curves import PALETTE
from .pictures import inputs
from .places import spread, watching

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDE, HIGH, LEFT, BETWEEN, TOP = 620, 190, 40, 66, 62


@dataclass(frozen=True)
class Responses:
    """The standard deviation of each convolution's response, in the order in which they run."""

    layers: tuple[str, ...]     # the convolutions
    std: Tensor                 # (layers,), float64: over all images, channels and positions
    residual: bool              # the network has shortcuts


def residuals(model: Convnet, images: ImageSet, transform: Callable[[Tensor], Tensor], *, count: int | None = None,
              batch_size: int = 64) -> Responses:
    """The deviation of the responses of `model` on `count` of `images`, spread evenly (default: all).

    A response is a convolution's output after the normalisation that reads it, where one does, and before any
    nonlinearity. Projections on shortcuts are left out, as in the paper, which has none, and so is what computes gates,
    not responses. Raises ConvatlasError for a network without convolutions.
    """
    gates = {inner for module in model.modules() if isinstance(module, SqueezeExcite) for inner in module.modules()}
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
              and "shortcut" not in name.split(".") and module not in gates}
    latest: dict[str, Tensor] = {}          # the convolution that ran last -> its output
    made: dict[str, Tensor] = {}            # convolution -> moments of its response to this batch
    sums: dict[str, Tensor] = {}            # -> to all batches

    def see(name: str, given: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layers[name], nn.Conv2d):
            latest.clear()
            latest[name], made[name] = output, _moments(output)
        elif any(each is given[0] for each in latest.values()):
            made[next(iter(latest))] = _moments(output)

    with watching(model, layers, see) as device:
        for _, batch in inputs(images, spread(images, count), transform, batch_size):
            model(batch.to(device))
            for name, moments in made.items():
                sums[name] = sums.get(name, torch.zeros(3, dtype=torch.float64)) + moments
    if not sums:
        raise ConvatlasError(f"{model.name} has no convolutions whose responses could be measured")
    number, once, twice = torch.stack(list(sums.values())).T
    std = (twice / number - (once / number).square()).clamp(min=0).sqrt()
    return Responses(tuple(sums), std, any(isinstance(module, Residual) for module in model.modules()))


def _moments(response: Tensor) -> Tensor:
    """Number of values, their sum, the sum of their squares: (3,)."""
    values = response.double()
    return torch.stack([torch.tensor(values.numel(), dtype=torch.float64, device=values.device), values.sum(),
                        values.square().sum()]).cpu()


# -- the picture -----------------------------------------------------------------------------------------------------

def draw(found: Mapping[str, Responses]) -> "Figure":
    """The networks, by name, in one picture: the layers in their order above, from the strongest to the weakest below.

    A network with shortcuts is drawn with a full line, one without with a dashed line.
    """
    from matplotlib.ticker import MaxNLocator


    wide, high = LEFT + WIDE + 2 * MARGIN, TOP + 18 * len(found) + 24 + 2 * (HIGH + BETWEEN)
    styles = {name: (PALETTE[i % 7], "-" if each.residual else (0, (4, 2)))
              for i, (name, each) in enumerate(found.items())}
    lines = ["Standard deviation of what each convolution gives, after normalisation and before the nonlinearity."]
    with canvas(wide, high, "How strongly the layers respond", lines) as (figure, sheet):
        for i, (name, each) in enumerate(found.items()):
            y, (color, dashes) = TOP + 18 + 18 * i, styles[name]
            sheet.plot([MARGIN + LEFT, MARGIN + LEFT + 26], [y, y], color=color, linestyle=dashes, linewidth=2)
            kind = "" if each.residual else " (no shortcuts)"
            said = f"{clipped(name, 48)}: {len(each.layers)} layers, mean {each.std.mean():.2f}{kind}"
            write(sheet, MARGIN + LEFT + 34, y, said, "ink", va="center")
        for k, label in enumerate(("layer, in the order of the network", "layers, the strongest first")):
            top = TOP + 18 * len(found) + 24 + k * (HIGH + BETWEEN)
            axes = graph(figure, MARGIN + LEFT, top, WIDE, HIGH)
            for name, each in found.items():
                values, (color, dashes) = each.std.sort(descending=True).values if k else each.std, styles[name]
                axes.plot(range(1, len(values) + 1), values, color=color, linestyle=dashes, linewidth=1.6)
            axes.set_ylim(bottom=0)
            axes.set_xlim(left=0.4)
            axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
            axes.grid(axis="y", color=COLORS["line"], linewidth=0.8)
            write(sheet, MARGIN + LEFT + WIDE / 2, top + HIGH + 32, label, "soft", ha="center")
    return figure
