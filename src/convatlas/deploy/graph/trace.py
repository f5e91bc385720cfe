"""Traced graphs: a network's layers in the order in which they run, with the shape of what each makes."""

from typing import Any

import torch
from torch import Tensor, fx, nn

LEAVES = (nn.Conv2d, nn.Linear, nn.LayerNorm)


def traced(model: nn.Module, example: Tensor, leaves: tuple[type[nn.Module], ...] = LEAVES
           ) -> tuple[fx.GraphModule, dict[fx.Node, tuple[int, ...]]]:
    """The graph of `model`'s layers, without those that do nothing, and the shape of what each node makes of `example`.

    `leaves` are not looked into, nor are torch's own.
    """
    graph = fx.GraphModule(model, _Tracer(leaves).trace(model))
    _without_identities(graph)
    shapes = _Shapes(graph)
    with torch.inference_mode():
        shapes.run(example)
    return graph, shapes.made


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
    """Runs the graph once and remembers the shape of what every node made."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.made: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        out = super().run_node(n)
        if isinstance(out, Tensor):
            self.made[n] = tuple(out.shape)
        return out
