"""Receptive fields: which pixels a unit can see, from the layers' shapes, and which it does see, measured by gradients.

Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", 2016: the gradient of a
unit in the middle of a map with respect to the input, averaged over images, is near a Gaussian much smaller than the
theoretical field.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..draw.canvas import MARGIN, below, canvas, heat, least_width, show, write
from ..errors import ConvatlasError
from ..net.layers import layer_table
from ..net.model import Convnet, pair
from ..net.receptive import Axis
from . import places

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AT_ONCE = 4         # images per backward pass
SHARE = 0.9         # of the gradient, inside the square that is drawn
# an image is large enough where this share of the gradient ends before this share of its side
NEARLY_ALL, ROOM = 0.99, 0.9


class Span(NamedTuple):
    """Pixels first to last, along one side; outside the image where padding is seen."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """Pixels."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class Field:
    """The receptive field of the unit in the middle of a layer's map."""

    name: str
    layer: str
    # rows and columns that it can see; None where that is not a rectangle which moves with it
    box: tuple[Span, Span] | None
    center: tuple[float, float]         # of the box, else of the gradient: row, column
    gradient: Tensor                    # (H, W): mean over images of |∂ unit / ∂ pixel|, scaled to a sum of one
    picture: Tensor | None              # the first image (C, H, W), where real ones were given

    @property
    def cut(self) -> bool:
        """True if the image's edge cuts off what the unit sees beyond it, so that `side` is too small."""
        high, wide = self.gradient.shape
        if self.box is not None and all(span.first >= 0 and span.last < length
                                        for span, length in zip(self.box, (high, wide), strict=True)):
            return False
        return self.side(NEARLY_ALL) > ROOM * min(high, wide)

    def side(self, share: float = SHARE) -> int:
        """Side of the smallest square around the centre that holds this share of the gradient."""
        rows, columns = (torch.arange(length, dtype=torch.float64) for length in self.gradient.shape)
        reach = torch.maximum((rows - self.center[0]).abs()[:, None],
                              (columns - self.center[1]).abs()[None, :]).flatten()
        order = reach.argsort()
        held = self.gradient.double().flatten()[order].cumsum(0)
        last = min(int((held < share).sum()), len(order) - 1)
        return round(2 * float(reach[order[last]])) + 1


def receptive_field(model: Convnet, layer: str | None = None, images: Tensor | None = None, *, count: int = 16,
                    image_size: int | tuple[int, int] | None = None, largest: int | None = None,
                    seed: int = 0) -> Field:
    """The field of the unit in the middle of `layer`'s map (default: of the last stage), in eval mode.

    `images` (N, C, H, W) are the network's inputs; without them `count` of normal noise, of `image_size`; without that
    of the network's own size, doubled while the edge cuts the field, up to a side of `largest` (default: twice the
    network's). Gradients are those of the sum over the map's channels. Raises ConvatlasError for an unknown layer, one
    without a map, and where no gradient arrives.
    """
    layer = layer or places.stages(model)[-1]
    module = places.layer(model, layer)
    if images is not None:
        return _measured(model, module, layer, images, real=True)

    def noise(number: int, size: tuple[int, int]) -> Field:
        dice = torch.Generator().manual_seed(seed)
        return _measured(model, module, layer, torch.randn(number, model.in_chans, *size, generator=dice), real=False)

    if image_size is not None:
        return noise(count, pair(image_size))
    size = model.image_size
    bound = 2 * max(size) if largest is None else largest
    while max(size) < bound and noise(1, size).cut:     # one image tells
        factor = min(2.0, bound / max(size))
        larger = (int(size[0] * factor), int(size[1] * factor))
        if not model.accepts(larger):
            break
        size = larger
    return noise(count, size)


def _measured(model: Convnet, module: nn.Module, layer: str, images: Tensor, *, real: bool) -> Field:
    weight = next(model.parameters())
    model.check_image_size((images.shape[2], images.shape[3]))
    total, at = _gradients(model, module, layer, images.to(weight.device, weight.dtype))
    if not total.isfinite().all() or total.sum() <= 0:
        raise ConvatlasError(f"no finite gradient comes from layer {layer!r} of {model.name} to the image: try another "
                             "layer or images")
    gradient = total / total.sum()
    box = _box(model, layer, (images.shape[2], images.shape[3]), at)
    center = _middle(gradient) if box is None else ((box[0].first + box[0].last) / 2, (box[1].first + box[1].last) / 2)
    return Field(model.name, layer, box, center, gradient.cpu(), images[0].cpu() if real else None)


def _gradients(model: Convnet, module: nn.Module, layer: str, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """(sum over images and channels of the gradient's size (H, W), the unit's place in the map)."""
    seen: list[Tensor] = []
    hook = module.register_forward_hook(lambda _module, _args, output: seen.append(output))
    training = model.training
    total, at = torch.zeros(images.shape[2:], dtype=torch.float64, device=images.device), (0, 0)
    try:
        model.eval()
        for part in images.split(AT_ONCE):      # type: ignore[no-untyped-call]
            seen.clear()
            with torch.enable_grad():
                part = part.detach().requires_grad_()
                model(part)
                if not seen or not isinstance(seen[0], Tensor) or seen[0].ndim != 4:
                    raise ConvatlasError(f"layer {layer!r} of {model.name} gives no map (N, C, H, W): choose one "
                                         "before the head")
                at = seen[0].shape[2] // 2, seen[0].shape[3] // 2
                (gradient,) = torch.autograd.grad(seen[0][:, :, at[0], at[1]].sum(), part)
            total += gradient.abs().sum((0, 1))
    finally:
        model.train(training)
        hook.remove()
    return total, at


def _box(model: Convnet, layer: str, size: tuple[int, int], at: tuple[int, int]) -> tuple[Span, Span] | None:
    row = next((row for row in layer_table(model, size, containers=True) if row.name.removeprefix("net.") == layer),
               None)
    if row is None or row.sight is None:
        return None
    return _span(row.sight[0], at[0]), _span(row.sight[1], at[1])


def _span(axis: Axis, unit: int) -> Span:
    return Span(axis.stride * unit + axis.low, axis.stride * unit + axis.high)


def _middle(gradient: Tensor) -> tuple[float, float]:
    """The centre of mass."""
    rows, columns = (torch.arange(length, device=gradient.device, dtype=gradient.dtype) for length in gradient.shape)
    return float((gradient.sum(1) * rows).sum()), float((gradient.sum(0) * columns).sum())


# -- the picture -----------------------------------------------------------------------------------------------------

# units of a panel's side, between panels; what is drawn around an image, of its longer side
PANEL, GAP, AROUND = 300, 36, 0.06


def draw(fields: Sequence[Field]) -> "Figure":
    """The networks side by side, each image as large as a panel: bright where pixels move the unit, with both fields as
    boxes.
    """
    title = "Receptive fields: theoretical and effective"
    lines = ["bright: pixels that move a unit in the middle of the map; blue: all that it can see; "
             f"dashed: the square with {SHARE * 100:.0f} % of the gradient"]
    top = below(lines) + 8
    wide = max(len(fields) * (PANEL + GAP) - GAP + 2 * MARGIN, least_width(title, lines))
    with canvas(wide, top + PANEL + 82, title, lines) as (figure, axes):
        for i, field in enumerate(fields):
            _panel(axes, field, MARGIN + i * (PANEL + GAP), top)
    return figure


def _panel(axes: "Axes", field: Field, x: float, y: float) -> None:
    high, wide = field.gradient.shape
    longest = max(high, wide)
    scale = PANEL / (longest * (1 + 2 * AROUND))
    left, up = x + (PANEL - wide * scale) / 2, y + (PANEL - high * scale) / 2
    show(axes, _pixels(field), left, up, wide * scale, high * scale)
    side = field.side()
    half = side / 2
    square = tuple(Span(round(middle + 0.5 - half), round(middle + 0.5 + half) - 1) for middle in field.center)
    for spans, color, dashes in ((field.box, "#6fb1ff", "-"), (square, "#ffffff", (0, (4, 2)))):
        if spans is not None:
            _outline(axes, spans, (left, up, scale), (high, wide), color, dashes)
    x, below_it = left, y + PANEL + 12
    write(axes, x, below_it, f"{field.name}, {field.layer}", "ink", 11.5, weight="bold")
    if field.box is None:
        seen = "no known rectangle that moves with the unit"
    else:
        rows, columns = field.box
        seen = f"{rows.size}×{columns.size}" + (", more than the image"
                                                if rows.size > high and columns.size > wide else "")
    inside = f"more than {side}×{side}" if field.cut else f"{side}×{side}"
    write(axes, x, below_it + 17, f"can see {seen}", "accent", 10.5)
    write(axes, x, below_it + 33, f"{SHARE * 100:.0f} % of the gradient: {inside}", "ink", 10.5)
    edge = ", whose edge cuts the field" if field.cut else ""
    write(axes, x, below_it + 49, f"image {high}×{wide}{edge}", "soft", 10)


def _pixels(field: Field) -> np.ndarray:
    """The gradient's square root, which shows the weak too, as a heat map; over the darkened picture, if any."""
    root = field.gradient.sqrt()
    warm = heat(root, 0.0, float(root.max()))
    if field.picture is None:
        return warm
    gray = field.picture.float().mean(0)
    gray = 110 * (gray - gray.min()) / (gray.max() - gray.min()).clamp(min=1e-12)
    pixels: np.ndarray = np.maximum(warm, gray.numpy().astype(np.uint8)[:, :, None])
    return pixels


def _outline(axes: "Axes", spans: Sequence[Span], frame: tuple[float, float, float], size: tuple[int, int], color: str,
             dashes: object) -> None:
    """A box in pixels of the image; its sides are left out where they lie outside of what is drawn."""
    left, up, scale = frame
    beyond = AROUND * max(size)
    (top, bottom), (first, last) = ((span.first, span.last + 1) for span in spans)
    rows, columns = ([min(max(edge, -beyond), length + beyond) for edge in edges]
                     for edges, length in (((top, bottom), size[0]), ((first, last), size[1])))
    style: dict[str, Any] = {"color": color, "linewidth": 1.8, "linestyle": dashes,
                             "solid_capstyle": "butt", "zorder": 3}
    for edge, cut in zip((top, bottom), rows, strict=True):
        if edge == cut:
            axes.plot([left + x * scale for x in columns], [up + edge * scale] * 2, **style)
    for edge, cut in zip((first, last), columns, strict=True):
        if edge == cut:
            axes.plot([left + edge * scale] * 2, [up + y * scale for y in rows], **style)
