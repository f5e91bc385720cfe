"""Convolution, bias, addition and ReLU as one call of cuDNN, where torch.compile makes separate passes."""

import logging
import operator

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from .pack import FUNCTIONS, activation, only_reader
from .trace import traced


@torch.library.custom_op("convatlas::conv_relu", mutates_args=())
def conv_relu(x: Tensor, weight: Tensor, bias: Tensor, other: Tensor | None, stride: list[int],
              padding: list[int]) -> Tensor:
    """relu(conv(x) + bias + other), channels last; x (N, C, H, W), weight (K, C, h, w), bias (K), other of the result's
    shape.
    """
    if not x.is_cuda:
        out = F.conv2d(x, weight, bias, stride, padding)
        return torch.relu(out if other is None else out + other).contiguous(memory_format=torch.channels_last)
    if other is None:
        return torch.cudnn_convolution_relu(x, weight, bias, stride, padding, [1, 1], 1)
    return torch.cudnn_convolution_add_relu(x, weight, other, 1.0, bias, stride, padding, [1, 1], 1)


@conv_relu.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, other: Tensor | None, stride: list[int], padding: list[int]) -> Tensor:
    high, wide = ((x.shape[i + 2] + 2 * padding[i] - weight.shape[i + 2]) // stride[i] + 1 for i in (0, 1))
    return torch.empty((x.shape[0], weight.shape[0], high, wide), dtype=x.dtype, device=x.device,
                       memory_format=torch.channels_last)


class ConvReLU(nn.Module):
    """relu(conv(x)), or relu(conv(x) + other)."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        assert not isinstance(conv.padding, str)
        self.weight, self.stride, self.padding = conv.weight, list(conv.stride), list(conv.padding)
        self.bias = (nn.Parameter(conv.weight.new_zeros(conv.out_channels), requires_grad=False)
                     if conv.bias is None else conv.bias)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """One call of cuDNN on a GPU."""
        out: Tensor = torch.ops.convatlas.conv_relu(x, self.weight, self.bias, other, self.stride, self.padding)
        return out


def can_fuse(device: torch.device, dtype: torch.dtype) -> bool:
    """True if cuDNN has this in one kernel: in half precision, on GPUs with tensor cores for bfloat16."""
    return (device.type == "cuda" and torch.version.cuda is not None and torch.backends.cudnn.is_available()     # type: ignore[no-untyped-call]
            and dtype in (torch.bfloat16, torch.float16) and torch.cuda.get_device_capability(device) >= (8, 0))


def fuse(model: nn.Module, example: Tensor) -> nn.Module:
    """`model`, in eval mode, with each convolution and the ReLU that alone reads it, or reads its sum with another map,
    as one layer.

    A network that torch.fx cannot trace comes back as it is.
    """
    try:
        graph, made = traced(model, example)
    except Exception as error:
        # tracing runs the network's own code on stand-ins, and any exception can come of that
        logging.getLogger("convatlas").info("not fused, for it cannot be traced: %s", error)
        return model
    nodes: list[fx.Node] = list(graph.graph.nodes)
    order = {node: i for i, node in enumerate(nodes)}
    for node in nodes:
        if activation(graph, node) == FUNCTIONS[F.relu] and (found := _before(graph, node, made, order)):
            conv, *rest = found
            layer = _plain(graph, conv)
            assert layer is not None
            name = f"fused_{conv.name}"
            graph.add_module(name, ConvReLU(layer))
            with graph.graph.inserting_before(node):
                joined = graph.graph.call_module(name, (conv.args[0], *rest))
            made[joined], order[joined] = made[node], order[node]
            between = [node.args[0]] if rest else []
            node.replace_all_uses_with(joined)
            for gone in (node, *between, conv):
                assert isinstance(gone, fx.Node)
                graph.graph.erase_node(gone)
    graph.graph.lint()
    graph.recompile()
    graph.delete_all_unused_submodules()
    return graph


def _before(graph: fx.GraphModule, node: fx.Node, made: dict[fx.Node, tuple[int, ...]],
            order: dict[fx.Node, int]) -> list[fx.Node]:
    """The convolution that the ReLU `node` alone reads, and the other map where it reads their sum; else nothing."""
    before = node.args[0]
    if not isinstance(before, fx.Node) or only_reader(before) is not node:
        return []
    if _plain(graph, before) is not None:
        return [before]
    if before.op != "call_function" or before.target not in (operator.add, operator.iadd, torch.add):
        return []
    terms = [each for each in before.args if isinstance(each, fx.Node)]
    convs = [each for each in terms if _plain(graph, each) is not None and only_reader(each) is before]
    if len(before.args) != 2 or len(set(terms)) != 2 or not convs or len({made.get(each) for each in terms}) != 1:
        return []
    conv = max(convs, key=order.__getitem__)        # the other map is there by then
    return [conv, next(each for each in terms if each is not conv)]


def _plain(graph: fx.GraphModule, node: object) -> nn.Conv2d | None:
    """The convolution that `node` is, without groups and dilation."""
    layer = graph.get_submodule(str(node.target)) if isinstance(node, fx.Node) and node.op == "call_module" else None
    known = type(layer) is nn.Conv2d and not isinstance(layer.padding, str) and layer.padding_mode == "zeros"
    return layer if known and isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.dilation == (1, 1) else None
