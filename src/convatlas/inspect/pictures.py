"""Chosen pictures of a set as a network's input, some at a time, and what a figure shows of them."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data import Files, ImageSet, Transform, UnreadableImage
from ..data.images import ranged
from ..draw.markup import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

log = logging.getLogger("convatlas")


def inputs(images: ImageSet, chosen: Sequence[int], transform: Callable[[Tensor], Tensor],
           batch_size: int) -> Iterator[tuple[list[int], Tensor]]:
    """The pictures of those numbers, `batch_size` at a time: the numbers that could be read, and float32 (n, C, H, W).

    Unreadable ones are reported and left out; a batch of nothing else is left out too.
    """
    if isinstance(transform, Transform):
        images = ranged(images, transform.range)

    def read(i: int) -> Tensor | UnreadableImage:
        try:
            return transform(images.read(i))
        except UnreadableImage as error:
            return error

    with ThreadPoolExecutor((os.cpu_count() or 1) if isinstance(images, Files) else 1) as pool:  # files: thread-safe
        for start in range(0, len(chosen), batch_size):
            part = chosen[start : start + batch_size]
            found = dict(zip(part, pool.map(read, part), strict=True))
            for error in found.values():
                if isinstance(error, UnreadableImage):
                    log.warning("skipped: %s", error)
            done = {i: x for i, x in found.items() if isinstance(x, Tensor)}
            if done:
                yield list(done), torch.stack(list(done.values()))


def show(axes: "Axes", pixels: Tensor) -> None:
    """A picture uint8 (C, H, W) on axes without ticks: its middle square, every pixel a square; grey for C other than
    3.
    """
    side = min(pixels.shape[1:])
    top, left = ((length - side) // 2 for length in pixels.shape[1:])
    middle = pixels[:, top : top + side, left : left + side].cpu()
    shown = middle.permute(1, 2, 0) if len(middle) == 3 else middle.float().mean(0)
    axes.imshow(shown.numpy(), cmap="gray", vmin=0, vmax=255, interpolation="nearest" if side < 100 else "antialiased")
    axes.axis("off")


def ending(name: str, length: int) -> str:
    """The last words of a picture's name, at most `length` characters: its file, and the folder of that where it fits.
    """
    parts = Path(clean(name)).parts[-2:]
    fits = next((words for words in ("/".join(parts), parts[-1] if parts else "") if len(words) <= length), None)
    return "…" + parts[-1][1 - length :] if fits is None else fits
