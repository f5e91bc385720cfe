"""The steps of a network on bytes: what each map's bytes stand for is found on pictures, the steps that can take bytes
do, and others are given floats and give floats.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .engine import Network
from .work import CHANNELS, MOVES, TALLEST, Buffer, Floats, Map, UnsupportedError, Work, join_groups, padded

TOGETHER = 4            # pictures that are looked at at a time
FINE = 256              # parts of a step to which maps are rounded that are added, as in kernels/bytes.h
LARGEST = 2.0 ** 31     # of any sum of products, and of what it is in the result's steps
LIGHT = ("maxpool", "avgpool", "mean", "add", "multiply", "affine", "copy")         # bytes only where bytes are there
LINEAR = ("none", "relu", "relu6")          # activations that are bounds; of others there is a table
Doubles = NDArray[np.float64]


def _sigmoid(x: Doubles) -> Doubles:
    return 1 / (1 + np.exp(-x))


def _erf(x: Doubles) -> Doubles:
    return np.array([math.erf(each) for each in x])


CURVES: dict[str, Callable[[Doubles], Doubles]] = {
    "silu": lambda x: x * _sigmoid(x), "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6, "sigmoid": _sigmoid,
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6, "gelu": lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "tanh": np.tanh, "scaledtanh": lambda x: 1.7159 * np.tanh(x * 2 / 3),
    "leakyrelu": lambda x: np.where(x < 0, 0.01 * x, x), "elu": lambda x: np.where(x < 0, np.expm1(x), x),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x)))}


@dataclass(frozen=True)
class Seen:
    """A map on the images: its least and its largest value, as means over them, and each channel's mean."""

    low: float
    high: float
    means: Doubles


@dataclass(frozen=True)
class Grid:
    """The grid of a map of bytes, which stand for (byte - zero) · step."""

    step: float
    zero: int

    @staticmethod
    def of(*found: Seen) -> "Grid":
        """The finest grid that has 0 and reaches over the maps' values."""
        low, high = min(0.0, *(each.low for each in found)), max(0.0, *(each.high for each in found))
        step = (high - low) / 255 or 1.0
        return Grid(step, round(-low / step))


def ranges(works: Sequence[Work], images: Floats, threads: int) -> dict[str, Seen]:
    """Values that are seen of every step's result, by its name; of what a curved activation is given, by the name and
    " before"; of the images, by "image".
    """
    network = Network(_observed(works), threads, winograd=False, keeps=True)
    sums: dict[str, Doubles] = {}
    for start in range(0, len(images), TOGETHER):
        part = images[start : start + TOGETHER]
        maps = [("image", part.reshape(*part.shape[:2], -1).transpose(0, 2, 1)),
                *((work.name, values) for work, values in network.maps(part))]
        for name, values in maps:
            means = values.mean(1, dtype=np.float64).sum(0)
            sums[name] = sums.get(name, 0.0) + np.array(
                [values.min((1, 2)).sum(), values.max((1, 2)).sum(), *means]) / len(images)
    return {name: Seen(float(low), float(high), np.array(means)) for name, (low, high, *means) in sums.items()}


def _observed(works: Sequence[Work]) -> list[Work]:
    """The steps with curved activations as steps of their own."""
    found: list[Work] = []
    for work in _separate(works):
        if work.activation in LINEAR or work.kind in MOVES:
            found.append(work)
            continue
        lone = _lone(work.result)
        same = np.array([[1.0], [0.0]], np.float32).repeat(work.result.c, 1)
        found += [replace(work, name=f"{work.name} before", activation="none", result=lone),
                  Work("affine", work.name, lone, work.result, work.activation, before=same)]
    return found


def _separate(works: Sequence[Work]) -> list[Work]:
    """The steps, each by itself: BatchNorm and ReLU in front of a convolution are steps of their own, means are of maps
    and not of means of rows, and small groups are joined.
    """
    found: list[Work] = []
    rows: dict[int, Map] = {}               # memory of means of rows → the map
    for work in works:
        if work.kind == "depthwise" and work.other is not None:
            rows[id(work.other.buffer)] = work.result
            work = replace(work, other=None)
        elif work.kind == "mean" and id(work.source.buffer) in rows:
            work = replace(work, source=rows[id(work.source.buffer)])
        elif work.small_groups:
            work = replace(work)
            join_groups(work)
        if work.kind == "conv" and work.before is not None:
            lone = _lone(work.source)
            found.append(Work("affine", f"{work.name} normed", work.source, lone, "relu", before=work.before))
            work = replace(work, source=lone, before=None)
        found.append(work)
    return found


def _lone(found: Map, wide: int = 4) -> Map:
    """A map like it, alone in its memory."""
    return replace(found, buffer=Buffer(found.pixels, padded(found.c), wide=wide), channel=0)


def quantized(works: Sequence[Work], found: Mapping[str, Seen], keep: Collection[str] = ()) -> list[Work]:
    """The steps on bytes, those named in `keep` on floats; `found` is what `ranges` gave.

    Weights are symmetric around zero, each output channel with a step of its own; maps have one step and one zero,
    those whose memory is shared the same. What rounding the weights does to a result's mean is taken from the bias.
    What gives the network's results gives floats.
    """
    return _Quantizer(_separate(works), found, keep).steps()


class _Quantizer:
    def __init__(self, works: list[Work], found: Mapping[str, Seen], keep: Collection[str]) -> None:
        self.works, self.found = works, found
        self.writers: dict[int, list[Work]] = {}
        self.readers: dict[int, list[Work]] = {}
        for work in works:
            if work.result.buffer is not None:
                self.writers.setdefault(id(work.result.buffer.root), []).append(work)
            for each in (work.source, work.other):
                if each is not None and each.buffer is not None:
                    self.readers.setdefault(id(each.buffer.root), []).append(work)
        self.taken = {id(work) for work in works if _can(work) and work.name not in keep}
        while lost := {id(work) for work in works if id(work) in self.taken and work.kind in LIGHT
                       and not all(each is None or self._is_bytes(each) for each in (work.source, work.other))}:
            self.taken -= lost
        self.alike = self._alike()
        self.buffers: dict[int, Buffer] = {}                    # of floats → of bytes
        self.changed: dict[tuple[object, ...], Map] = {}        # maps that were turned into the other kind
        self.steps_: list[Work] = []

    def steps(self) -> list[Work]:
        for work in self.works:
            if id(work) in self.taken:
                self._take(work)
            else:
                self.steps_.append(replace(work, source=self._floats(work.source),
                                           other=None if work.other is None else self._floats(work.other)))
        return self.steps_

    # -- which maps are of bytes --------------------------------------------------------------------------------------

    def _is_bytes(self, found: Map) -> bool:
        """True for a map all of whose memory is written by steps that take bytes."""
        if found.buffer is None:
            return False
        return all(id(work) in self.taken for work in self.writers.get(id(found.buffer.root), ())) and (
            not self._ends(found))

    def _ends(self, found: Map) -> bool:
        """True for what convolutions write and only steps on floats read."""
        assert found.buffer is not None
        root = id(found.buffer.root)
        return (all(work.kind == "conv" and work.other is None for work in self.writers.get(root, ()))
                and not any(id(work) in self.taken for work in self.readers.get(root, ())))

    def _alike(self) -> dict[int, int]:
        """Memory → the first of those that have one step, since values are moved between them unchanged."""
        alike = {root: root for root in self.writers}

        def first(root: int) -> int:
            while alike[root] != root:
                root = alike[root]
            return root

        for work in self.works:
            if id(work) in self.taken and work.kind in ("maxpool", "copy") and self._is_bytes(work.result):
                assert work.source.buffer is not None and work.result.buffer is not None
                alike[first(id(work.result.buffer.root))] = first(id(work.source.buffer.root))
        return {root: first(root) for root in alike}

    def _grid(self, found: Map) -> Grid:
        """Of a map of bytes, or of the bytes that one of floats becomes."""
        if found.buffer is None:
            return Grid.of(self.found["image"])
        group = self.alike[id(found.buffer.root)]
        seen = [self.found[work.name] for root, first in self.alike.items() if first == group
                for work in self.writers[root] if work.name in self.found]
        return Grid.of(*seen)

    def _means(self, found: Map) -> Doubles | None:
        """Each channel's mean; None where that was not seen, as where memory is used for maps of several shapes."""
        if found.buffer is None:
            return self.found["image"].means
        means = np.full(found.stride, np.nan)
        for work in self.writers.get(id(found.buffer.root), ()):
            known = self._means(work.source) if work.kind == "copy" else self.found[work.name].means
            start = work.result.channel
            if known is not None and start + len(known) <= len(means):
                means[start : start + len(known)] = known
        seen = means[found.channel : found.channel + found.c]
        return None if np.isnan(seen).any() else seen

    # -- maps ---------------------------------------------------------------------------------------------------------

    def _buffer(self, buffer: Buffer) -> Buffer:
        """Memory of bytes instead of floats."""
        if id(buffer) not in self.buffers:
            of = None if buffer.of is None else self._buffer(buffer.of)
            self.buffers[id(buffer)] = Buffer(buffer.pixels, buffer.stride, of=of, wide=1)
        return self.buffers[id(buffer)]

    def _bytes(self, found: Map) -> Map:
        """The map in bytes; one of floats is turned into them when it is first asked for."""
        if found.buffer is not None and self._is_bytes(found):
            return replace(found, buffer=self._buffer(found.buffer))
        grid = self._grid(found)
        return self._turned(found, lambda result: Work(
            "quantize", f"quantize_{len(self.steps_)}", found, result, zeros=(0, grid.zero, 0), bounds=(0, 255),
            epsilon=1 / grid.step), 1)

    def _floats(self, found: Map) -> Map:
        """The map in floats; likewise."""
        if found.buffer is None or not self._is_bytes(found):
            return found
        grid, source = self._grid(found), replace(found, buffer=self._buffer(found.buffer))
        return self._turned(found, lambda result: _dequantize(f"dequantize_{len(self.steps_)}", source, result, grid),
                            4)

    def _turned(self, found: Map, step: Callable[[Map], Work], wide: int) -> Map:
        key = id(found.buffer), found.h, found.w, found.c, found.channel, wide
        if key not in self.changed:
            self.changed[key] = _lone(found, wide)
            self.steps_.append(step(self.changed[key]))
        return replace(self.changed[key], last=found.last, flat=found.flat)

    # -- steps --------------------------------------------------------------------------------------------------------

    def _take(self, work: Work) -> None:
        """The step on bytes."""
        source = self._bytes(work.source)
        other = None if work.other is None else self._bytes(work.other)
        given, added = self._grid(work.source), None if work.other is None else self._grid(work.other)
        assert work.result.buffer is not None
        if self._is_bytes(work.result):
            result, grid = replace(work.result, buffer=self._buffer(work.result.buffer)), self._grid(work.result)
        elif work.kind == "conv" and work.other is None:
            self.steps_.append(self._conv(work, given, None, None, source, work.result, None))
            return
        else:
            result = _lone(work.result, 1)
            grid = given if work.kind in ("maxpool", "copy") else Grid.of(self.found[work.name])
        self.steps_.append(self._conv(work, given, grid, added, source, result, other) if work.weight is not None
                           else self._light(work, given, grid, added, source, result, other))
        if not self._is_bytes(work.result):
            self.steps_.append(_dequantize(f"dequantize_{len(self.steps_)}", result, work.result, grid))

    def _conv(self, work: Work, given: Grid, grid: Grid | None, added: Grid | None, source: Map, result: Map,
              other: Map | None) -> Work:
        """A convolution, depthwise or not; without `grid` its results are floats."""
        weight = work.weight
        assert weight is not None
        exact = weight.reshape(len(weight), -1).astype(np.float64)
        bias = np.zeros(len(weight)) if work.bias is None else work.bias.astype(np.float64)
        # a bias, in products of steps, must fit into half of the 32 bits of a sum
        steps = np.maximum(np.abs(exact).max(1) / 127, np.abs(bias) / given.step / 2 ** 29)
        steps[steps == 0] = 1.0
        whole = np.rint(exact / steps[:, None])
        bias = bias + self._lost(work, exact - whole * steps[:, None])
        offsets = np.rint(bias / (steps * given.step)) - given.zero * whole.sum(1)
        curve = work.activation not in LINEAR
        inner = grid if grid is None or not curve else Grid.of(self.found[f"{work.name} before"])
        scale = steps * given.step * (1 if inner is None else (FINE if other is not None else 1) / inner.step)
        most = np.abs(whole).sum(1) * 255 + np.abs(offsets)
        if most.max() >= LARGEST or (inner is not None and (most * scale).max() >= LARGEST):
            raise UnsupportedError(f"native cannot sum up {work.name} in 32 bits: leave it in fp32")
        made = replace(
            work, kind=f"q{work.kind}", source=source, result=result, other=other,
            weight=whole.astype(np.int8).reshape(weight.shape), bias=offsets.astype(np.int32),
            scale=scale.astype(np.float32))
        if inner is None or grid is None:
            return replace(made, zeros=(given.zero, 0, 0))
        if added is not None:
            made = replace(made, epsilon=added.step / inner.step * FINE)
        return replace(made, zeros=(given.zero, inner.zero, 0 if added is None else added.zero),
                       bounds=_bounds(work.activation, inner), table=_table(work.activation, inner, grid))

    def _lost(self, work: Work, error: Doubles) -> Doubles:
        """The mean of what rounding, by `error`, takes from each result of a convolution."""
        assert work.weight is not None
        taps = error.reshape(len(error), work.weight.shape[1], -1).sum(2)
        if work.flat:
            writers = self.writers[id(work.source.buffer.root)] if work.source.buffer is not None else []
            means = self.found[writers[0].name].means if len(writers) == 1 and writers[0].name in self.found else None
            means = None if means is None or len(means) != work.flat[0] else means.repeat(work.flat[1] * work.flat[2])
        else:
            means = self._means(work.source)
        if means is None:
            return np.zeros(len(error))
        each = len(means) // work.groups
        group = np.arange(len(error)) // (len(error) // work.groups)
        lost: Doubles = (taps * means.reshape(work.groups, each)[group]).sum(1)
        return lost

    def _light(self, work: Work, given: Grid, grid: Grid, added: Grid | None, source: Map, result: Map,
               other: Map | None) -> Work:
        """A step without weights."""
        curve = work.activation not in LINEAR
        inner = Grid.of(self.found[f"{work.name} before"]) if curve else grid
        ratio = given.step / inner.step
        made = replace(work, kind=f"q{work.kind}", source=source, result=result, other=other, before=None,
                       zeros=(given.zero, inner.zero, 0 if added is None else added.zero),
                       bounds=_bounds(work.activation, inner), table=_table(work.activation, inner, grid))
        if work.kind == "avgpool":
            made.epsilon = ratio
        elif work.kind == "mean":
            made.epsilon = ratio / (work.source.h * work.source.w)
        elif work.kind == "multiply" and added is not None:
            made.epsilon = ratio * added.step
        elif work.kind == "add" and added is not None:
            made.scale = np.array([ratio * FINE, added.step / inner.step * FINE], np.float32)
        elif work.kind == "affine":
            assert work.before is not None
            factors, offsets = work.before.astype(np.float64)
            made.scale = (factors * ratio * FINE).astype(np.float32)
            # what is beyond all bounds stays there
            made.bias = np.rint(np.clip(offsets / inner.step * FINE, -2 ** 29, 2 ** 29)).astype(np.int32)
        return made


def _can(work: Work) -> bool:
    """True for a step whose form on bytes is there."""
    if work.kind == "conv":
        return work.before is None and (work.groups == 1 or work.source.c // work.groups % 4 == 0)
    if work.kind == "depthwise":
        return work.dilation == (1, 1) and work.kernel[0] <= TALLEST
    if work.kind == "copy":
        return work.source.channel % CHANNELS == work.result.channel % CHANNELS == 0
    return work.kind in LIGHT and (work.kind != "maxpool" or work.activation == "none")


def _dequantize(name: str, source: Map, result: Map, grid: Grid) -> Work:
    return Work("dequantize", name, source, result, zeros=(grid.zero, 0, 0), epsilon=grid.step)


def _bounds(activation: str, grid: Grid) -> tuple[int, int]:
    """Least and largest byte that an activation gives."""
    if activation not in ("relu", "relu6"):
        return 0, 255
    return grid.zero, 255 if activation == "relu" else min(255, max(1, grid.zero + round(6 / grid.step)))


def _table(activation: str, given: Grid, grid: Grid) -> NDArray[np.uint8] | None:
    """Byte before a curved activation → byte after it."""
    if activation in LINEAR:
        return None
    values = CURVES[activation](np.arange(-given.zero, 256 - given.zero).astype(np.float64) * given.step)
    table: NDArray[np.uint8] = np.clip(np.rint(values / grid.step) + grid.zero, 0, 255).astype(np.uint8)
    return table
