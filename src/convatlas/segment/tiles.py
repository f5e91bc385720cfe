"""Overlap-tile: scores of an image of any size from tiles that fit into memory (Ronneberger et al. 2015, Figure 2).

A network without padding gives fewer scores than it sees pixels, and needs no seams: its tiles lie side by side, each
sees `border` more pixels on every side, beyond the image mirrored ones. A padded network sees zeros where a tile ends,
so its tiles overlap: what lies nearer to a tile's end than `margin` is dropped, what is left of the overlap is blended.
Tiles begin at multiples of the network's stride; its pools and strided convolutions then halve as they do on the whole
image.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import lcm
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import ConvatlasError
from ..net.segmenter import Segmenter
from .reach import margin_of

# top, left, height, width -> (C, height, width), also beyond the image
Read = Callable[[int, int, int, int], Tensor]
Predict = Callable[[Tensor], Tensor]                # (n, C, h, w) -> (n, K, h', w')


class Span(NamedTuple):
    """Extent of a tile's scores along one side of the image."""

    start: int
    stop: int


class Block(NamedTuple):
    """Finished scores (K, h, w); their first pixel is (top, left) of the image."""

    top: int
    left: int
    scores: Tensor


@dataclass(frozen=True)
class Tiling:
    """The cutting of an image: `rows` × `columns` of tiles.

    One row of tiles is a band, the unit that is written and resumed.
    """

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    overlap: int            # pixels that neighbours share
    margin: int             # of them, from the tile's end, those that are dropped
    border: int             # pixels that the network sees around its scores
    step: int               # a network without padding takes sides of rest + a multiple of step
    rest: int
    least: int              # the smallest side of an image that it takes

    @property
    def count(self) -> int:
        """Tiles."""
        return len(self.rows) * len(self.columns)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image."""
        return self.rows[-1].stop, self.columns[-1].stop

    def seen(self, span: Span) -> tuple[int, int]:
        """First pixel and length of what the network gets to score a span; what is beyond the image is mirrored."""
        length = max(span.stop - span.start + 2 * self.border, self.least)
        return span.start - self.border, length + (self.rest - length) % self.step

    def weight(self, spans: tuple[Span, ...], index: int, like: Tensor) -> Tensor:
        """Weight of each pixel of a span, (length,): with its neighbours' it adds up to one."""
        ramp = torch.arange(self.overlap, dtype=like.dtype, device=like.device) + 0.5 - self.margin
        rising = 0.5 - 0.5 * torch.cos(torch.pi * (ramp / (self.overlap - 2 * self.margin)).clamp(0, 1))
        weight = like.new_ones(spans[index].stop - spans[index].start)
        if index > 0:
            weight[: self.overlap] = rising
        if index + 1 < len(spans):
            weight[-self.overlap :] = 1 - rising
        return weight


def tiling(net: Segmenter, size: tuple[int, int], tile: int, overlap: int | None = None) -> Tiling:
    """Plan the tiles of an image of (height, width) for `net`, which is in eval mode and on the device that will
    compute.

    `tile` is the side of what the network gets at once, at most (`reach.tile_for_memory` knows one). `overlap` is for
    padded networks; without it, twice what a pixel of the scores depends on, or, where that is more than a fifth of the
    tile, a quarter of the tile. Raises ConvatlasError for what cannot be.
    """
    phase = net.step if net.step > 1 else lcm(*(info["reduction"] for info in net.feature_info))
    border = _border(net)
    side = (tile - 2 * border) // phase * phase
    if side < phase:
        raise ConvatlasError(f"tile = {tile} is too small for {net.name}: it sees {border} pixels around its scores "
                             f"and works in steps of {phase}, so at least {phase + 2 * border}")
    shared, margin = (0, 0) if net.step > 1 or max(size) <= side else _overlap(net, side, overlap, phase)
    least = 1 if net.step > 1 else next(s for s in (1, *range(phase, 64 * phase, phase)) if net.accepts((s, s)))
    rows, columns = (_cut(length, side, shared) for length in size)
    return Tiling(rows, columns, shared, margin, border, net.step, net.rest, least)


def blocks(tiling: Tiling, read: Read, predict: Predict, bands: Iterable[int] | None = None, *,
           batch_size: int = 1) -> Iterator[Block]:
    """The scores of `bands`, in ascending order (default: all), each pixel once; memory does not grow with the image's
    height.

    Tiles go through `predict` in batches of one shape within a band, so that a band's scores do not depend on what was
    computed before it: after an interruption they are the same. A band that does not follow the one before it costs
    that one again.
    """
    blend, last = _Blend(tiling), -1
    for band in range(len(tiling.rows)) if bands is None else bands:
        if tiling.overlap and band > 0 and last != band - 1:
            for column, scores in _tiles(tiling, band - 1, read, predict, batch_size):
                blend.add(band - 1, column, scores, alone=True)
        for column, scores in _tiles(tiling, band, read, predict, batch_size):
            yield blend.add(band, column, scores)
        last = band


class _Blend:
    """Adds tiles up where they overlap, band by band and from left to right."""

    def __init__(self, tiling: Tiling) -> None:
        self.tiling = tiling
        self.beside = torch.empty(0)        # (K, h, overlap), what the tile to the left adds
        self.above = torch.empty(0)         # (K, overlap, W), what the band above adds

    def add(self, band: int, column: int, scores: Tensor, alone: bool = False) -> Block:
        """Rows that this tile finishes; `alone` if the band above it is not known, and only the one below it is wanted.
        """
        tiling, shared = self.tiling, self.tiling.overlap
        (top, bottom), (left, right) = tiling.rows[band], tiling.columns[column]
        scores = scores[:, : bottom - top, : right - left]
        if not shared:
            return Block(top, left, scores)
        scores = scores * tiling.weight(tiling.rows, band,
                                        scores)[:, None] * tiling.weight(tiling.columns, column, scores)
        if column > 0:
            scores[:, :, :shared] += self.beside
        if column + 1 < len(tiling.columns):
            self.beside = scores[:, :, -shared:].clone()
            scores = scores[:, :, :-shared]
        if not self.above.numel():
            self.above = scores.new_zeros(len(scores), shared, tiling.size[1])
        above = self.above[:, :, left : left + scores.shape[2]]
        if band > 0 and not alone:
            scores[:, :shared] += above
        if band + 1 < len(tiling.rows):
            above.copy_(scores[:, -shared:])
            scores = scores[:, :-shared]
        return Block(top, left, scores)


def _tiles(tiling: Tiling, band: int, read: Read, predict: Predict, batch_size: int) -> Iterator[tuple[int, Tensor]]:
    """(column, scores (K, h', w')) of a band's tiles, not yet cut to their spans."""
    top, height = tiling.seen(tiling.rows[band])
    seen = [tiling.seen(span) for span in tiling.columns]
    first = 0
    while first < len(seen):
        last = first + 1
        while last < min(len(seen), first + batch_size) and seen[last][1] == seen[first][1]:
            last += 1
        images = torch.stack([read(top, left, height, width) for left, width in seen[first:last]])
        yield from enumerate(predict(images), start=first)
        first = last


def _cut(length: int, side: int, overlap: int) -> tuple[Span, ...]:
    starts = range(0, max(length - overlap, 1), side - overlap)
    return tuple(Span(start, min(start + side, length)) for start in starts)


def _border(net: Segmenter) -> int:
    """Pixels on each side of an image for which a network without padding gives no scores; 0 for a padded one."""
    if net.step == 1:
        return 0
    side = net.rest + net.step * -(-1024 // net.step)
    return (side - net.output_size(side, side)[0]) // 2


def _overlap(net: Segmenter, side: int, wanted: int | None, phase: int) -> tuple[int, int]:
    """(overlap, margin) in pixels, for a padded network."""
    if wanted is not None:
        overlap = -(-wanted // phase) * phase
        if wanted < 0 or overlap > side // 2:
            raise ConvatlasError(f"overlap = {wanted} is refused for tiles of {side}: from 0 to "
                                 f"{side // 2 // phase * phase}, half a tile")
        return overlap, overlap // 4
    margin = margin_of(net, side, phase)
    if margin is not None and 5 * margin <= side:
        return -(-(2 * margin + 1) // phase) * phase, margin
    overlap = max(side // 4 // phase, 1) * phase
    if overlap > side // 2:
        raise ConvatlasError(f"tile = {side} is too small for {net.name}: at least {2 * phase}, so that "
                             "tiles can overlap")
    return overlap, overlap // 4
