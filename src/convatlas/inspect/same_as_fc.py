"""A 1×1 convolution is a fully-connected layer on every pixel: S_l,i,j = Σ_k I_k,i,j · K_k,l (Lin et al. 2013, "Network
in Network").

The weights are shared by all pixels. Shown on a small map with numbers, and tested on every 1×1 convolution of a
network.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..draw.canvas import LETTER, MARGIN, below, canvas, least_width, write
from ..draw.cells import CELL, cells
from ..errors import ConvatlasError
from ..net.model import Convnet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT = 8       # channels and pixels along a side that a picture shows


@dataclass(frozen=True)
class Comparison:
    """Both ways to compute the same map."""

    image: Tensor           # (M, H, W)
    weights: Tensor         # (N, M): of the fully-connected layer; the convolution's are (N, M, 1, 1)
    convolved: Tensor       # (N, H, W), by the convolution
    connected: Tensor       # (N, H, W), by the fully-connected layer, one pixel after the other

    @property
    def difference(self) -> float:
        """The largest absolute difference between the two."""
        return float((self.convolved - self.connected).abs().max())


def same_as_fc(cin: int = 3, cout: int = 2, height: int = 4, width: int = 4, *, seed: int = 0) -> Comparison:
    """A random map of small whole numbers through a 1×1 convolution and, pixel by pixel, through a fully-connected
    layer.
    """
    for name, value in {"cin": cin, "cout": cout, "height": height, "width": width}.items():
        if value < 1:
            raise ConvatlasError(f"{name} = {value} is refused: it must be at least 1")
    dice = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 5, (cin, height, width), generator=dice).float()
    weights = torch.randint(-2, 3, (cout, cin), generator=dice).float()
    return Comparison(image, weights, F.conv2d(image[None], weights[:, :, None, None])[0],
                      _connected(image, weights, None))


def differences(model: Convnet, seed: int = 0) -> dict[str, float]:
    """Each 1×1 convolution of `model` (stride 1, one group) against a fully-connected layer with its weights, on what
    reaches it.

    Name → the largest absolute difference, divided by the largest absolute value. The image is normal noise of the
    network's size.
    """
    found: dict[str, float] = {}
    names = {module: name for name, module in model.named_modules() if _is_pointwise(module)}
    if not names:
        raise ConvatlasError(f"{model.name} has no 1×1 convolution: nin_cifar10 and mobilenet_v1 have")

    def compare(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        expected = _connected(args[0][0], module.weight[:, :, 0, 0], module.bias)
        found[names[module]] = float((output[0] - expected).abs().max() / expected.abs().max().clamp(min=1e-30))

    hooks = [module.register_forward_hook(compare) for module in names]
    weight, dice = next(model.parameters()), torch.Generator().manual_seed(seed)
    image = torch.randn(1, model.in_chans, *model.image_size, generator=dice).to(weight.device, weight.dtype)
    try:
        with _predicting(model):
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _connected(image: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    """(M, H, W) → (N, H, W): every pixel's M channels through one fully-connected layer."""
    pixels = image.flatten(1).T                                 # (H·W, M): as many examples as pixels
    return F.linear(pixels, weights, bias).T.reshape(-1, *image.shape[1:])


def _is_pointwise(module: nn.Module) -> bool:
    return (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.stride == (1, 1)
            and module.groups == 1 and module.padding in ((0, 0), "same", "valid"))


@contextmanager
def _predicting(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


# -- the picture -----------------------------------------------------------------------------------------------------

GAP, BETWEEN = 64, 14        # units between the parts, and between the channels of a map


def draw(result: Comparison) -> "Figure":
    """One pixel taken out: its channels, through the layer's weights, make the same pixel of the result."""
    (m, high, wide), n = result.image.shape, len(result.weights)
    if max(m, n, high, wide) > LIMIT:
        raise ConvatlasError(f"a map of {m}×{high}×{wide} with {n} channels out is too large to draw: at most "
                             f"{LIMIT} of each")
    at = high // 2, wide // 2
    title = "A 1×1 convolution is a fully-connected layer on every pixel"
    lines = [f"each of the {high * wide} pixels is an example with {m} numbers, one per channel; the same {n}×{m} "
             f"weights turn it into {n}", f"computed both ways, the largest difference is {result.difference:g}"]
    parts = {"in": result.image, "weights": result.weights[None], "pixel": result.image[:, at[0], at[1]][None, :, None],
             "made": result.connected[:, at[0], at[1]][None, :, None], "out": result.convolved}
    words = (f"map, {m} channels", "weights", "one pixel", "its result", f"map, {n} channels")
    signs = ("", "→", "·", "=", "→")
    top = below(lines) + 14
    rows = max(_height(maps) for maps in parts.values())
    widths = [max(CELL * maps.shape[2], LETTER * len(word)) for maps, word in zip(parts.values(), words, strict=True)]
    width = sum(widths) + GAP * (len(widths) - 1)
    with canvas(max(width + 2 * MARGIN, least_width(title, lines)), top + rows + 48, title, lines) as (figure, axes):
        x = float(MARGIN)
        for (part, maps), word, sign, room in zip(parts.items(), words, signs, widths, strict=True):
            left = x + (room - CELL * maps.shape[2]) / 2
            write(axes, x - GAP / 2, top + rows / 2, sign, "ink", 18, ha="center", va="center")
            y = top + (rows - _height(maps)) / 2
            for k, values in enumerate(maps):
                whole = part in ("pixel", "made")
                marked = [(i, 0) for i in range(len(values))] if whole else [at] if part in ("in", "out") else []
                cells(axes, values, left, y + k * (CELL * maps.shape[1] + BETWEEN), marked=marked)
            write(axes, x + room / 2, top + rows + 24, word, "soft", 10.5, ha="center")
            x += room + GAP
    return figure


def _height(maps: Tensor) -> float:
    """Units of maps (n, h, w) below one another."""
    return len(maps) * (CELL * maps.shape[1] + BETWEEN) - BETWEEN
