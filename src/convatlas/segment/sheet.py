"""Qualitative results of a segmenter: image, truth, prediction, errors, weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data.transform import as_channels
from ..draw.markup import clean
from ..draw.plots import COLORS, UNITS, defaults
from ..net.segmenter import Segmenter
from ..run import Loss
from ..zoo import transforms
from .border_weights import border_weights, parted
from .validation import whole_scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE, GAP, HEAD, LEFT = 200, 10, 66, 14         # units: a picture's longer side, between two, above and left of them
# of classes, in turn
TINTS = ("#000000", "#e64b35", "#00a087", "#3c5488", "#f39b7f", "#91d1c2", "#7e6148", "#8491b4", "#dcb400")


@dataclass(frozen=True)
class Look:
    """One image; maps are (H, W)."""

    name: str
    image: Tensor                   # uint8 (C, H, W)
    prediction: Tensor              # int64 class numbers
    truth: Tensor | None            # int64; 255 where a pixel does not count
    weights: Tensor | None          # float32: how much each pixel counts in training


def look(net: Segmenter, image: Tensor, truth: Tensor | None = None, *, name: str = "", instances: Tensor | None = None,
         loss: Loss | None = None) -> Look:
    """The network's classes for an image uint8 (C, H, W) of any size, and with `instances` the border weights that
    `loss` gives.
    """
    device = next(net.parameters()).device
    transform = transforms(net)
    pixels = transform.normalized(as_channels(image, net.in_chans).float().div_(255)).to(device)
    with torch.inference_mode():
        prediction = whole_scores(net.eval(), pixels).argmax(dim=0).cpu()
    loss = loss or net.card.loss or Loss()
    weights = (None if instances is None or not loss.border
               else 1 + border_weights(parted(instances), loss.border, loss.border_sigma))
    return Look(name, image, prediction, truth, weights)


def draw(looks: Sequence[Look], classes: Sequence[str] = ()) -> "Figure":
    """A row per image. Errors: orange was missed (another class was said where the truth has one), blue is too much."""
    columns = ["image", *(["truth"] if looks[0].truth is not None else []), "prediction",
               *(["errors"] if looks[0].truth is not None else []),
               *(["weights"] if looks[0].weights is not None else [])]
    wide, high = LEFT * 2 + len(columns) * (SIDE + GAP), HEAD + len(looks) * (SIDE + 2 * GAP) + GAP
    with defaults():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(wide / UNITS, high / UNITS), dpi=UNITS, facecolor=COLORS["paper"])
        said = ["orange: missed", "blue: too much"] if looks[0].truth is not None else []
        said += [f"{name}: " + _color_name(number) for number, name in enumerate(classes)
                 if 0 < number < 4 and len(classes) > 2]
        _write(figure, LEFT, 16, "What it makes of the pixels", 13, bold=True)
        _write(figure, LEFT, 34, ", ".join(said), 10)
        for row, each in enumerate(looks):
            for column, what in enumerate(columns):
                left, top = LEFT + column * (SIDE + GAP), HEAD + row * (SIDE + 2 * GAP)
                if row == 0:
                    _write(figure, left, HEAD - 8, what, 10.5)
                axes = figure.add_axes((left / wide, 1 - (top + SIDE) / high, SIDE / wide, SIDE / high))
                axes.imshow(*_shown(each, what))
                axes.set_axis_off()
            _write(figure, LEFT, HEAD + row * (SIDE + 2 * GAP) + SIDE + 13, _caption(each), 9)
    return figure


def _caption(each: Look) -> str:
    if each.truth is None:
        return clean(each.name)
    counts = each.truth != Loss().ignore_index
    right = float((each.prediction == each.truth)[counts].double().mean())
    return f"{clean(each.name)}: {100 * right:.1f} % of the pixels right"


def _shown(each: Look, what: str) -> tuple[Any, ...]:
    if what == "weights":
        assert each.weights is not None
        return each.weights.numpy(), "magma"
    if what == "image":
        return (_gray_or_rgb(each.image),)
    if what == "errors":
        assert each.truth is not None
        counts, wrong = each.truth != Loss().ignore_index, each.prediction != each.truth
        base = _gray_or_rgb(each.image).float().mean(dim=2, keepdim=True).expand(-1, -1, 3) * 0.5 + 110
        base = base.clone()
        base[counts & wrong & (each.truth > 0)] = torch.tensor([217.0, 84, 30])
        base[counts & wrong & (each.truth == 0)] = torch.tensor([36.0, 96, 196])
        return (base.clamp(0, 255).to(torch.uint8).numpy(),)
    classes = each.prediction if what == "prediction" else each.truth
    assert classes is not None
    return (_tinted(_gray_or_rgb(each.image), classes).numpy(),)


def _gray_or_rgb(image: Tensor) -> Tensor:
    pixels = image[:3] if image.shape[0] >= 3 else image[:1].expand(3, -1, -1)
    return pixels.movedim(0, 2)


def _tinted(image: Tensor, classes: Tensor) -> Tensor:
    """The image with its classes' colours over it; the background as it is."""
    table = torch.tensor([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in TINTS], dtype=torch.float32)
    tint = table[torch.where(classes > 0, (classes - 1) % (len(TINTS) - 1) + 1, 0)]
    strength = (0.5 * ((classes > 0) & (classes != Loss().ignore_index)))[:, :, None]
    return (image.float() * (1 - strength) + tint * strength).round().to(torch.uint8)


def _color_name(number: int) -> str:
    return ("", "red", "green", "blue")[number]


def _write(figure: "Figure", left: float, top: float, text: str, size: float, bold: bool = False) -> None:
    wide, high = (side * UNITS for side in figure.get_size_inches())
    figure.text(left / wide, 1 - top / high, text, fontsize=size, fontweight="bold" if bold else "normal",
                color=COLORS["ink" if bold else "soft"], va="center")
