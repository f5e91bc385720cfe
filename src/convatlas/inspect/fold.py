"""Re-parameterisation in pictures: parallel branches become one kernel, and the map stays the same (Ding et al. 2021,
Figure 4).

Each branch is a convolution once its BatchNorm is folded in, a small one lies in the middle of a large one, the
identity is a 1×1 of ones and zeros: kernels that read the same map add up.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..draw.canvas import LETTER, MARGIN, below, canvas, heat, least_width, show, write
from ..draw.cells import CELL, cells
from ..errors import ConvatlasError
from ..net.fold import Folded, fold
from ..net.model import Convnet
from ..parts import ConvSum
from . import places

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LIMIT = 7           # cells along a side of a kernel whose numbers are written; a larger one is a heat map


@dataclass(frozen=True)
class Kernel:
    """One convolution, BatchNorm folded in: of what it makes of one map for another."""

    weight: Tensor      # (h, w)
    bias: float


@dataclass(frozen=True)
class Merge:
    """Branches of a layer and the kernels that they become; maps are the first image's."""

    name: str
    layer: str
    maps: tuple[int, int]               # read and made
    branches: Mapping[str, Kernel]
    kernels: Sequence[Kernel]           # one, or several where one would cost more (SLaK's strips)
    before: Tensor                      # (H', W'), the sum of the branches
    after: Tensor                       # the same map by the kernels
    difference: float                   # of all maps of the layer, the largest, absolute
    largest: float                      # absolute value in these maps
    scores: float                       # of the whole network's scores, folded and not: the largest difference
    #                                     divided by the largest score


def merge(model: Convnet, layer: str | None = None, made: int = 0, *, seed: int = 0) -> Merge:
    """The merge of `layer` (default: the first that has most branches), of the kernels that make its map `made`.

    Maps are of a normal image of the network's size. Without branches that merge, a ConvatlasError.
    """
    found = {name: module for name, module in model.named_modules() if isinstance(module, ConvSum)}
    if not found:
        raise ConvatlasError(f"{model.name} has no parallel branches that become one kernel: repvgg_a0, replknet_31b "
                             "and slak_tiny have, as long as they are not folded")
    if layer is None:
        layer = max(found, key=lambda name: len(list(found[name].children())))
    module = places.layer(model, layer)
    if not isinstance(module, ConvSum):
        raise ConvatlasError(f"layer {layer!r} of {model.name} has no branches that become one kernel; "
                             f"{next(iter(found))!r} has")
    seen: list[tuple[Tensor, Tensor]] = []
    dice = torch.Generator().manual_seed(seed)
    like = next(model.parameters())
    image = torch.randn(1, model.in_chans, *model.image_size, generator=dice).to(like.device, like.dtype)
    with places.watching(model, {layer: module}, lambda _, given, output: seen.append((given[0], output))):
        model(image)
        given, before = seen[0]
        merged = deepcopy(module).folded()
        after = merged(given)
        whole = fold(model).card.folded
    convs = module.convs()
    channels, groups = next((conv.out_channels, conv.groups) for conv in convs.values())
    if not 0 <= made < channels:
        raise ConvatlasError(f"map {made} is refused: layer {layer!r} of {model.name} makes maps 0 to {channels - 1}")
    inputs = next(conv.weight.shape[1] for conv in convs.values())
    first = made // (channels // groups) * inputs       # of the map's group
    own = made % inputs         # in its group: the map that an identity hands on, where there is one
    kernels = [m for m in merged.modules() if isinstance(m, nn.Conv2d)]
    assert isinstance(whole, Folded)
    return Merge(model.name, layer, (first + own, made),
                 {name: _kernel(conv, made, own) for name, conv in convs.items()},
                 [_kernel(conv, made, own) for conv in kernels], before[0, made].cpu(), after[0, made].cpu(),
                 float((after - before).abs().max()), float(before.abs().max()), whole.relative)


def _kernel(conv: nn.Conv2d, made: int, own: int) -> Kernel:
    bias = 0.0 if conv.bias is None else float(conv.bias.detach()[made])
    return Kernel(conv.weight[made, own].detach().cpu().float(), bias)


# -- the picture -----------------------------------------------------------------------------------------------------

GAP, PANEL, UNDER = 46, 200, 40     # units between two kernels, of a map's or a large kernel's side, below a kernel


def draw(result: Merge) -> "Figure":
    """Above, the branches' kernels and what they add up to; below, the layer's map before and after."""
    parts = [*result.branches.items(), *((f"kernel {i}" if len(result.kernels) > 1 else "kernel", kernel)
                                         for i, kernel in enumerate(result.kernels, start=1))]
    high, wide = (max(kernel.weight.shape[i] for _, kernel in parts) for i in (0, 1))
    sides = high, wide
    numbers = max(sides) <= LIMIT
    side = CELL * max(sides) if numbers else PANEL
    scale = max(float(kernel.weight.abs().max()) for _, kernel in parts)
    title = f"{len(result.branches)} branches become {len(result.kernels)} kernel" + "s" * (len(result.kernels) > 1)
    read, made = result.maps
    lines = [f"{result.name}, {result.layer}: weights from map {read} to map {made}, BatchNorm folded in"
             + (", rounded" if numbers else ""),
             f"largest difference of the layer's maps: {result.difference:.1e} of {result.largest:.3g}; of the scores: "
             f"{result.scores:.1e} of the largest"]
    top = below(lines) + 24
    rooms = [max(side, LETTER * max(len(name), len(_bias(kernel))) + 10) for name, kernel in parts]
    width = max(sum(rooms) + GAP * (len(rooms) - 1), 2 * PANEL + GAP)
    middle = top + side + UNDER + 40
    width = max(width + 2 * MARGIN, least_width(title, lines))
    with canvas(width, middle + PANEL + 50, title, lines) as (figure, axes):
        x = float(MARGIN)
        for i, ((name, kernel), room) in enumerate(zip(parts, rooms, strict=True)):
            if i:
                sign = "=" if i == len(result.branches) else "+"
                write(axes, x - GAP / 2, top + side / 2, sign, "ink", 18, ha="center", va="center")
            write(axes, x + room / 2, top - 8, f"{name} {kernel.weight.shape[0]}×{kernel.weight.shape[1]}", "ink", 10.5,
                  ha="center")
            _kernel_at(axes, kernel.weight, x + (room - side) / 2, top, side, sides, scale if not numbers else None)
            write(axes, x + room / 2, top + side + 18, _bias(kernel), "soft", ha="center")
            x += room + GAP
        least, most = float(result.before.min()), float(result.before.max())
        for j, (word, values) in enumerate((("the branches' sum", result.before), ("the kernel's map", result.after))):
            left = MARGIN + j * (PANEL + GAP)
            show(axes, heat(values, least, most), left, middle, PANEL, PANEL)
            write(axes, left, middle + PANEL + 20, f"{word}, map {made}", "soft", 10.5)
        write(axes, MARGIN + PANEL + GAP / 2, middle + PANEL / 2, "=", "ink", 18, ha="center", va="center")
    return figure


def _bias(kernel: Kernel) -> str:
    return f"bias {kernel.bias:.3g}".replace("-", "−")


def _kernel_at(axes: "Axes", weight: Tensor, x: float, y: float, side: float, sides: tuple[int, int],
               scale: float | None) -> None:
    """A kernel in the middle of the largest one, zeros around it grey; with `scale` a heat map from −scale to scale."""
    high, wide = ((sides[i] - weight.shape[i]) // 2 for i in (0, 1))
    whole = F.pad(weight, [wide, wide, high, high])
    if scale is not None:
        show(axes, heat(whole, -scale, scale), x, y, side, side)
        return
    around = [(i, j) for i in range(sides[0]) for j in range(sides[1])
              if not (high <= i < sides[0] - high and wide <= j < sides[1] - wide)]
    rounded = whole.mul(100).round() / 100 + 0.0        # no minus before a zero
    cells(axes, rounded, x + (side - CELL * sides[1]) / 2, y + (side - CELL * sides[0]) / 2, faint=around)
