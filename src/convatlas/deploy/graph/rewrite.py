"""Rewrites that keep a network's result: fewer passes over its maps, and smaller ones."""

from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn

from ...net.fold import fold_structure, links
from ...net.model import Convnet, pair
from ...parts import LayerNorm2d, LayerScale, Parallel, unpadded
from ...parts.parallel import Merged


def rewrite(model: Convnet, join: bool = False) -> Convnet:
    """A folded copy of `model` whose chains are rewritten as well; the same scores up to rounding, for inference only.

    The factors and offsets of a LayerNorm go into the linear layer or unpadded convolution that reads it (ConvNeXt,
    SLaK), a layer scale into the linear layer before it, and an average pool passes in front of the 1×1 convolution
    before it, which then works on a quarter of the map (DenseNet's transitions). One that keeps the map's size passes
    behind a path's 1×1 convolution, where there are fewer channels (Inception). With `join` parallel 1×1 convolutions
    become one, as `fold` makes them: torch takes that, while ONNX Runtime and OpenVINO lose more than they gain by
    cutting the joined map into pieces again.
    """
    copy = fold_structure(deepcopy(model).eval(), join)
    with torch.no_grad():
        for chain in [m for m in copy.modules() if type(m) is nn.Sequential]:
            _rewrite_chain(chain)
        for paths in [m for m in copy.modules() if isinstance(m, Merged | Parallel)]:
            _means_last(paths)
    return copy


def _rewrite_chain(chain: nn.Sequential) -> None:
    """Every pair of neighbours that a rule knows, in place; dropout, which does nothing here, becomes an identity."""
    for name, module in chain.named_children():
        if isinstance(module, nn.Dropout):
            chain.add_module(name, nn.Identity())
    links = [(name, module) for name, module in chain.named_children() if not isinstance(module, nn.Identity)]
    for (first, _), (second, _) in pairwise(links):
        before, after = chain.get_submodule(first), chain.get_submodule(second)
        if pair := _rewritten(before, after):
            chain.add_module(first, pair[0])
            chain.add_module(second, pair[1])


def _rewritten(before: nn.Module, after: nn.Module) -> tuple[nn.Module, nn.Module] | None:
    """Replacements of two modules that follow each other, or None."""
    if isinstance(before, nn.LayerNorm) and before.elementwise_affine:
        channels_first = isinstance(before, LayerNorm2d)
        if type(after) is nn.Linear and not channels_first and len(before.normalized_shape) == 1:
            return _bare(before), _after_affine(before, after)
        if isinstance(after, nn.Conv2d) and channels_first and unpadded(after) and after.groups == 1:
            return _bare(before), _after_affine(before, after)
    if type(before) is nn.Linear and isinstance(after, LayerScale):
        return _scaled(before, after.gamma), nn.Identity()
    if isinstance(before, nn.Conv2d) and isinstance(after, nn.AvgPool2d) and _pointwise(before) and _mean(after):
        return after, before
    return None


def _means_last(paths: Merged | Parallel) -> None:
    """Every path that averages the common input before its pointwise convolution does so after it."""
    for name, path in (paths.paths.items() if isinstance(paths, Merged) else paths.named_children()):
        steps = list(links(path))[:2] if type(path) is nn.Sequential else []
        if len(steps) < 2:
            continue
        pool, conv = (owner.get_submodule(own) for owner, own in steps)
        if (isinstance(pool, nn.AvgPool2d) and isinstance(conv, nn.Conv2d) and _pointwise(conv) and conv.groups == 1
                and _keeps(pool)):
            start, mean = _mean_after(pool, conv)
            joined = isinstance(paths, Merged)
            for (owner, own), module in zip(steps, (nn.Identity() if joined else start, mean), strict=True):
                owner.add_module(own, module)
            if isinstance(paths, Merged):
                paths.join(name, start)


def _keeps(pool: nn.AvgPool2d) -> bool:
    """True if it looks at every position, and divides by a number that is known."""
    return pool.stride in (1, (1, 1)) and pool.divisor_override is None and not pool.ceil_mode


def _mean_after(pool: nn.AvgPool2d, conv: nn.Conv2d) -> tuple[nn.Conv2d, nn.Module]:
    """`conv` and what averages its result, for conv(pool(x)).

    A mean that counts zeros beyond the border would draw the bias down there: then the bias comes after it, and the
    mean is a depthwise convolution, into which engines put bias and activation.
    """
    if pool.padding in (0, (0, 0)) or not pool.count_include_pad or conv.bias is None:
        return conv, pool
    start, (high, wide) = deepcopy(conv), pair(pool.kernel_size)
    start.bias = None
    mean = nn.Conv2d(conv.out_channels, conv.out_channels, (high, wide), padding=pool.padding, groups=conv.out_channels,
                     device=conv.weight.device, dtype=conv.weight.dtype)
    mean.weight.fill_(1 / (high * wide))
    mean.bias = conv.bias
    return start, mean.eval()


def _pointwise(conv: nn.Conv2d) -> bool:
    return unpadded(conv) and conv.kernel_size == (1, 1) and conv.stride == (1, 1)


def _mean(pool: nn.AvgPool2d) -> bool:
    """True if each result is a mean of values that are there: a constant then stays what it is."""
    return pool.padding in (0, (0, 0)) and pool.divisor_override is None


def _bare(norm: nn.LayerNorm) -> nn.LayerNorm:
    """The normalisation without factors and offsets."""
    bare = deepcopy(norm)
    bare.elementwise_affine = False
    bare.weight = bare.bias = None      # type: ignore[assignment]
    return bare


def _after_affine(norm: nn.LayerNorm, layer: nn.Linear | nn.Conv2d) -> nn.Module:
    """`layer` that takes the bare normalisation's result: W(γx + β) + b = (Wγ)x + (Wβ + b)."""
    weight = layer.weight.double()
    gamma = norm.weight.double().view(-1, *[1] * (weight.ndim - 2))
    bias = torch.zeros(len(weight), dtype=torch.float64, device=weight.device)
    if norm.bias is not None:
        bias = (weight.flatten(2).sum(2) if weight.ndim > 2 else weight) @ norm.bias.double()
    return _with(layer, weight * gamma, bias if layer.bias is None else bias + layer.bias.double())


def _scaled(layer: nn.Linear, gamma: Tensor) -> nn.Module:
    """γ · (Wx + b) as one layer."""
    bias = None if layer.bias is None else layer.bias.double() * gamma.double()
    return _with(layer, layer.weight.double() * gamma.double()[:, None], bias)


def _with(layer: nn.Linear | nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """A copy of `layer` with these values, in its precision."""
    new = deepcopy(layer)
    new.weight = nn.Parameter(weight.to(layer.weight))
    new.bias = None if bias is None else nn.Parameter(bias.to(layer.weight))
    return new
