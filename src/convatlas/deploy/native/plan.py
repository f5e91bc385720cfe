"""A traced network as a list of steps for the native kernels."""

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ...net.model import pair
from ...parts import (
    RBF,
    LayerNorm2d,
    LocalConv2d,
    LocalResponseNorm,
    SameConv2d,
    SameMaxPool2d,
    ScaledTanh,
    Subsample2d,
    TableConv2d,
    Twice,
    scale_shift,
)
from ..graph.trace import LEAVES, Made, traced_for
from .work import CHANNELS, MOVES, TALLEST, Buffer, Floats, Map, UnsupportedError, Work, join_groups, output, padded

MODULES: dict[type, str] = {
    nn.ReLU: "relu", nn.ReLU6: "relu6", nn.SiLU: "silu", nn.Hardswish: "hardswish", nn.Sigmoid: "sigmoid",
    nn.Hardsigmoid: "hardsigmoid", nn.GELU: "gelu", nn.Tanh: "tanh", ScaledTanh: "scaledtanh", nn.Mish: "mish",
}
FUNCTIONS: dict[Any, str] = {F.relu: "relu", torch.relu: "relu", F.silu: "silu", torch.sigmoid: "sigmoid",
                             torch.tanh: "tanh"}
OURS = (LocalResponseNorm, SameMaxPool2d, ScaledTanh, Subsample2d, TableConv2d, LocalConv2d, Twice, RBF)
SIMPLE = (bool, int, float)


def plan(model: nn.Module, size: tuple[int, ...]) -> list[Work]:
    """The steps of `model`, in eval mode, for one image of `size` (C, H, W), which end in what it gives: a tensor, or
    several.

    Refuses, with its name, what is not known. Of a model on the meta device the steps are right but for their numbers.
    """
    try:
        graph, made = traced_for(model, size, (*LEAVES, *OURS))
    except Exception as error:
        # tracing runs the network's own code on stand-ins, and any exception can come of that
        raise UnsupportedError(f"native cannot trace it: {' '.join(str(error).split())[:200]}") from error
    return _Planner(graph, made).steps()


def _floats(tensor: Tensor | None) -> Floats | None:
    """As NumPy has it; the same memory, where it can be. On the meta device: zeros that take none."""
    if tensor is not None and tensor.is_meta:
        return np.broadcast_to(np.float32(0), tensor.shape)
    return None if tensor is None else tensor.detach().float().contiguous().numpy()


class _Planner:
    def __init__(self, graph: fx.GraphModule, made: Made) -> None:
        self.graph, self.made = graph, made
        self.maps: dict[fx.Node, Map] = {}
        self.works: list[Work] = []
        self.by: dict[fx.Node, Work] = {}       # what computes a node, while something can still be added to it
        self.homes = self._homes()

    def steps(self) -> list[Work]:
        for node in self.graph.graph.nodes:
            if node.op == "output":
                return self._finished(node)
            self._visit(node)
        raise UnsupportedError("native finds no output")

    def _finished(self, node: fx.Node) -> list[Work]:
        (given,) = node.args
        for i, each in enumerate(given if isinstance(given, list | tuple) else [given]):
            found = self.maps.get(each) if isinstance(each, fx.Node) else None
            shape = self.made.get(each, ()) if isinstance(each, fx.Node) else ()
            if found is None or len(shape) not in (2, 4) or (found.last and (found.h, found.w) != (1, 1)):
                raise UnsupportedError("native gives tensors (N, C, H, W) and (N, C) only, and this network gives "
                                       "something else")
            self.works.append(output(self._of_image(each), f"output_{i}", flat=len(shape) == 2))
        return self.works

    # -- where maps lie -----------------------------------------------------------------------------------------------

    def _homes(self) -> dict[fx.Node, tuple[Buffer, int]]:
        """Node → buffer and channel, for maps that a concatenation joins: they are written where the joined map has
        them.
        """
        homes: dict[fx.Node, tuple[Buffer, int]] = {}
        for node in reversed(list(self.graph.graph.nodes)):
            if not (parts := self._joined(node)):
                continue
            channels = [self.made[part][1] for part in parts]
            known = [homes.get(part) for part in parts]
            if node not in homes and known[0] is not None and all(
                    home is not None and home[0] is known[0][0] and home[1] == known[0][1] + sum(channels[:i])
                    for i, home in enumerate(known)):
                homes[node] = known[0]          # it is the beginning of a longer one
                continue
            n, c, h, w = (*self.made[node], 1, 1)[:4]
            # the last part is written in whole vectors
            beyond = CHANNELS * any(each % CHANNELS for each in channels)
            buffer, start = homes.setdefault(node, (Buffer(n * h * w, padded(c) + beyond), 0))
            for i, part in enumerate(parts):
                whole = channels[i] % CHANNELS == 0 or i == len(parts) - 1
                if whole and part not in homes and part.op != "placeholder" and parts.count(part) == 1:
                    homes[part] = buffer, start + sum(channels[:i])
        return homes

    def _joined(self, node: fx.Node) -> list[fx.Node]:
        if node.op != "call_function" or node.target is not torch.cat:
            return []
        if (*node.args[1:], *node.kwargs.values()) != (1,) or len(self.made[node]) not in (2, 4):
            raise UnsupportedError("native joins maps along their channels only")
        maps = node.args[0]
        assert isinstance(maps, list | tuple)
        return [each for each in maps if isinstance(each, fx.Node)]

    def _new(self, node: fx.Node, like: Map | None = None) -> Map:
        """A place for `node`'s map; in torch's order of dimensions, or in that of `like`."""
        shape = self.made[node]
        if len(shape) == 2:
            n, h, w, c = shape[0], 1, 1, shape[1]
        elif len(shape) != 4:
            raise UnsupportedError(f"native has no maps of shape {shape}")
        elif like is not None and like.last:
            n, h, w, c = shape
        else:
            n, c, h, w = shape
        buffer, channel = self.homes.get(node) or (Buffer(n * h * w, padded(c)), 0)
        return Map(buffer, n, h, w, c, channel, last=like is not None and like.last)

    def _add(self, node: fx.Node, work: Work) -> None:
        self.works.append(work)
        self.by[node] = work
        self.maps[node] = work.result

    # -- nodes --------------------------------------------------------------------------------------------------------

    def _visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            n, c, h, w = self.made[node]
            self.maps[node] = Map(None, n, h, w, c)
        elif node.op == "call_module":
            self._module(node, self.graph.get_submodule(str(node.target)))
        elif (activation := FUNCTIONS.get(node.target)) and len(node.args) == 1:
            self._activate(node, activation)
        elif self._joined(node):
            self._join(node)
        elif node.target in (operator.add, operator.iadd, torch.add) and len(node.args) == 2 and not node.kwargs:
            self._sum(node)
        elif node.target in (operator.mul, torch.mul) and len(node.args) == 2:
            self._product(node)
        elif isinstance(node.target, str) and node.target in ACTIVATE and node.op == "call_method":
            self._activate(node, node.target)
        elif node.target in LAYERS and node.op == "call_function":
            LAYERS[node.target](self, node)
        elif self._strided(node) or node.target in (torch.split, torch.chunk) or (
                node.op == "call_method" and node.target in ("split", "chunk")):
            return                          # what pads it, or takes a part, takes both
        elif node.target is F.pad and isinstance(node.args[0], fx.Node) and (steps := self._strided(node.args[0])):
            self._zero_pad(node, steps)
        elif node.target is F.pad:
            self._border(node)
        elif node.target is operator.getitem and node.args[0] in self.maps:
            self._part(node)
        elif node.target is operator.getitem and isinstance(node.args[1], int):
            self._cut(node, node.args[0], node.args[1])
        elif node.op == "call_method" and node.target == "permute":
            self._permute(node)
        elif node.target in ("flatten", torch.flatten) and node.args[1:] == (1,):
            self._flatten(node)
        elif (node.op == "call_method" and node.target == "mean" and node.args[1:] == ((2, 3),)
                and not node.kwargs.get("keepdim")):
            self._mean(node)
        elif node.op == "call_method" and node.target == "amax" and node.args[1:] == ((2, 3),) and not node.kwargs:
            source = self._written(node.args[0])
            whole = source.h, source.w
            self._add(node, Work("maxpool", node.name, source, self._new(node), kernel=whole, stride=whole))
        else:
            raise UnsupportedError(f"native has no {getattr(node.target, '__name__', node.target)}")

    def _module(self, node: fx.Node, layer: nn.Module) -> None:
        known: dict[type, Callable[[fx.Node, Any], None]] = {
            nn.Conv2d: self._conv, nn.Linear: self._linear, nn.MaxPool2d: self._max_pool, nn.AvgPool2d: self._avg_pool,
            nn.AdaptiveAvgPool2d: self._adaptive, nn.BatchNorm2d: self._norm, LocalResponseNorm: self._response,
            SameConv2d: self._conv, SameMaxPool2d: self._max_pool, nn.ConvTranspose2d: self._transposed,
            nn.Upsample: self._up_sample, Subsample2d: self._subsample, TableConv2d: self._table,
            LocalConv2d: self._local, Twice: self._twice, RBF: self._rbf}
        if type(layer) in MODULES and not (isinstance(layer, nn.GELU) and layer.approximate != "none"):
            self._activate(node, MODULES[type(layer)])
        elif ((isinstance(layer, nn.LeakyReLU) and layer.negative_slope == 0.01)
              or (isinstance(layer, nn.ELU) and layer.alpha == 1)):
            self._activate(node, type(layer).__name__.lower())
        elif isinstance(layer, nn.LayerNorm):
            self._layer_norm(node, layer)
        elif isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1):
            self._flatten(node)
        elif type(layer) in known:
            known[type(layer)](node, layer)
        else:
            raise UnsupportedError(f"native has no {type(layer).__name__}")

    def _map(self, node: Any, last: bool = False) -> Map:
        """The map of a node whose channels are the second dimension, or with `last` the last."""
        if not isinstance(node, fx.Node) or node not in self.maps:
            raise UnsupportedError(f"native has no arithmetic with {node}")
        if ((found := self.maps[node]).last is not last and (found.h, found.w) != (1, 1)) or found.flat:
            raise UnsupportedError(f"native does not know this order of dimensions, before {node.name}")
        return found

    def _written(self, node: Any) -> Map:
        """The same, of a map that a step wrote."""
        self._map(node)
        return self._of_image(node)

    def _of_image(self, node: fx.Node) -> Map:
        """The node's map; the network's image becomes one when it is first asked for."""
        if (found := self.maps[node]).buffer is None:
            size = found.n * found.h * found.w
            self.maps[node] = replace(found, buffer=Buffer(size, padded(found.c)))
            self.works.append(Work("pad", node.name, found, self.maps[node]))
        return self.maps[node]

    def _conv(self, node: fx.Node, conv: nn.Conv2d) -> None:
        source = self._written(node.args[0]) if conv.groups > 1 else self._map(node.args[0])
        if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
            raise UnsupportedError("native has no padding by name or by anything but zeros")
        work = Work("conv", node.name, source, self._new(node), kernel=_two(conv.kernel_size), stride=_two(conv.stride),
                    padding=_before(conv, source), groups=conv.groups, dilation=_two(conv.dilation),
                    weight=_floats(conv.weight), bias=_floats(conv.bias))
        if conv.groups == conv.in_channels == conv.out_channels > 1 and work.kernel[0] <= TALLEST:
            work.kind = "depthwise"
        elif conv.groups > 1 and not work.small_groups:
            join_groups(work)
        before = self.by.get(node.args[0]) if len(node.args[0].users) == 1 else None        # type: ignore[arg-type, union-attr]
        if before and (before.kind, before.activation, work.kernel, conv.groups) == ("affine", "relu", (1, 1), 1):
            self.works.remove(before)
            work.source, work.before = before.source, before.before
        self._add(node, work)

    def _linear(self, node: fx.Node, linear: nn.Linear) -> None:
        assert isinstance(node.args[0], fx.Node)
        source, flat = self.maps[node.args[0]], None
        if source.flat:
            flat, wide = (source.c, source.h, source.w), source.h * source.w * source.stride
            source = Map(Buffer(source.n, wide, of=source.buffer), source.n, 1, 1, wide)
        elif len(self.made[node]) == 4:
            source = self._map(node.args[0], last=True)
        if source.buffer is None:
            raise UnsupportedError("native takes the image into a convolution, or as one dimension")
        self._add(node, Work("conv", node.name, source, self._new(node, source),
                             weight=_floats(linear.weight[:, :, None, None]), flat=flat, bias=_floats(linear.bias)))

    def _strided(self, node: fx.Node) -> tuple[int, int] | None:
        """The steps in which `node` takes pixels, x[:, :, ::s, ::s], for a reader that pads channels, F.pad(…, (0, 0,
        0, 0, b, e)).
        """
        reader = next(iter(node.users), None)
        if node.target is not operator.getitem or len(node.users) != 1 or reader is None or reader.target is not F.pad:
            return None
        where, whole = node.args[1], slice(None)
        pads: Any = reader.args[1]
        zeros = reader.kwargs.get("mode", "constant") == "constant" and not reader.kwargs.get("value")
        if (len(reader.args) > 2 or not zeros or not isinstance(where, tuple) or len(where) != 4
                or where[:2] != (whole, whole) or not isinstance(pads, tuple) or len(pads) != 6 or any(pads[:4])
                or min(pads[4:]) < 0):
            return None
        steps = [each.step or 1 for each in where[2:]
                 if isinstance(each, slice) and (each.start, each.stop) == (None, None)]
        return (steps[0], steps[1]) if len(steps) == 2 else None

    def _zero_pad(self, node: fx.Node, steps: tuple[int, int]) -> None:
        """As a convolution with ones and zeros: the shortcut of ResNets without parameters."""
        view: Any = node.args[0]
        pads: Any = node.args[1]
        source, result = self._written(view.args[0]), self._new(node)
        weight = np.zeros((result.c, source.c, 1, 1), np.float32)
        weight[pads[4] : pads[4] + source.c, :, 0, 0] = np.eye(source.c)
        self._add(node, Work("conv", node.name, source, result, stride=steps, weight=weight))

    def _max_pool(self, node: fx.Node, pool: nn.MaxPool2d) -> None:
        if pair(pool.dilation) != (1, 1):
            raise UnsupportedError("native has no dilated pooling")
        self._add(node, Work("maxpool", node.name, self._written(node.args[0]), self._new(node),
                             kernel=pair(pool.kernel_size), stride=pair(pool.stride),
                             padding=_before(pool, self._map(node.args[0]))))

    def _avg_pool(self, node: fx.Node, pool: nn.AvgPool2d) -> None:
        if pool.divisor_override is not None:
            raise UnsupportedError("native has no divisor_override")
        self._add(node, Work("avgpool", node.name, self._written(node.args[0]), self._new(node),
                             kernel=pair(pool.kernel_size), stride=pair(pool.stride), padding=pair(pool.padding),
                             counts_padding=pool.count_include_pad))

    def _adaptive(self, node: fx.Node, pool: nn.AdaptiveAvgPool2d) -> None:
        source = self._written(node.args[0])
        result = self._new(node)
        if (result.h, result.w) == (source.h, source.w):
            self.maps[node] = source
        elif (result.h, result.w) == (1, 1):
            self._mean(node)
        elif source.h % result.h == source.w % result.w == 0:
            window = source.h // result.h, source.w // result.w
            self._add(node, Work("avgpool", node.name, source, result, kernel=window, stride=window))
        else:
            self._add(node, Work("adaptive", node.name, source, result))

    def _mean(self, node: fx.Node) -> None:
        """Over the whole map; of the means of its rows, where a depthwise convolution writes it and can leave those."""
        source = self._written(node.args[0])
        work = next((each for each in reversed(self.works) if each.result.buffer is source.buffer), None)
        if work is not None and work.row_by_row and work.result == source:
            if work.other is None:
                work.other = Map(Buffer(source.n * source.h, padded(source.c)), source.n, source.h, 1, source.c)
            source = work.other
        self._add(node, Work("mean", node.name, source, self._new(node)))

    def _affine(self, node: fx.Node, before: fx.Node, factor: float, activation: str) -> None:
        """A pass over the map by itself, for what no step before can take over."""
        found = self.maps[before]
        if found.flat:
            raise UnsupportedError(f"native has no {activation} of a map that is seen as one dimension")
        source, result = self._of_image(before), self._new(node, found)
        numbers = np.array([[factor], [0.0]], np.float32).repeat(source.c, 1)
        self._add(node, Work("affine", node.name, source, result, activation, before=numbers))

    def _transposed(self, node: fx.Node, conv: nn.ConvTranspose2d) -> None:
        if conv.groups != 1 or _two(conv.dilation) != (1, 1) or isinstance(conv.padding, str):
            raise UnsupportedError("native has no transposed convolution with groups, dilation or padding by name")
        self._add(node, Work("transposed", node.name, self._written(node.args[0]), self._new(node),
                             kernel=_two(conv.kernel_size), stride=_two(conv.stride), padding=_two(conv.padding),
                             weight=_floats(conv.weight), bias=_floats(conv.bias)))

    def _up_sample(self, node: fx.Node, layer: nn.Upsample) -> None:
        self._enlarge(node, layer.mode, layer.align_corners)

    def _interpolate(self, node: fx.Node) -> None:
        given = {**dict(zip(("size", "scale_factor", "mode", "align_corners"), node.args[1:], strict=False)),
                 **node.kwargs}
        if given.get("antialias") or given.get("recompute_scale_factor"):
            raise UnsupportedError("native has no interpolation with antialias or recompute_scale_factor")
        self._enlarge(node, str(given.get("mode", "nearest")), bool(given.get("align_corners")))

    def _enlarge(self, node: fx.Node, mode: str, corners: bool | None) -> None:
        source, result = self._written(node.args[0]), self._new(node)
        whole = result.h % source.h == result.w % source.w == 0
        if mode not in ("nearest", "bilinear") or corners or not whole:
            raise UnsupportedError("native enlarges maps by whole numbers, by mode nearest or bilinear, without "
                                   "align_corners")
        self._add(node, Work(mode, node.name, source, result))

    def _border(self, node: fx.Node) -> None:
        """F.pad of rows and columns; fewer than none are cut off."""
        given = dict(zip(("pad", "mode", "value"), node.args[1:], strict=False)) | node.kwargs
        wanted: Any = given["pad"]
        pads, mode, value = tuple(wanted), given.get("mode", "constant"), given.get("value") or 0.0
        if len(pads) != 4 or mode not in ("constant", "replicate") or not isinstance(value, SIMPLE):
            raise UnsupportedError("native pads rows and columns, with one number or the nearest pixel")
        self._place(node, "pad" if mode == "constant" else "replicate", (pads[2], pads[0]), float(value))

    def _place(self, node: fx.Node, kind: str, padding: tuple[int, int], value: float = 0.0) -> None:
        self._add(node, Work(kind, node.name, self._map(node.args[0]), self._new(node), padding=padding, epsilon=value))

    def _part(self, node: fx.Node) -> None:
        """Some rows and columns of a map, or some of its channels."""
        source, where = node.args
        assert isinstance(source, fx.Node)
        shape = self.made[source]
        if (not isinstance(where, tuple) or len(shape) not in (2, 4)
                or any(not isinstance(each, slice) or each.step not in (None, 1) for each in where)):
            raise UnsupportedError(f"native has no part {where} of a map")
        ranges = [each.indices(size)[:2] for each, size in zip(where, shape, strict=False)]
        ranges += [(0, size) for size in shape[len(ranges) :]]
        if ranges[0] != (0, 1):
            raise UnsupportedError("native takes no part of a batch")
        if ranges[1:2] != [(0, shape[1])]:
            if any(each != (0, size) for each, size in zip(ranges[2:], shape[2:], strict=True)):
                raise UnsupportedError("native takes channels or a crop of a map, not both at once")
            self._channels(node, source, ranges[1][0])
        else:
            self._place(node, "pad", (-ranges[2][0], -ranges[3][0]))

    def _cut(self, node: fx.Node, cut: Any, part: int) -> None:
        """One of the parts into which torch.split or torch.chunk cuts a map's channels."""
        source, sizes, *dim = cut.args
        assert isinstance(source, fx.Node)
        if (*dim, *cut.kwargs.values()) != (1,):
            raise UnsupportedError("native cuts maps along their channels only")
        channels = self.made[source][1]
        if isinstance(sizes, list | tuple):
            start = sum(sizes[:part])
        else:
            each = -(-channels // sizes) if cut.target in (torch.chunk, "chunk") else sizes
            start = part * each
        self._channels(node, source, start)

    def _channels(self, node: fx.Node, source: fx.Node, start: int) -> None:
        """Channels from `start` on, where they lie; a copy where whole vectors of them would reach beyond the memory.
        """
        found, count = self._written(source), self.made[node][1]
        view = replace(found, c=count, channel=found.channel + start)
        if view.channel + padded(count) <= view.stride:
            self.maps[node] = view
        else:
            self._add(node, Work("copy", node.name, view, self._new(node)))

    def _subsample(self, node: fx.Node, layer: Subsample2d) -> None:
        source, (channels, *_) = self._written(node.args[0]), layer.weight.shape
        weight, bias = _floats(layer.weight), _floats(layer.bias)
        assert weight is not None and bias is not None
        kind = "depthwise" if channels > 1 else "conv"
        self._add(node, Work(kind, node.name, source, self._new(node), kernel=(2, 2), stride=(2, 2), groups=channels,
                             weight=weight.reshape(-1, 1, 1, 1).repeat(2, 2).repeat(2, 3), bias=bias.reshape(-1)))

    def _bordered(self, node: fx.Node, padding: int, border: float) -> Map:
        """The map that a layer of LeCun's reads: with its border, where that is something."""
        source = self._map(node.args[0])
        if not padding or not border:
            return source
        high, wide = source.h + 2 * padding, source.w + 2 * padding
        result = Map(Buffer(source.n * high * wide, padded(source.c)), source.n, high, wide, source.c)
        self.works.append(Work("pad", f"{node.name}_border", source, result, padding=(padding, padding),
                               epsilon=border))
        return result

    def _table(self, node: fx.Node, layer: TableConv2d) -> None:
        """As a convolution with zeros where the table has no link; biases of units are added afterwards."""
        source, (kernel, step) = self._bordered(node, layer.padding, layer.border), (layer.kernel, layer.stride)
        around = 0 if layer.border else layer.padding
        weight, place, bias = _floats(layer.weight), layer.place, _floats(layer.bias)
        assert weight is not None and bias is not None
        dense = np.zeros((layer.cout * layer.cin, kernel, kernel), np.float32)
        if not place.is_meta:
            dense[place.numpy()] = weight
        work = Work("conv", node.name, source, self._new(node), kernel=(kernel, kernel), stride=(step, step),
                    padding=(around, around), weight=dense.reshape(layer.cout, layer.cin, kernel, kernel),
                    bias=bias if bias.ndim == 1 else None)
        if bias.ndim == 1:
            self._add(node, work)
            return
        lone = Map(Buffer(work.result.pixels, padded(work.result.c)), work.result.n, work.result.h, work.result.w,
                   work.result.c)
        self.works.append(replace(work, name=f"{node.name}_sums", result=lone))
        self._add(node, Work("offsets", node.name, lone, work.result, weight=bias))

    def _local(self, node: fx.Node, layer: LocalConv2d) -> None:
        """As a convolution over the whole map, every unit a channel of its own: there are few units, and weights."""
        source = self._bordered(node, layer.padding, layer.border)
        around = 0 if layer.border else layer.padding
        weight, bias, kernel = _floats(layer.weight), _floats(layer.bias), layer.kernel
        assert weight is not None and bias is not None
        (high, wide), outputs = layer.units, layer.cout
        dense = np.zeros((high, wide, padded(outputs), layer.cin, source.h + 2 * around, source.w + 2 * around),
                         np.float32)
        windows = weight.reshape(outputs, high, wide, layer.cin, kernel, kernel)
        for y in range(high):
            for x in range(wide):
                top, left = y * layer.stride, x * layer.stride
                dense[y, x, :outputs, :, top : top + kernel, left : left + kernel] = windows[:, y, x]
        wanted, units = self._new(node), high * wide * padded(outputs)
        offsets = np.zeros((high, wide, padded(outputs)), np.float32)
        offsets[..., :outputs] = bias.transpose(1, 2, 0)
        row = Buffer(wanted.n, units)
        self.works.append(Work(
            "conv", node.name, source, Map(row, wanted.n, 1, 1, units), kernel=dense.shape[4:],
            padding=(around, around), weight=dense.reshape(units, *dense.shape[3:]), bias=offsets.reshape(-1)))
        self.maps[node] = replace(wanted, buffer=Buffer(wanted.pixels, padded(outputs), of=row), channel=0)

    def _twice(self, node: fx.Node, layer: Twice) -> None:
        source = self._map(node.args[0])
        weight = np.eye(source.c, dtype=np.float32).repeat(2, 0)[:, :, None, None]
        self._add(node, Work("conv", node.name, source, self._new(node), weight=weight))

    def _rbf(self, node: fx.Node, layer: RBF) -> None:
        self._add(node, Work("rbf", node.name, self._written(node.args[0]), self._new(node),
                             weight=_floats(layer.centres)))

    def _norm(self, node: fx.Node, norm: nn.BatchNorm2d) -> None:
        source = self._written(node.args[0])
        if norm.running_mean is None or norm.running_var is None:
            raise UnsupportedError("native needs BatchNorm's statistics")
        before = _floats(torch.stack(scale_shift(norm)))
        self._add(node, Work("affine", node.name, source, self._new(node), before=before))

    def _response(self, node: fx.Node, norm: LocalResponseNorm) -> None:
        source = self._written(node.args[0])
        if norm.beta != 0.75 or (norm.groups > 1 and source.c // norm.groups % CHANNELS):
            raise UnsupportedError("native normalises local responses with β = 0.75 and groups of 16 channels only")
        self._add(node, Work("response", node.name, source, self._new(node), kernel=(norm.size, 1), groups=norm.groups,
                             before=np.array([norm.k, norm.alpha], np.float32)))

    def _layer_norm(self, node: fx.Node, norm: nn.LayerNorm) -> None:
        assert isinstance(node.args[0], fx.Node)
        source = self._map(node.args[0], last=not isinstance(norm, LayerNorm2d))
        if source.buffer is None or tuple(norm.normalized_shape) != (source.c,):
            raise UnsupportedError("native normalises over the channels only")
        weight, bias = _floats(norm.weight), _floats(norm.bias)
        if weight is not None and bias is None:
            bias = np.zeros_like(weight)
        self._add(node, Work("layernorm", node.name, source, self._new(node, source), weight=weight, bias=bias,
                             epsilon=norm.eps))

    def _activate(self, node: fx.Node, activation: str) -> None:
        """Into the step before, which nothing else may read."""
        before = node.args[0]
        assert isinstance(before, fx.Node)
        work = self.by.get(before)
        if work is None or len(before.users) != 1 or work.activation != "none" or work.kind in MOVES:
            self._affine(node, before, 1.0, activation)
            return
        del self.by[before]
        work.activation = activation
        self._take_over(node, work)

    def _take_over(self, node: fx.Node, work: Work) -> None:
        """Let the step be `node`'s, and write to its home."""
        if node in self.homes:
            buffer, channel = self.homes[node]
            work.result = replace(work.result, buffer=buffer, channel=channel)
        self.by[node], self.maps[node] = work, work.result

    def _sum(self, node: fx.Node) -> None:
        left, right = node.args
        if (not isinstance(left, fx.Node) or not isinstance(right, fx.Node) or left not in self.maps
                or right not in self.maps):
            raise UnsupportedError(f"native has no arithmetic with {left} and {right}")
        if self.made[left] != self.made[right] or self.maps[left].last is not self.maps[right].last:
            raise UnsupportedError("native adds maps of one shape only")
        for conv, other in ((left, right), (right, left)):
            work = self.by.get(conv)
            if (work and (work.kind, work.activation, work.other) == ("conv", "none", None) and conv is not other
                    and len(conv.users) == 1 and self.maps[other].buffer is not None):
                self.works.remove(work)     # to where both are there
                self.works.append(work)
                work.other = self.maps[other]
                del self.by[conv]
                self._take_over(node, work)
                self.maps[node] = replace(work.result, last=self.maps[conv].last)
                return
        source, second = self._written_as_is(left), self._written_as_is(right)
        self._add(node, Work("add", node.name, source, self._new(node, source), other=second))

    def _written_as_is(self, node: fx.Node) -> Map:
        if self.maps[node].flat:
            raise UnsupportedError("native does not add up maps that are seen as one dimension")
        return self._of_image(node)

    def _product(self, node: fx.Node) -> None:
        numbers = [arg for arg in node.args if isinstance(arg, float | int)]
        if len(numbers) == 1:
            self._scale(node, next(arg for arg in node.args if isinstance(arg, fx.Node)), numbers[0])
            return
        left, right = (self._written(arg) for arg in node.args)
        if left.pixels < right.pixels:
            left, right = right, left
        if (right.n, right.h, right.w, right.c) != (left.n, 1, 1, left.c):
            raise UnsupportedError("native multiplies a map by one value for each image and channel only")
        self._add(node, Work("multiply", node.name, left, self._new(node), other=right))

    def _scale(self, node: fx.Node, before: fx.Node, number: float) -> None:
        """Into the convolution before it, where there is one."""
        work = self.by.get(before)
        if (work is None or work.weight is None or (work.kind, work.activation, work.other) != ("conv", "none", None)
                or len(before.users) != 1):
            self._affine(node, before, float(number), "none")
            return
        del self.by[before]
        work.weight, work.bias = work.weight * number, None if work.bias is None else work.bias * number
        self._take_over(node, work)

    def _permute(self, node: fx.Node) -> None:
        source, *order = node.args
        assert isinstance(source, fx.Node)
        dims = order[0] if len(order) == 1 else tuple(order)
        found, last = self.maps[source], self.maps[source].last
        if found.flat or dims != ((0, 3, 1, 2) if last else (0, 2, 3, 1)):
            raise UnsupportedError(f"native has no permute of {dims}")
        self.maps[node] = replace(found, last=not last)
        if source in self.by and len(source.users) == 1:
            self.by[node] = self.by[source]

    def _flatten(self, node: fx.Node) -> None:
        found = self._written(node.args[0])
        if (found.h, found.w) == (1, 1):
            self.maps[node] = found
            return
        if found.channel or found.stride != padded(found.c):
            lone = replace(found, buffer=Buffer(found.pixels, padded(found.c)), channel=0)
            self.works.append(Work("copy", node.name, found, lone))
            found = lone
        self.maps[node] = replace(found, flat=True)

    def _join(self, node: fx.Node) -> None:
        parts = self._joined(node)
        n, c, h, w = (*self.made[node], 1, 1)[:4]
        buffer, start = self.homes[node]
        self.maps[node] = Map(buffer, n, h, w, c, start)
        for part in parts:
            source = self._written(part)
            if (source.buffer, source.channel) != (buffer, start):
                self.works.append(Work("copy", node.name, source, Map(buffer, n, h, w, source.c, start)))
            start += source.c


def _before(layer: nn.Conv2d | nn.MaxPool2d, source: Map) -> tuple[int, int]:
    """Padding at the top and the left; as the result says how large it is, that at the other sides is not needed."""
    if isinstance(layer, SameConv2d | SameMaxPool2d):
        high, wide = ((kernel - 1) * apart - (size - 1) % step for kernel, apart, step, size in zip(
            _pair(layer.kernel_size), _pair(layer.dilation), _pair(layer.stride), (source.h, source.w), strict=True))
        return high // 2, wide // 2
    assert not isinstance(layer.padding, str)
    return _pair(layer.padding)


def _pair(values: int | tuple[int, ...]) -> tuple[int, int]:
    return (values, values) if isinstance(values, int) else _two(values)


ACTIVATE = frozenset({"relu", "sigmoid", "tanh"})        # as methods
LAYERS: dict[Any, Callable[[_Planner, fx.Node], None]] = {F.interpolate: _Planner._interpolate}


def _two(values: tuple[int, ...]) -> tuple[int, int]:
    high, wide = values
    return high, wide
