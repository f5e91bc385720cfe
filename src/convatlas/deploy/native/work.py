"""The steps of a network for the kernels, without torch: what is read, what is computed, where in one arena of memory
the maps lie.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConvatlasError

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bytes = NDArray[np.int8]
Halves = NDArray[np.uint16]         # bf16, as its bits
KINDS = ("conv", "winograd4", "winograd2", "depthwise", "maxpool", "avgpool", "mean", "add", "multiply", "affine",
         "layernorm", "response", "copy", "pad", "replicate", "nearest", "bilinear", "adaptive", "transposed",
         "offsets", "rbf", "output", "quantize", "dequantize", "qconv", "qdepthwise", "qmaxpool", "qavgpool", "qmean",
         "qadd", "qmultiply", "qaffine", "qcopy", "bconv", "tconv")
BYTES = frozenset(kind for kind in KINDS if kind.startswith("q"))       # kinds whose results are bytes
ALL_BYTES = BYTES | {"dequantize"}
IN_BF16 = ("bconv", "tconv")        # kinds that multiply in bf16; a step is of the first, the second is a way to do it
TILE = 32                           # channels of a tile
MOVES = ("copy", "pad", "replicate", "nearest", "output")          # kinds that compute nothing, activations neither
ACTIVATIONS = ("none", "relu", "relu6", "silu", "hardswish", "sigmoid", "hardsigmoid", "gelu", "tanh",
               "scaledtanh", "leakyrelu", "elu", "mish")
CHANNELS = 16           # a map's channels are padded to a multiple of this
TALLEST = 64            # rows of a depthwise kernel


class UnsupportedError(ConvatlasError):
    """A network has something that the kernels lack."""


def padded(channels: int) -> int:
    """The next multiple of CHANNELS."""
    return -(-channels // CHANNELS) * CHANNELS


@dataclass(eq=False)
class Buffer:
    """Memory for maps that lie beside one another; `start` in floats, once all steps are known.

    `of`: the same memory, seen otherwise; `wide`: bytes of a number, 4 of a float, 2 of bf16 or 1.
    """

    pixels: int
    stride: int                     # numbers from pixel to pixel
    start: int = -1
    of: "Buffer | None" = None
    wide: int = 4

    @property
    def size(self) -> int:
        """Floats, in whole lines of the cache."""
        return -(-self.pixels * self.stride * self.wide // 64) * 16

    @property
    def root(self) -> "Buffer":
        """The buffer to which memory is given."""
        return self if self.of is None else self.of.root


@dataclass(frozen=True)
class Map:
    """A node's result: n images of h × w pixels and c channels, from `channel` on in a buffer; None is the network's
    image.

    `last` says that torch has the channels in the last dimension here, `flat` that it sees one dimension of (c, h, w).
    """

    buffer: Buffer | None
    n: int
    h: int
    w: int
    c: int
    channel: int = 0
    last: bool = False
    flat: bool = False

    @property
    def pixels(self) -> int:
        """Of all images."""
        return self.n * self.h * self.w

    @property
    def stride(self) -> int:
        """Numbers from pixel to pixel."""
        return 0 if self.buffer is None else self.buffer.stride

    @property
    def wide(self) -> int:
        """Bytes of a number."""
        return 4 if self.buffer is None else self.buffer.wide


@dataclass(eq=False)
class Work:
    """One step, before memory is given out: a kind, its maps and what it needs besides.

    `other` is added, or multiplied with; of a depthwise convolution it is where the means of the result's rows go.
    `padding` is at the top and the left; of `pad` and `replicate` it may be less than nothing, which is cut off. The
    result of an `output` lies in no buffer; it is a network's.
    """

    kind: str
    name: str                       # of the node that has the weights
    source: Map
    result: Map
    activation: str = "none"
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    dilation: tuple[int, int] = (1, 1)
    other: Map | None = None
    weight: Floats | Bytes | Halves | None = None       # as torch has it
    bias: Floats | Ints | None = None
    before: Floats | None = None        # factors and offsets, (2, c)
    counts_padding: bool = False
    epsilon: float = 0.0                # of a LayerNorm; what is around a map that `pad` enlarges; a factor of bytes
    # (c, h, w), whose values torch has in this order as one dimension; here they lie as (h, w, padded c)
    flat: tuple[int, int, int] | None = None
    # of steps on bytes (kernels/bytes.h): factors; an activation as a table, byte to byte; the bytes that stand for 0
    # in source, result and other; least and largest byte of the result, 0 and 0 where it is floats
    scale: Floats | None = None
    table: NDArray[np.uint8] | None = None
    zeros: tuple[int, int, int] = (0, 0, 0)
    bounds: tuple[int, int] = (0, 0)

    @property
    def can_winograd(self) -> bool:
        """True for a 3×3 convolution of stride 1."""
        return (self.kind in ("conv", "bconv") and self.kernel == (3, 3) and self.stride == (1, 1) and self.groups == 1
                and self.dilation == (1, 1) and self.before is None and self.source.buffer is not None)

    @property
    def spread(self) -> bool:
        """True for a convolution of which tiles take a row of taps as one, as in kernels/bfloat16.h: of few channels.
        """
        each, row = (-(-count // TILE) * TILE for count in (self.source.c, self.kernel[1] * self.source.c))
        return self.dilation[1] == 1 and self.groups == 1 and row < self.kernel[1] * each and self.kernel[1] > 1

    @property
    def small_groups(self) -> bool:
        """True for a convolution that kernels/grouped.h computes: 3×3, with 4 or 8 channels a group."""
        each = self.source.c // self.groups
        return (self.kind == "conv" and self.groups > 1 and each in (4, 8) and self.result.c == self.source.c
                and each * self.groups == self.source.c and self.source.c % CHANNELS == 0 and self.kernel == (3, 3)
                and self.stride in ((1, 1), (2, 2)) and self.dilation == (1, 1) and self.before is None
                and self.flat is None and self.source.buffer is not None)

    @property
    def row_by_row(self) -> bool:
        """True for a depthwise convolution that kernels/depthwise.h takes row by row."""
        return (self.kind == "depthwise" and self.kernel[0] == self.kernel[1] and self.stride[0] == self.stride[1]
                and self.dilation == (1, 1) and (self.kernel[0], self.stride[0]) in FEW)


def output(source: Map, name: str, flat: bool = False) -> Work:
    """The step that gives a map to the caller, as (N, C, H, W), or `flat` as (N, C · H · W)."""
    whole = source.c, source.h, source.w
    return Work("output", name, source, Map(None, source.n, source.h, source.w, source.c), flat=whole if flat else None)


def on_halves(work: Work) -> bool:
    """True for a step whose maps of bf16 its kernel knows, where `wide` says so."""
    maps = [found for found in (work.source, work.result, work.other) if found is not None]
    even = all(found.channel % 2 == found.stride % 2 == 0 for found in maps if found.wide == 2)
    if work.kind == "maxpool":
        return even and work.source.wide == work.result.wide
    return even and work.kind == "bconv" and (work.before is None or work.source.wide == 4)


def precision_of(works: Sequence[Work]) -> str:
    """Precision in which the steps compute, as `deploy` calls it."""
    kinds = {work.kind for work in works}
    return "int8" if kinds & ALL_BYTES else "bf16" if kinds & {*IN_BF16} else "fp32"


def join_groups(work: Work) -> None:
    """Joined groups: as many as fill whole vectors become one, with zeros where they have nothing to do with each
    other.
    """
    assert work.weight is not None
    groups, (outputs, inputs, *kernel) = work.groups, work.weight.shape
    each = outputs // groups
    many = CHANNELS // gcd(CHANNELS, each)
    many = many if groups % many == 0 else groups
    if many == 1:
        return
    joined = np.zeros((outputs, many * inputs, *kernel), np.float32)
    for group in range(groups):
        at = group % many * inputs
        joined[group * each : (group + 1) * each, at : at + inputs] = work.weight[group * each : (group + 1) * each]
    work.weight, work.groups = joined, groups // many


# -- chains ------------------------------------------------------------------------------------------------------------

LONGEST = 8             # steps of a chain, as in kernels/step.h
FEW = {(3, 1), (3, 2), (5, 1), (5, 2), (7, 1)}       # kernels and strides that kernels/depthwise.h takes row by row


def chains(works: Sequence[Work]) -> dict[int, int]:
    """Steps that can be computed a few rows at a time: the number of the first, and how many there are.

    Each reads what the one before writes, which nothing else reads, and needs for a row that row of it, or the rows
    around it.
    """
    readers: dict[int, int] = {}
    for work in works:
        for each in (work.source, work.other):
            if each is not None and each.buffer is not None:
                readers[id(each.buffer.root)] = readers.get(id(each.buffer.root), 0) + 1
    writers = {id(work.result.buffer.root): 0 for work in works if work.result.buffer is not None}
    for work in works:
        if work.result.buffer is not None:
            writers[id(work.result.buffer.root)] += 1

    def follows(work: Work, before: Work) -> bool:
        between = before.result.buffer
        same = all(getattr(work.source, name) == getattr(before.result, name)
                   for name in ("buffer", "h", "w", "c", "channel"))
        if before.kind == "depthwise" and before.other is not None:
            return False                            # the means of rows are written once
        return (same and _by_rows(work) and between is not None and between.of is None
                and readers.get(id(between), 0) == writers[id(between)] == 1)

    found: dict[int, int] = {}
    i = 0
    while i < len(works):
        count = 1
        while (count < LONGEST and _by_rows(works[i]) and i + count < len(works)
               and follows(works[i + count], works[i + count - 1])):
            count += 1
        if count > 1:
            found[i] = count
        i += count
    return found


def _by_rows(work: Work) -> bool:
    """True for a step whose kernel may be given some rows only."""
    if work.kind in ("conv", "bconv"):
        return work.source.h > 1 and work.flat is None and not work.can_winograd
    if work.kind == "depthwise":
        return work.row_by_row
    return work.kind in ("maxpool", "layernorm", "affine", "multiply", "add")


# -- memory ------------------------------------------------------------------------------------------------------------


def of_images(works: Sequence[Work], images: int) -> list[Work]:
    """The steps for so many images, of those for one."""
    buffers: dict[int, Buffer] = {}

    def larger(buffer: Buffer) -> Buffer:
        if id(buffer) not in buffers:
            buffers[id(buffer)] = replace(buffer, pixels=buffer.pixels * images,
                                          of=None if buffer.of is None else larger(buffer.of))
        return buffers[id(buffer)]

    def more(found: Map) -> Map:
        return replace(found, n=images, buffer=None if found.buffer is None else larger(found.buffer))

    return [replace(work, source=more(work.source), result=more(work.result),
                    other=None if work.other is None else more(work.other)) for work in works]


def lay_out(works: Sequence[Work], keeps: bool = False) -> int:
    """Give every buffer its place in the arena, where no other lies while it is used, or with `keeps` ever; returns the
    arena's floats.
    """
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    buffers: dict[int, Buffer] = {}
    ends = {i + n: (i, i + count - 1) for i, count in chains(works).items() for n in range(count)}
    for i, work in enumerate(works):
        begun, ended = ends.get(i, (i, i))          # a chain's steps are computed at one time
        for each in (work.source, work.result, work.other):
            if each is not None and each.buffer is not None:
                root = each.buffer.root
                buffers[id(root)] = root
                first.setdefault(id(root), begun)
                last[id(root)] = len(works) if keeps else ended
    placed: list[tuple[int, int, int, int]] = []        # start, end, first and last step
    for key in sorted(buffers, key=lambda key: -buffers[key].size):
        start = 0
        for begin, end, since, until in sorted(placed):
            if first[key] <= until and since <= last[key] and start + buffers[key].size > begin:
                start = max(start, end)
        buffers[key].start = start
        placed.append((start, start + buffers[key].size, first[key], last[key]))
    return max((end for _, end, _, _ in placed), default=0)


# -- weights as the kernels read them ----------------------------------------------------------------------------------


def weights_of(work: Work, kind: str, lanes: int) -> Floats:
    """The step's weight in the order in which the kernel of `kind` reads it, flat; bytes four at a time, as floats.
    """
    weight: NDArray[Any] | None = work.weight
    assert weight is not None
    if kind in BYTES or kind in IN_BF16:
        return _packed_of(work, kind, lanes)
    if weight.dtype == np.uint16:
        weight = (weight.astype(np.uint32) << 16).view(np.float32)
    if kind == "layernorm":
        return padded_vector(weight)
    if kind == "offsets":
        return padded_vector(weight.transpose(1, 2, 0))
    if kind == "rbf":
        return padded_vector(weight.T)
    if kind == "transposed":
        return np.concatenate([_panels(np.ascontiguousarray(weight[:, :, down::work.stride[0], across::work.stride[1]]
                                                            [:, :, ::-1, ::-1].transpose(2, 3, 0, 1)), lanes)
                               for down in range(work.stride[0]) for across in range(work.stride[1])])
    if kind == "depthwise":
        wide = np.zeros((padded(len(weight)), *weight.shape[2:]), np.float32)
        wide[: len(weight)] = weight[:, 0]
        return wide.reshape(-1, CHANNELS, *wide.shape[1:]).transpose(0, 2, 3, 1).reshape(-1)
    if kind in WINOGRAD:
        grid = np.array(WINOGRAD[kind])
        points = np.kron(grid, grid) @ weight.reshape(-1, 9).T.astype(np.float64)           # (36 or 16, k · c)
        return _panels(points.astype(np.float32).reshape(len(points), *weight.shape[:2]).transpose(0, 2, 1), lanes)
    if work.small_groups:
        return weight.reshape(-1, lanes, *weight.shape[1:]).transpose(0, 3, 4, 2, 1).reshape(-1)
    if work.flat:
        c, h, w = work.flat
        wide = np.zeros((h * w, padded(c), len(weight)), np.float32)
        wide[:, :c] = weight.reshape(-1, c, h * w).transpose(2, 1, 0)
        return _panels(wide.reshape(-1, len(weight)), lanes)
    return np.concatenate([_panels(group.transpose(2, 3, 1, 0), lanes) for group in np.split(weight, work.groups)])


NEAR, FAR = 0.5 ** 0.5, 2.0 ** 0.5
# G of Winograd's F(4×4, 3×3) and F(2×2, 3×3), at the points of kernels/winograd.h
WINOGRAD = {
    "winograd4": ((1.0, 0.0, 0.0), *((-1 / 1.5, -at / 1.5, -0.5 / 1.5) for at in (NEAR, -NEAR)),
                  *((1 / 6, at / 6, 2 / 6) for at in (FAR, -FAR)), (0.0, 0.0, 1.0)),
    "winograd2": ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0)),
}


def _panels(weight: NDArray[Any], lanes: int) -> NDArray[Any]:
    """(…, k) in panels of two vectors of k, one after the other; k is padded."""
    outputs, rows = weight.shape[-1], weight.size // weight.shape[-1]
    flat = np.zeros(rows * padded(outputs), weight.dtype)
    for start in range(0, padded(outputs), 2 * lanes):
        wide = min(2 * lanes, padded(outputs) - start)
        there = min(wide, outputs - start)
        panel = flat[rows * start : rows * (start + wide)].reshape(*weight.shape[:-1], wide)
        panel[..., :there] = weight[..., start : start + there]
    return flat


def _packed_of(work: Work, kind: str, lanes: int) -> Floats:
    """Weights smaller than floats: four bytes or two halves of neighbouring channels, or of a depthwise kernel's taps,
    beside each other for each output.
    """
    weight = work.weight
    assert weight is not None
    if kind == "qdepthwise":
        wide = np.zeros((padded(len(weight)), weight.shape[2], -(-weight.shape[3] // 4) * 4), np.int8)
        wide[: len(weight), :, : weight.shape[3]] = weight[:, 0]
        wide = wide.reshape(-1, CHANNELS, wide.shape[1], wide.shape[2] // 4, 4).transpose(0, 2, 3, 1, 4)
        return np.ascontiguousarray(wide).view(np.float32).reshape(-1)
    if work.flat:
        c, h, w = work.flat
        wide = np.zeros((len(weight), h * w, padded(c)), weight.dtype)
        wide[:, :, :c] = weight.reshape(-1, c, h * w).transpose(0, 2, 1)
        weight = wide.reshape(len(weight), -1, 1, 1)
    outputs, high = weight.shape[0], weight.shape[2]
    whole = {"qconv": 4, "bconv": 2, "tconv": TILE}[kind]
    moved = weight.transpose(0, 2, 3, 1)
    if kind == "tconv" and work.spread:
        moved = moved.reshape(outputs, high, 1, -1)
    found = np.zeros((*moved.shape[:3], -(-moved.shape[3] // whole) * whole), weight.dtype)
    found[..., : moved.shape[3]] = moved
    numbers = found.view(np.int32).reshape(outputs, -1)         # moved whole, whatever float they would be
    return np.concatenate([_panels(group.T, lanes) for group in np.split(numbers, work.groups)]).view(np.float32)


def padded_vector(vector: NDArray[Any]) -> NDArray[Any]:
    """(…, c) with zeros to whole vectors, flat."""
    wide = np.zeros((*vector.shape[:-1], padded(vector.shape[-1])), vector.dtype)
    wide[..., : vector.shape[-1]] = vector
    return wide.reshape(-1)


# -- steps as a file has them ------------------------------------------------------------------------------------------

ARRAYS = ("weight", "bias", "before", "scale", "table")
PLAIN = ("kind", "name", "activation", "kernel", "stride", "padding", "groups", "dilation", "counts_padding", "epsilon",
         "flat")
OF_BYTES = ("zeros", "bounds")
MOST = 2 ** 31          # of any number in a file


def written(works: Sequence[Work]) -> tuple[dict[str, Any], dict[str, Floats]]:
    """The steps for one image as JSON takes them, and their arrays by name."""
    buffers: dict[int, int] = {}
    rows: list[tuple[int | None, ...]] = []

    def number(buffer: Buffer) -> int:
        if id(buffer) not in buffers:
            of = None if buffer.of is None else number(buffer.of)
            buffers[id(buffer)] = len(rows)
            rows.append((buffer.pixels, buffer.stride, of, *([buffer.wide] if buffer.wide != 4 else [])))
        return buffers[id(buffer)]

    def place(found: Map | None) -> list[int | None] | None:
        if found is None:
            return None
        return [None if found.buffer is None else number(found.buffer), found.h, found.w, found.c, found.channel]

    steps = [{name: getattr(work, name) for name in (*PLAIN, *(OF_BYTES if work.kind in ALL_BYTES else ()))}
             | {which: place(getattr(work, which)) for which in ("source", "result", "other")} for work in works]
    arrays = {f"{i}.{name}": array for i, work in enumerate(works) for name in ARRAYS
              if (array := getattr(work, name)) is not None}
    return {"buffers": rows, "steps": steps}, arrays


def read(tree: Any, arrays: dict[str, Floats]) -> list[Work]:
    """The steps that `written` gave.

    A ValueError for others: the kernels follow them through memory without looking.
    """
    try:
        buffers: list[Buffer] = []
        for pixels, stride, of, *wide in tree["buffers"]:
            root = None if of is None else buffers[_whole(of, 0)]
            if wide not in ([], [1], [2]) or (root is not None and root.wide != (wide or [4])[0]):
                raise ValueError("a map is of numbers that are none")
            buffers.append(Buffer(_whole(pixels), _whole(stride), of=root, wide=(wide or [4])[0]))
            if buffers[-1].size > buffers[-1].root.size:
                raise ValueError("a map is larger than the one whose memory it has")

        def place(row: Any) -> Map:
            where, h, w, c, channel = row
            return Map(None if where is None else buffers[_whole(where, 0)], 1, _whole(h), _whole(w), _whole(c),
                       _whole(channel, 0))

        works = [
            Work(str(row["kind"]), str(row["name"]), place(row["source"]), place(row["result"]), str(row["activation"]),
                 _two(row["kernel"]), _two(row["stride"]),
                 _two(row["padding"], -MOST if row["kind"] in ("pad", "replicate") else 0), _whole(row["groups"]),
                 _two(row.get("dilation", (1, 1))), None if row["other"] is None else place(row["other"]),
                 arrays.get(f"{i}.weight"), arrays.get(f"{i}.bias"), arrays.get(f"{i}.before"),
                 bool(row["counts_padding"]), float(row["epsilon"]),
                 None if row["flat"] is None else _three(row["flat"]), arrays.get(f"{i}.scale"),
                 arrays.get(f"{i}.table"),      # type: ignore[arg-type]    # of what type each is, _check asks
                 _three(row.get("zeros", (0, 0, 0)), 0), _two(row.get("bounds", (0, 0)), 0))
            for i, row in enumerate(tree["steps"])]
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if works and all(work.kind != "output" for work in works):      # as in format 1: the last map has the scores
        if (works[-1].result.h, works[-1].result.w) != (1, 1):
            raise ValueError("it does not lead to scores")
        works.append(output(works[-1].result, "output", flat=True))
    for work in works:
        _check(work)
    names = [work.name for work in works if work.kind not in ("copy", "qcopy")]
    if len(set(names)) < len(names):
        raise ValueError("two steps have one name")         # weights are laid out once for each
    pictures = {(each.source.h, each.source.w, each.source.c) for each in works if each.source.buffer is None}
    if len(pictures) != 1 or works[0].source.buffer is not None:
        raise ValueError("it does not begin with one image")
    return works


def _whole(value: Any, least: int = 1) -> int:
    if type(value) is not int or not least <= value < MOST:
        raise ValueError(f"{value!r} is no number from {least} to {MOST}")
    return value


def _two(values: Any, least: int = 1) -> tuple[int, int]:
    high, wide = values
    return _whole(high, least), _whole(wide, least)


def _three(values: Any, least: int = 1) -> tuple[int, int, int]:
    c, h, w = values
    return _whole(c, least), _whole(h, least), _whole(w, least)


def _check(work: Work) -> None:
    """A ValueError for a step that would lead the kernels out of its maps or arrays."""
    wide = {found.wide for found in (work.source, work.result, work.other) if found is not None}
    if work.kind in ALL_BYTES:
        _check_bytes(work)
    elif 1 in wide or (2 in wide and not on_halves(work)):
        raise ValueError(f"{work.name}: a step {work.kind} on a map of {'bytes' if 1 in wide else 'bf16'}")
    elif work.kind == "bconv":
        _check_bf16(work)
    else:
        _check_shapes(work)


def _check_shapes(work: Work) -> None:
    """The same, whatever the numbers of its maps."""
    source, result, other = work.source, work.result, work.other
    same = (source.h, source.w, source.c) == (result.h, result.w, result.c)
    shapes: dict[str, tuple[int, ...]] = {}
    fits, second = same, None
    if work.kind in ("conv", "depthwise"):
        each = source.c // work.groups
        inputs = source.c if work.flat is None else int(np.prod(work.flat))
        deep = work.kind == "depthwise"
        shapes = {"weight": (result.c, 1 if deep else inputs // work.groups, *work.kernel), "bias": (result.c,),
                  "before": (2, source.c)}
        # TensorFlow's SAME has one pixel more at the bottom and the right
        fits = (all(size in ((have + 2 * pad + more - (kernel - 1) * apart - 1) // step + 1 for more in (0, 1))
                    for size, have, pad, kernel, apart, step in zip(
                        (result.h, result.w), (source.h, source.w), work.padding, work.kernel, work.dilation,
                        work.stride, strict=True))
                and each * work.groups == source.c and result.c % work.groups == 0
                and (work.groups == 1 or deep or result.c // work.groups % CHANNELS == 0 or work.small_groups)
                and (not deep
                     or (work.groups == source.c == result.c and work.kernel[0] <= TALLEST and work.before is None))
                and (work.flat is None or (work.groups == 1 and work.kernel == (1, 1)
                                           and source.c == work.flat[1] * work.flat[2] * padded(work.flat[0])))
                and (source.buffer is not None or (work.groups == 1 and not deep and work.before is None))
                and work.weight is not None)
        second = (result.h, result.w, result.c)
        if deep:
            second = (result.h, 1, result.c) if work.row_by_row else None
    elif work.kind in ("maxpool", "avgpool"):
        fits = source.c == result.c
    elif work.kind == "transposed":
        shapes = {"weight": (source.c, result.c, *work.kernel), "bias": (result.c,)}
        fits = work.weight is not None and all(
            0 <= size - (have - 1) * step - kernel + 2 * pad < step
            for size, have, pad, kernel, step in zip((result.h, result.w), (source.h, source.w), work.padding,
                                                     work.kernel, work.stride, strict=True))
    elif work.kind in ("pad", "replicate", "bilinear", "adaptive"):
        fits = source.c == result.c
    elif work.kind == "nearest":
        fits = source.c == result.c and result.h % source.h == result.w % source.w == 0
    elif work.kind == "offsets":
        shapes, fits = {"weight": (source.c, source.h, source.w)}, same and work.weight is not None
    elif work.kind == "rbf":
        shapes = {"weight": (result.c, source.c)}
        fits = work.weight is not None and (source.h, source.w) == (result.h, result.w)
    elif work.kind == "mean":
        fits = (result.h, result.w, result.c) == (1, 1, source.c)
    elif work.kind in ("add", "multiply"):
        second = (source.h, source.w, source.c) if work.kind == "add" else (1, 1, source.c)
        fits = same and other is not None
    elif work.kind == "affine":
        shapes, fits = {"before": (2, source.c)}, same and work.before is not None
    elif work.kind == "layernorm":
        shapes, fits = ({"weight": (source.c,), "bias": (source.c,)},
                        same and (work.weight is None) == (work.bias is None))
    elif work.kind == "response":
        shapes = {"before": (2,)}
        fits = (same and work.before is not None and source.c % work.groups == 0
                and (work.groups == 1 or source.c // work.groups % CHANNELS == 0))
    elif work.kind == "output":
        fits = same and (work.flat is None or work.flat == (source.c, source.h, source.w))
    elif work.kind != "copy":
        raise ValueError(f"there is no step {work.kind!r}")
    fits = fits and work.activation in ACTIVATIONS and (source.buffer is not None
                                                        or work.kind in ("conv", "pad", "replicate"))
    fits = fits and (other is None or (other.h, other.w, other.c) == second)
    fits = fits and (work.activation == "none" or work.kind not in MOVES)
    fits = fits and (result.buffer is None) is (work.kind == "output")
    for found in (source, result, other):
        if found is not None and found.buffer is not None:
            buffer, wide = found.buffer, found.c if work.kind == "copy" else padded(found.c)     # as far as it reads
            fits = fits and found.h * found.w <= buffer.pixels and found.channel + wide <= buffer.stride
    for name in ARRAYS:
        array = getattr(work, name)
        fits = fits and (array is None or (array.dtype == np.float32 and array.shape == shapes.get(name)))
    if not fits:
        raise ValueError(f"{work.name}: a step {work.kind} that is none")


def _check_bytes(work: Work) -> None:
    """The same of a step on bytes: what it has beyond the one on floats, then that one's."""
    kind, c = work.kind, work.result.c
    float_result = kind == "dequantize" or (kind == "qconv" and work.bounds == (0, 0))
    wide = {"source": 4 if kind == "quantize" else 1, "result": 4 if float_result else 1, "other": 1}
    maps = {which: found for which in wide if (found := getattr(work, which)) is not None}
    fits = all(found.wide == wide[which] and (found.buffer is None or (found.wide == 4 or (
        found.channel % 4 == 0 and found.stride % CHANNELS == 0))) for which, found in maps.items())
    fits = fits and max(*work.zeros, *work.bounds) < 256 and (float_result or work.bounds[0] <= work.bounds[1] > 0)
    summed = kind in ("qconv", "qdepthwise")
    shapes = {"scale": (c,) if summed or kind == "qaffine" else (2,) if kind == "qadd" else None,
              "bias": (c,) if summed or kind == "qaffine" else None}
    for name, shape in shapes.items():
        array = getattr(work, name)
        fits = fits and (array is None if shape is None else array is not None and array.shape == shape)
    for name, kept in (("weight", np.int8), ("bias", np.int32), ("scale", np.float32), ("table", np.uint8)):
        array = getattr(work, name)
        fits = fits and (array is None or array.dtype == kept)
    fits = fits and (work.table is None or (work.table.shape == (256,) and not float_result))
    fits = fits and (kind != "qconv" or (work.groups == 1 or work.source.c // work.groups % 4 == 0))
    fits = fits and (kind != "qconv" or not float_result or work.other is None)
    fits = fits and (kind != "qdepthwise" or (work.dilation == (1, 1) and work.other is None))
    fits = fits and (kind in ("quantize", "dequantize", "qcopy") or work.source.buffer is not None)
    fits = fits and (kind not in ("quantize", "dequantize") or (
        (work.source.h, work.source.w, work.source.c) == (work.result.h, work.result.w, c)))
    if not fits:
        raise ValueError(f"{work.name}: a step {work.kind} that is none")
    plain = kind.removeprefix("q") if kind not in ("quantize", "dequantize") else "pad"
    before = np.broadcast_to(np.float32(0), (2, work.source.c)) if plain == "affine" else None
    weight = None if work.weight is None else np.broadcast_to(np.float32(0), work.weight.shape)
    _check_shapes(replace(work, kind=plain, weight=weight, bias=None, before=before, scale=None, table=None,
                          activation=work.activation if float_result else "none"))


def _check_bf16(work: Work) -> None:
    """The same of a step in bf16."""
    weight = work.weight
    if weight is None or weight.dtype != np.uint16 or (work.groups > 1 and (work.source.c // work.groups % 2
                                                                            or work.source.buffer is None)):
        raise ValueError(f"{work.name}: a step {work.kind} that is none")
    _check_shapes(replace(work, kind="conv", weight=np.broadcast_to(np.float32(0), weight.shape)))
