"""RandAugment as timm has it with `rand-m9-mstd0.5-inc1`, which trained ConvNeXt, RepLKNet and SLaK.

Cubuk et al. 2020 apply every operation drawn, at one strength. Here one in two is applied, its strength varies around
the given one, and all fifteen operations grow with it. Done by Pillow, whose pixels are those of the authors.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from .draws import below, normals, uniforms

WHOLE = 10.0            # of which strengths are a part
RESAMPLING = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR,
              "bicubic": Image.Resampling.BICUBIC}


class Draw(NamedTuple):
    """One operation on one picture: its name, its strength from 0 to 10, and 1 or -1 where it has two directions."""

    name: str
    strength: float
    sign: int


class Edges(NamedTuple):
    """Interpolation between pixels, and the colour of what comes from outside, one value per channel."""

    interpolation: str
    fill: tuple[int, ...]


def _moved(image: Image.Image, matrix: tuple[float, ...], edges: Edges) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample=RESAMPLING[edges.interpolation],
                           fillcolor=_color(edges))


def _color(edges: Edges) -> int | tuple[int, ...]:
    return edges.fill[0] if len(edges.fill) == 1 else edges.fill


def _rotate(image: Image.Image, part: float, sign: int, edges: Edges) -> Image.Image:
    return image.rotate(sign * part * 30, resample=RESAMPLING[edges.interpolation], fillcolor=_color(edges))


def _posterize(image: Image.Image, part: float, sign: int, edges: Edges) -> Image.Image:
    """The highest bits of each value; at the full strength none, which newer versions of Pillow's own refuse."""
    dropped = 8 - (4 - int(part * 4))
    return image.point([value >> dropped << dropped for value in range(256)] * len(image.getbands()))


def _solarize(image: Image.Image, part: float, sign: int, edges: Edges) -> Image.Image:
    return ImageOps.solarize(image, 256 - int(part * 256))


def _solarize_add(image: Image.Image, part: float, sign: int, edges: Edges) -> Image.Image:
    """Dark pixels made brighter."""
    table = [value + int(part * 110) if value < 128 else value for value in range(256)]
    return image.point([min(value, 255) for value in table] * len(image.getbands()))


def _enhanced(kind: type[ImageEnhance.Color] | type[ImageEnhance.Contrast] | type[ImageEnhance.Brightness]
              | type[ImageEnhance.Sharpness]) -> "Operation":
    """Away from 1, which changes nothing, to 0.1 or 1.9."""
    return lambda image, part, sign, edges: kind(image).enhance(max(0.1, 1 + sign * (part * 0.9)))


Operation = Callable[[Image.Image, float, int, Edges], Image.Image]     # of (picture, strength / 10, sign, edges)
OPERATIONS: dict[str, Operation] = {
    "autocontrast": lambda image, part, sign, edges: ImageOps.autocontrast(image),
    "equalize": lambda image, part, sign, edges: ImageOps.equalize(image),
    "invert": lambda image, part, sign, edges: ImageOps.invert(image),
    "rotate": _rotate,
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "color": _enhanced(ImageEnhance.Color),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "brightness": _enhanced(ImageEnhance.Brightness),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
    "shear_x": lambda image, part, sign, edges: _moved(image, (1, sign * (part * 0.3), 0, 0, 1, 0), edges),
    "shear_y": lambda image, part, sign, edges: _moved(image, (1, 0, 0, sign * (part * 0.3), 1, 0), edges),
    "translate_x": lambda image, part, sign, edges: _moved(
        image, (1, 0, sign * (part * 0.45) * image.width, 0, 1, 0), edges),
    "translate_y": lambda image, part, sign, edges: _moved(
        image, (1, 0, 0, 0, 1, sign * (part * 0.45) * image.height), edges),
}


def drawn(seeds: Tensor, ops: int, strength: float, deviation: float, probability: float) -> list[list[Draw]]:
    """Operations on each picture: of `ops` drawn, each any of the fifteen, those that are applied."""
    chances = uniforms(seeds, 3 * ops, "increasing operations").view(-1, ops, 3)
    strengths = (strength + deviation * normals(seeds, ops, "increasing strengths").double()).clamp(0, WHOLE)
    names, kinds = list(OPERATIONS), below(chances[..., 0], len(OPERATIONS)).tolist()
    return [[Draw(names[kind], level, 1 if up < 0.5 else -1)
             for kind, (_, chance, up), level in zip(*picture, strict=True) if chance < probability]
            for picture in zip(kinds, chances.tolist(), strengths.tolist(), strict=True)]


def operated(pixels: Tensor, draws: Sequence[Sequence[Draw]], edges: Edges) -> Tensor:
    """Pictures uint8 (n, 1 or 3, H, W) after the operations drawn for each."""
    done = pixels.clone()
    for place, each in enumerate(draws):
        if each:
            image = Image.fromarray(pixels[place].movedim(0, -1).squeeze(-1).numpy())
            for name, strength, sign in each:
                image = OPERATIONS[name](image, strength / WHOLE, sign, edges)
            done[place] = torch.from_numpy(np.atleast_3d(np.asarray(image)).copy()).movedim(-1, 0)
    return done
