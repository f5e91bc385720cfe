"""Traced graphs: a network's layers in the order in which they run, with the shape of what each makes."""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.func import functional_call

from ...net.model import meta_state
from ...parts import ShapesOnly

LEAVES = (nn.Conv2d, nn.Linear, nn.LayerNorm)
Made = dict[fx.Node, tuple[int, ...]]


def traced(model: nn.Module, example: Tensor, leaves: tuple[type[nn.Module], ...] = LEAVES
           ) -> tuple[fx.GraphModule, Made]:
    """The graph of `model`'s layers, without those that do nothing, and the shape of what each node makes of `example`.

    `leaves` are not looked into, nor are torch's own.
    """
    graph = fx.GraphModule(model, _Tracer(leaves).trace(model))
    _without_identities(graph)
    return graph, _ran(graph, lambda shapes: shapes.run(example)).made


def traced_for(model: nn.Module, size: tuple[int, ...], leaves: tuple[type[nn.Module], ...] = LEAVES
               ) -> tuple[fx.GraphModule, Made]:
    """The same for one image of `size` (C, H, W) alone, without computing: sizes are numbers, and crops and borders
    that change nothing at this size are gone.
    """
    graph = fx.GraphModule(model, _Tracer(leaves).trace(model))
    _without_identities(graph)
    with ShapesOnly():
        found = _ran(graph, lambda shapes: functional_call(
            _Outer(graph, shapes), meta_state(graph, "net."), (torch.empty(1, *size, device="meta"),)))
    for node in list(reversed(graph.graph.nodes)):
        if node in found.numbers or (node.op == "call_function" and not node.users):
            for user in list(node.users):
                user.args, user.kwargs = (fx.node.map_arg(each, lambda n: found.numbers.get(n, n))
                                          for each in (user.args, user.kwargs))
            graph.graph.erase_node(node)
    for node in list(graph.graph.nodes):
        if _changes_nothing(node, found.made):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    return graph, found.made


def _changes_nothing(node: fx.Node, made: Made) -> bool:
    """True for a border of no pixels, and for a part that is the whole."""
    if node.target is F.pad:
        pads = node.args[1] if len(node.args) > 1 else node.kwargs["pad"]
        return isinstance(pads, list | tuple) and not any(pads)
    if node.target is not operator.getitem or node.args[0] not in made:
        return False
    where: Any = node.args[1]
    return (isinstance(where, tuple) and all(isinstance(each, slice) for each in where)
            and made.get(node) == made[node.args[0]])       # type: ignore[index]


def _ran(graph: fx.GraphModule, run: Callable[["_Shapes"], object]) -> "_Shapes":
    shapes = _Shapes(graph)
    with torch.inference_mode():
        run(shapes)
    return shapes


def _without_identities(graph: fx.GraphModule) -> None:
    """Take out what does nothing: it would keep a convolution and its activation apart."""
    for node in list(graph.graph.nodes):
        if node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), nn.Identity | nn.Dropout):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)


class _Tracer(fx.Tracer):
    """torch's own layers are leaves, and `leaves`; everything else is looked into."""

    def __init__(self, leaves: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self.leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self.leaves) or super().is_leaf_module(m, module_qualified_name)


class _Shapes(fx.Interpreter):
    """Runs the graph once and remembers the shape of what every node made, and what was made of numbers alone."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.made: Made = {}
        self.numbers: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        out = super().run_node(n)
        if isinstance(out, Tensor):
            self.made[n] = tuple(out.shape)
        elif isinstance(out, int | float | torch.Size):
            self.numbers[n] = tuple(out) if isinstance(out, torch.Size) else out
        return out


class _Outer(nn.Module):
    """Runs a graph's interpreter, for `functional_call`, which puts other tensors into the graph meanwhile."""

    def __init__(self, net: fx.GraphModule, shapes: _Shapes) -> None:
        super().__init__()
        self.net, self.shapes = net, shapes

    def forward(self, x: Tensor) -> Any:
        return self.shapes.run(x)
