"""A traced network as a list of steps for the native kernels."""

import operator
from collections.abc import Callable
from dataclasses import replace
from math import gcd
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ...net.model import pair
from ...parts import LayerNorm2d, LocalResponseNorm, scale_shift
from ..graph.trace import LEAVES, traced
from .work import CHANNELS, TALLEST, Buffer, Floats, Map, UnsupportedError, Work, padded

MODULES: dict[type, str] = {
    nn.ReLU: "relu", nn.ReLU6: "relu6", nn.SiLU: "silu", nn.Hardswish: "hardswish", nn.Sigmoid: "sigmoid",
    nn.Hardsigmoid: "hardsigmoid", nn.GELU: "gelu", nn.Tanh: "tanh",
}
FUNCTIONS: dict[Any, str] = {F.relu: "relu", torch.relu: "relu", F.silu: "silu", torch.sigmoid: "sigmoid",
                             torch.tanh: "tanh"}


def plan(model: nn.Module, size: tuple[int, ...]) -> list[Work]:
    """The steps of `model`, in eval mode, for one image of `size` (C, H, W).

    Refuses, with its name, what is not known.
    """
    try:
        graph, made = traced(model, torch.zeros(1, *size), (*LEAVES, LocalResponseNorm))
    except Exception as error:
        # tracing runs the network's own code on stand-ins, and any exception can come of that
        raise UnsupportedError(f"native cannot trace it: {' '.join(str(error).split())[:200]}") from error
    return _Planner(graph, made).steps()


def _floats(tensor: Tensor | None) -> Floats | None:
    """As NumPy has it; the same memory, where it can be."""
    return None if tensor is None else tensor.detach().float().contiguous().numpy()


class _Planner:
    def __init__(self, graph: fx.GraphModule, made: dict[fx.Node, tuple[int, ...]]) -> None:
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
        (scores,) = node.args
        if (not isinstance(scores, fx.Node) or len(self.made.get(scores, ())) != 2 or not self.works
                or scores not in self.by):
            raise UnsupportedError("native gives scores (N, classes) only, and this network gives something else")
        self.works.remove(last := self.by[scores])
        return [*self.works, last]

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
            n, c, h, w = self.made[node]
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
        if (*node.args[1:], *node.kwargs.values()) != (1,) or len(self.made[node]) != 4:
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
        elif self._strided(node):
            return                          # what pads it takes both
        elif node.target is F.pad and isinstance(node.args[0], fx.Node) and (steps := self._strided(node.args[0])):
            self._zero_pad(node, steps)
        elif node.op == "call_method" and node.target == "permute":
            self._permute(node)
        elif node.op == "call_method" and node.target == "flatten" and node.args[1:] == (1,):
            self._flatten(node)
        elif (node.op == "call_method" and node.target == "mean" and node.args[1:] == ((2, 3),)
                and not node.kwargs.get("keepdim")):
            self._add(node, Work("mean", node.name, self._written(node.args[0]), self._new(node)))
        else:
            raise UnsupportedError(f"native has no {getattr(node.target, '__name__', node.target)}")

    def _module(self, node: fx.Node, layer: nn.Module) -> None:
        known: dict[type, Callable[[fx.Node, Any], None]] = {
            nn.Conv2d: self._conv, nn.Linear: self._linear, nn.MaxPool2d: self._max_pool, nn.AvgPool2d: self._avg_pool,
            nn.AdaptiveAvgPool2d: self._adaptive, nn.BatchNorm2d: self._norm, LocalResponseNorm: self._response}
        if type(layer) in MODULES and not (isinstance(layer, nn.GELU) and layer.approximate != "none"):
            self._activate(node, MODULES[type(layer)])
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
        if (found := self._map(node)).buffer is None:
            raise UnsupportedError("native takes the image into a convolution only")
        return found

    def _conv(self, node: fx.Node, conv: nn.Conv2d) -> None:
        source = self._map(node.args[0])
        if isinstance(conv.padding, str) or conv.padding_mode != "zeros" or _two(conv.dilation) != (1, 1):
            raise UnsupportedError("native has no dilation, and no padding by name or by anything but zeros")
        work = Work("conv", node.name, source, self._new(node), kernel=_two(conv.kernel_size), stride=_two(conv.stride),
                    padding=_two(conv.padding), groups=conv.groups, weight=_floats(conv.weight),
                    bias=_floats(conv.bias))
        if conv.groups > 1 and source.buffer is None:
            raise UnsupportedError("native has no groups in the first convolution")
        if conv.groups == conv.in_channels == conv.out_channels > 1 and work.kernel[0] <= TALLEST:
            work.kind = "depthwise"
        elif conv.groups > 1:
            _join_groups(work)
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
            raise UnsupportedError("native takes the image into a convolution only")
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
                             kernel=pair(pool.kernel_size), stride=pair(pool.stride), padding=pair(pool.padding)))

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
            self._add(node, Work("mean", node.name, source, result))
        elif source.h % result.h == source.w % result.w == 0:
            window = source.h // result.h, source.w // result.w
            self._add(node, Work("avgpool", node.name, source, result, kernel=window, stride=window))
        else:
            raise UnsupportedError(f"native does not pool {source.h} × {source.w} to {result.h} × {result.w}")

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
        work = self.by.pop(before, None)
        if work is None or len(before.users) != 1 or work.activation != "none" or work.kind == "copy":
            raise UnsupportedError(f"native has no {activation} that stands alone")
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
        if (found := self.maps[node]).buffer is None or found.flat:
            raise UnsupportedError("native takes the image into a convolution only")
        return found

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
        """Into the convolution before it."""
        work = self.by.pop(before, None)
        if (work is None or work.weight is None or (work.kind, work.activation, work.other) != ("conv", "none", None)
                or len(before.users) != 1):
            raise UnsupportedError(f"native has no arithmetic with {number}, but for what a convolution gives")
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
        elif found.channel or found.stride != padded(found.c):
            raise UnsupportedError("native does not flatten a part of a map")
        else:
            self.maps[node] = replace(found, flat=True)

    def _join(self, node: fx.Node) -> None:
        parts = self._joined(node)
        n, c, h, w = self.made[node]
        buffer, start = self.homes[node]
        self.maps[node] = Map(buffer, n, h, w, c, start)
        for part in parts:
            source = self._written(part)
            if (source.buffer, source.channel) != (buffer, start):
                self.works.append(Work("copy", node.name, source, Map(buffer, n, h, w, source.c, start)))
            start += source.c


def _two(values: tuple[int, ...]) -> tuple[int, int]:
    high, wide = values
    return high, wide


def _join_groups(work: Work) -> None:
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
