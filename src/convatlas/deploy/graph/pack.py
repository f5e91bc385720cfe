"""Weights in the order in which oneDNN's kernels read them, activations and additions in the same kernel: no compiler
needed.
"""

import logging
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ...parts import scale_shift
from .trace import traced

MKLDNN = torch.ops.mkldnn
Fused = tuple[str, list[float], str]        # oneDNN's name of an activation, its numbers, its algorithm
NONE: Fused = ("none", [], "")

MODULES: dict[type, Fused] = {
    nn.ReLU: ("relu", [], ""), nn.ReLU6: ("hardtanh", [0.0, 6.0], ""), nn.SiLU: ("swish", [], ""),
    nn.Hardswish: ("hardswish", [], ""), nn.Sigmoid: ("sigmoid", [], ""), nn.Tanh: ("tanh", [], ""),
    nn.GELU: ("gelu", [], "none"),
}
FUNCTIONS: dict[Any, Fused] = {
    F.relu: ("relu", [], ""), torch.relu: ("relu", [], ""), F.silu: ("swish", [], ""),
    torch.sigmoid: ("sigmoid", [], ""),
}


def can_pack() -> bool:
    """True if this torch has oneDNN and its fused operators."""
    return torch.backends.mkldnn.is_available() and getattr(MKLDNN, "_convolution_pointwise", None) is not None      # type: ignore[no-untyped-call]


def pack(model: nn.Module, example: Tensor) -> nn.Module:
    """`model`, in eval mode on the CPU, with its convolutions and linear layers prepacked for images like `example`.

    Other batches and sizes give the right result too, only not as fast. A network that torch.fx cannot trace comes back
    as it is.
    """
    try:
        graph, made = traced(model, example)
    except Exception as error:
        # tracing runs the network's own code on stand-ins, and any exception can come of that
        logging.getLogger("convatlas").info("not prepacked, for it cannot be traced: %s", error)
        return model
    for node in list(graph.graph.nodes):
        _pack_node(graph, node, made)
    for node in list(graph.graph.nodes):
        _fuse_addition(graph, node, made)
    _fill_in_place(graph, made)
    graph.graph.eliminate_dead_code()
    graph.graph.lint()
    graph.recompile()
    graph.delete_all_unused_submodules()
    return graph


class PackedConv(nn.Module):
    """A convolution, then its activation; input and output (N, C, H, W)."""

    def __init__(self, conv: nn.Conv2d, size: tuple[int, ...]) -> None:
        super().__init__()
        assert not isinstance(conv.padding, str)
        self.geometry = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        self.kernel, self.inputs = conv.kernel_size, conv.in_channels
        self.weight = MKLDNN._reorder_convolution_weight(conv.weight.detach().contiguous(), *self.geometry, list(size))
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.fused = NONE

    def forward(self, x: Tensor) -> Tensor:
        """One call of oneDNN."""
        out: Tensor = MKLDNN._convolution_pointwise.default(x, self.weight, self.bias, *self.geometry, *self.fused)
        return out


class PackedConvAdd(nn.Module):
    """conv(x) + other, then ReLU where the sum is followed by one."""

    def __init__(self, conv: PackedConv, relu: bool) -> None:
        super().__init__()
        self.conv, self.then = conv, "relu" if relu else None

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """One call of oneDNN."""
        conv = self.conv
        then: tuple[str | None, list[float], str | None] = (self.then, [], None)
        out: Tensor = MKLDNN._convolution_pointwise.binary(x, other, conv.weight, conv.bias, *conv.geometry,
                                                           "add", 1.0, *then)
        return out


class PackedLinear(nn.Module):
    """A linear layer over the last dimension, then its activation."""

    def __init__(self, linear: nn.Linear, size: tuple[int, ...]) -> None:
        super().__init__()
        self.inputs = linear.in_features
        self.weight = MKLDNN._reorder_linear_weight(linear.weight.detach().contiguous(),
                                                    max(1, torch.Size(size[:-1]).numel()))
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.fused = NONE

    def forward(self, x: Tensor) -> Tensor:
        """One call of oneDNN."""
        out: Tensor = MKLDNN._linear_pointwise.default(x, self.weight, self.bias, *self.fused)
        return out


class Affine(nn.Module):
    """A BatchNorm in eval mode, then its ReLU; takes the first channels of a wider map as they lie, (N, C, H, W) to a
    map of its own.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.BatchNorm2d, relu: bool) -> None:
        super().__init__()
        scale, shift = (value.to(norm.running_mean)[:, None, None] for value in scale_shift(norm))
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """One pass over the map."""
        out = torch.addcmul(self.shift, x, self.scale)
        return out.relu_() if self.relu else out


def _room(x: Tensor, channels: int) -> Tensor:
    """An empty map of so many channels whose first ones are x (N, C, H, W), channels last."""
    room = torch.empty((x.shape[0], channels, *x.shape[2:]), dtype=x.dtype, device=x.device,
                       memory_format=torch.channels_last)
    room[:, : x.shape[1]].copy_(x)
    return room


def _put(room: Tensor, start: int, *maps: Tensor) -> Tensor:
    """`room` with the maps behind its first `start` channels, and of it what is filled by now."""
    for x in maps:
        room[:, start : start + x.shape[1]].copy_(x)
        start += x.shape[1]
    return room[:, :start]


def _fill_in_place(graph: fx.GraphModule, made: dict[fx.Node, tuple[int, ...]]) -> None:
    """Let concatenations that each add to the one before, as in a dense block, fill one map instead of copying all
    before again.

    Only where a BatchNorm alone reads each, which takes channels as they lie there.
    """
    # of a concatenation and what it joins, each longer than the one before
    chains: list[list[tuple[fx.Node, list[fx.Node]]]] = []
    for node in graph.graph.nodes:
        if (maps := _joined(node)) and _norm(graph, node) is not None:
            if chains and chains[-1][-1][1] == maps[: len(chains[-1][-1][1])]:
                chains[-1].append((node, maps))
            else:
                chains.append([(node, maps)])
    for chain in (chain for chain in chains if len(chain) > 1):
        channels = [made[each][1] for each in chain[-1][1]]
        first, maps = chain[0]
        with graph.graph.inserting_before(first):
            room, filled = graph.graph.call_function(_room, (maps[0], sum(channels))), 1
        for join, maps in chain:
            with graph.graph.inserting_before(join):
                part = graph.graph.call_function(_put, (room, sum(channels[:filled]), *maps[filled:]))
            filled = len(maps)
            _normalize(graph, join)
            join.replace_all_uses_with(part)
            graph.graph.erase_node(join)


def _normalize(graph: fx.GraphModule, join: fx.Node) -> None:
    """Let the BatchNorm that reads `join`, and the ReLU that reads that, be one `Affine`."""
    reader, norm = only_reader(join), _norm(graph, join)
    assert reader is not None and norm is not None
    then = only_reader(reader)
    relu = then is not None and activation(graph, then) == FUNCTIONS[F.relu]
    _place(graph, reader, Affine(norm, relu))
    if relu and then is not None:
        then.replace_all_uses_with(reader)
        graph.graph.erase_node(then)


def _joined(node: fx.Node) -> list[fx.Node]:
    """The maps that `node` puts behind one another along the channels; none where it is something else."""
    if node.op != "call_function" or node.target is not torch.cat or (*node.args[1:], *node.kwargs.values()) != (1,):
        return []
    maps = node.args[0]
    assert isinstance(maps, list | tuple)
    return [each for each in maps if isinstance(each, fx.Node)]


def _norm(graph: fx.GraphModule, node: fx.Node) -> nn.BatchNorm2d | None:
    """The BatchNorm that alone reads `node`."""
    reader = only_reader(node)
    module = graph.get_submodule(str(reader.target)) if reader is not None and reader.op == "call_module" else None
    return module if type(module) is nn.BatchNorm2d and module.track_running_stats else None


def _pack_node(graph: fx.GraphModule, node: fx.Node, made: dict[fx.Node, tuple[int, ...]]) -> None:
    """Put the packed layer in the place of a plain one, and the activation that alone reads it into it."""
    layer = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    packed: PackedConv | PackedLinear
    if type(layer) is nn.Conv2d and not isinstance(layer.padding, str) and layer.padding_mode == "zeros":
        packed = PackedConv(layer, made[node.args[0]])      # type: ignore[index]
    elif type(layer) is nn.Linear:
        packed = PackedLinear(layer, made[node.args[0]])    # type: ignore[index]
    else:
        return
    _place(graph, node, packed)
    reader = only_reader(node)
    fused = None if reader is None else activation(graph, reader)
    if reader is not None and fused is not None:
        packed.fused = fused
        reader.replace_all_uses_with(node)
        graph.graph.erase_node(reader)


def _fuse_addition(graph: fx.GraphModule, node: fx.Node, made: dict[fx.Node, tuple[int, ...]]) -> None:
    """Make x + conv(y) one kernel, where nothing else reads the convolution and both are of one shape."""
    if node.op != "call_function" or node.target not in (operator.add, operator.iadd, torch.add) or len(node.args) != 2:
        return
    order = {other: i for i, other in enumerate(graph.graph.nodes)}
    nodes = [arg for arg in node.args if isinstance(arg, fx.Node)]
    convs = [arg for arg in nodes if arg.op == "call_module" and only_reader(arg) is node
             and isinstance(module := graph.get_submodule(str(arg.target)), PackedConv) and module.fused == NONE]
    if len(nodes) != 2 or nodes[0] is nodes[1] or not convs or len({made.get(arg) for arg in nodes}) != 1:
        return
    conv = max(convs, key=order.__getitem__)
    other = next(arg for arg in nodes if arg is not conv)
    reader = only_reader(node)
    relu = reader is not None and activation(graph, reader) == FUNCTIONS[F.relu]
    last = reader if relu and reader is not None else node
    packed = graph.get_submodule(str(conv.target))
    assert isinstance(packed, PackedConv)
    with graph.graph.inserting_before(node):
        joined = graph.graph.call_module(str(conv.target), (conv.args[0], other))
    _place(graph, joined, PackedConvAdd(packed, relu))
    made[joined] = made[node]
    last.replace_all_uses_with(joined)
    for gone in dict.fromkeys((last, node, conv)):
        graph.graph.erase_node(gone)


def _place(graph: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    """Let `node` call `module`, under a name of its own: a layer that runs twice is packed for each size."""
    name = f"packed_{sum(1 for _ in graph.children())}_{node.name}"
    graph.add_module(name, module)
    node.target = name


def only_reader(node: fx.Node) -> fx.Node | None:
    """The node that reads `node`, if it is the only one."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def activation(graph: fx.GraphModule, node: fx.Node) -> Fused | None:
    """The activation that `node` computes, if it is one."""
    if node.op == "call_function":
        return FUNCTIONS.get(node.target)
    if node.op != "call_module":
        return None
    module = graph.get_submodule(str(node.target))
    fused = MODULES.get(type(module))
    if isinstance(module, nn.GELU) and fused is not None:
        return fused[0], fused[1], module.approximate
    return fused
