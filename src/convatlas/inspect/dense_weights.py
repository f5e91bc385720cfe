"""Weights of a dense block by the layer they read from: the heat map of DenseNet's Figure 5 (Huang et al. 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..draw.canvas import LETTER, MARGIN, canvas, graph, least_width, write
from ..draw.plots import COLORS
from ..errors import ConvatlasError
from ..net.model import Convnet
from ..parts import DenseBlock

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WITH_BLOCKS = ("densenet121", "densenet_40_12_cifar")          # networks to try instead
SIDE, GAP, LEFT, TOP, LEGEND = 236, 62, 50, 104, 66            # units
BARS = 40                                                      # steps of the legend


@dataclass(frozen=True)
class Block:
    """Mean absolute weights between the layers of one dense block."""

    name: str               # of the block, among the model's modules
    # (sources, targets): source 0 is the block's input, s its layer s; nan where nothing is read
    weights: Tensor
    reader: str | None      # the layer behind the block that the last column is of, if it reads all of the block's maps


def dense_weights(model: Convnet) -> list[Block]:
    """Mean |w| of the weights by which layer l of each dense block reads the maps of each earlier layer s, l = 1 to L;
    the last column is of the transition or classifier behind the block. Where layers have a bottleneck, its 1×1
    convolution does the reading.

    Raises ConvatlasError for a network without dense blocks.
    """
    modules = list(model.named_modules())
    found = []
    for i, (name, block) in enumerate(modules):
        if isinstance(block, DenseBlock):
            behind = [(key, module) for key, module in modules[i:] if not key.startswith(f"{name}.")]
            found.append(_block(name, block, behind))
    if not found:
        raise ConvatlasError(f"{model.name} has no dense blocks whose weights could be compared; networks that have: "
                             f"{', '.join(WITH_BLOCKS)}")
    return found


def _block(name: str, block: DenseBlock, behind: Sequence[tuple[str, nn.Module]]) -> Block:
    layers = [[module for module in layer.modules() if isinstance(module, nn.Conv2d)] for layer in block]
    widths = [layers[0][0].in_channels, *(convs[-1].out_channels for convs in layers)]
    readers = [convs[0].weight for convs in layers]
    after = next(((key, module.weight) for key, module in behind if isinstance(module, nn.Conv2d | nn.Linear)), None)
    if after is not None and after[1].shape[1] == sum(widths):
        readers.append(after[1])
    else:
        after = None
    weights = torch.full((len(widths), len(readers)), torch.nan, dtype=torch.float64)
    for target, weight in enumerate(readers):
        for source, part in enumerate(torch.split(weight.detach().double(), widths[: target + 1], dim=1)):
            weights[source, target] = part.abs().mean()
    return Block(name, weights, after and after[0])


# -- the picture -----------------------------------------------------------------------------------------------------

def draw(found: Sequence[Block], title: str) -> "Figure":
    """A heat map per block: a column per reading layer, divided by its largest value; a row per layer that is read."""
    lines = ["Mean absolute weight by which a layer (column) reads the maps of an earlier one (row), as a share "
             "of the column's largest.",
             "Row 0 is the block's input; the framed column is the transition or the classifier behind the block."]
    wide = max(MARGIN + LEFT + len(found) * (SIDE + GAP) - GAP + LEGEND + MARGIN, least_width(title, lines))
    high = TOP + 26 + SIDE + 44 + MARGIN
    with canvas(wide, high, title, lines) as (figure, sheet):
        for i, block in enumerate(found):
            x, y = MARGIN + LEFT + i * (SIDE + GAP), TOP + 26
            _map(graph(figure, x, y, SIDE, SIDE), block)
            write(sheet, x, y - 8, block.name, "ink", 11, weight="bold")
            write(sheet, x + SIDE / 2, y + SIDE + 36, "reading layer", "soft", 10, ha="center")
        sheet.text(MARGIN + 10, TOP + 26 + SIDE / 2, "layer that is read", rotation=90, ha="center", va="center",
                   fontsize=10, color=COLORS["soft"])
        x = MARGIN + LEFT + len(found) * (SIDE + GAP) - GAP + 24
        legend = graph(figure, x, TOP + 26, 12, SIDE)
        legend.imshow(torch.linspace(1, 0, BARS)[:, None].numpy(), cmap="viridis", aspect="auto")
        legend.axis("off")
        for share in (0, 0.5, 1):
            write(sheet, x + 12 + LETTER, TOP + 26 + SIDE * (1 - share), f"{share:g}", "soft", 10, va="center")
    return figure


def _map(axes: "Axes", block: Block) -> None:
    from matplotlib.ticker import MaxNLocator

    sources, targets = block.weights.shape
    shares = block.weights / block.weights.nan_to_num(0).amax(0).clamp(min=1e-12)
    axes.imshow(shares.numpy(), cmap="viridis", vmin=0, vmax=1, aspect="auto", interpolation="nearest",
                extent=(0.5, targets + 0.5, sources - 0.5, -0.5))
    if block.reader is not None:
        axes.plot([targets - 0.5, targets + 0.5, targets + 0.5, targets - 0.5, targets - 0.5],
                  [-0.5, -0.5, sources - 0.5, sources - 0.5, -0.5], color=COLORS["ink"], linewidth=1.6, clip_on=False)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.spines["bottom"].set_visible(False)
