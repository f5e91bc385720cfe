"""Sensitivity of layers to int8: one at a time is rounded as the engines round it, and the scores are compared."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...net.layers import macs
from ...net.model import Convnet
from ..graph.rewrite import rewrite
from .figures import Sensitivity

BUDGET = 2e12           # multiply-adds that the ranking of a network may take: some 20 seconds on two cores
LEAST, MOST = 8, 64     # images


def layers(model: nn.Module) -> dict[str, Tensor]:
    """The weights of the convolutions and linear layers of `model`, by name."""
    return {name: module.weight.detach() for name, module in model.named_modules()
            if isinstance(module, nn.Conv2d | nn.Linear)}


def places(weights: Mapping[str, Tensor], nodes: Sequence[tuple[str, NDArray[np.float32]]]) -> dict[str, str]:
    """Layer → node of an engine's graph; `nodes` are (name, weights) in the graph's order.

    Each layer has one node at most. A node belongs to the layer with the same numbers, in whatever shape or transposed;
    what an engine has scaled goes by its order.
    """
    left, found = dict(nodes), {}
    for equal in (_equal, _alike):
        for layer, weight in weights.items():
            if layer not in found and (node := next((n for n, values in left.items() if equal(weight.numpy(), values)),
                                                    None)) is not None:
                found[layer] = node
                del left[node]
    return found


def _equal(weight: NDArray[np.float32], values: NDArray[np.float32]) -> bool:
    if weight.size != values.size:
        return False
    return (np.array_equal(weight.ravel(), values.ravel())
            or (weight.ndim == values.ndim == 2 and np.array_equal(weight.T, values)))


def _alike(weight: NDArray[np.float32], values: NDArray[np.float32]) -> bool:
    return weight.size == values.size


def sensitivities(model: Convnet, images: Tensor,
                  tell: Callable[[str], None] = lambda text: None) -> tuple[Sensitivity, ...]:
    """Every layer's, the most sensitive first; `images` (n, C, h, w) are the network's inputs, of which the first 8 to
    64 are used.

    The weights of one layer are rounded per channel and its input per tensor, between the least and the largest value
    that it has on the images: int8 as the engines do it, in floating point. Large networks get fewer images, so that it
    takes seconds.
    """
    net = rewrite(model)
    names = list(layers(net))
    images = images[: int(min(MOST, max(LEAST, BUDGET / max(1, macs(model) * len(names)))))]
    ranges = _ranges(net, names, images)
    rows = []
    with torch.inference_mode():
        expected = net(images)
        for number, name in enumerate(names, start=1):
            if name in ranges:
                with _rounded(net.get_submodule(name), ranges[name]):
                    rows.append(_compared(name, expected, net(images)))
            if number % 20 == 0:
                tell(f"sensitivity: {number} of {len(names)} layers")
    return tuple(sorted(rows, key=lambda row: (-row.change, row.layer)))


def _compared(name: str, expected: Tensor, found: Tensor) -> Sensitivity:
    """A constant added to all scores of an image changes no probability, and is left out, unless there is one score
    only.
    """
    spread = expected - expected.mean(dim=1, keepdim=True) if expected.shape[1] > 1 else expected
    change = found - expected
    change = change - change.mean(dim=1, keepdim=True) if expected.shape[1] > 1 else change
    share = change.double().square().sum() / spread.double().square().sum().clamp_min(1e-30)
    return Sensitivity(name, float(share), float((found.argmax(1) == expected.argmax(1)).double().mean()))


def _ranges(net: nn.Module, names: Sequence[str], images: Tensor) -> dict[str, tuple[float, float]]:
    """Least and largest value that each layer is given; layers that never run have none."""
    found: dict[str, tuple[float, float]] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def see(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            low, high = found.get(name, (0.0, 0.0))         # zero is always there: padding, and what ReLU leaves
            found[name] = min(low, args[0].min().item()), max(high, args[0].max().item())
        return see

    hooks = [net.get_submodule(name).register_forward_pre_hook(watch(name)) for name in names]
    try:
        with torch.inference_mode():
            net(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


@contextmanager
def _rounded(layer: nn.Module, range_: tuple[float, float]) -> Iterator[None]:
    """`layer` with its weights and its input in int8."""
    assert isinstance(layer.weight, nn.Parameter)
    exact = layer.weight.data
    low, high = range_
    step = max(high - low, 1e-12) / 255
    zero = round(-low / step)

    def rounded(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return ((args[0] / step + zero).round().clamp(0, 255).sub(zero).mul(step), *args[1:])

    hook = layer.register_forward_pre_hook(rounded)
    scale = (exact.flatten(1).abs().amax(dim=1) / 127).clamp_min(1e-12).view(-1, *[1] * (exact.ndim - 1))
    layer.weight.data = (exact / scale).round() * scale
    try:
        yield
    finally:
        hook.remove()
        layer.weight.data = exact
