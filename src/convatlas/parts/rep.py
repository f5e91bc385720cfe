"""Re-parameterised convolutions: trained as several branches, deployed as few, for they are linear in the kernel (Ding
et al. 2021).
"""

import copy
from collections.abc import Iterable, Mapping
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conv import MakeNorm, conv_norm
from .fold import Foldable, fold_after, scale_shift


class ConvSum(Foldable):
    """Sum of branches that read the same map: convolutions with or without a norm, all of one stride, or a norm alone.

    Kernels have odd sides and are centred. Branches keep the names they are given and run in that order.
    Input (N, cin, H, W), output (N, cout, H', W').
    """

    def __init__(self, branches: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.children()
        y: Tensor = first(x)
        for branch in others:
            y = y + branch(x)
        return y

    def folded(self) -> nn.Module:
        """As few convolutions as cost the fewest multiply-adds: a kernel that lies inside another one is added to its
        centre.

        So 1×1 disappears in 3×3 and 5×5 in 31×31. A 51×5 and a 5×51 stay two: their one 51×51 would cost five times as
        much.
        """
        convs = self.convs()
        kept: dict[str, nn.Conv2d] = {}
        for name, conv in sorted(convs.items(), key=lambda item: -item[1].weight[0, 0].numel()):
            home = next((big for big in kept.values() if _inside(conv, big)), None)
            if home is None:
                kept[name] = conv
            else:
                _add(conv, home)
        first, *others = kept.values()
        for other in others:        # one bias is enough
            _add_bias(other, first)
            other.bias = None
        return first if not others else ConvSum(kept)

    def convs(self) -> dict[str, nn.Conv2d]:
        """Every branch as one convolution with a bias."""
        branches = dict(self.named_children())
        groups = next(_conv(branch).groups for branch in branches.values() if not isinstance(branch, nn.BatchNorm2d))
        return {name: _identity(branch, groups) if isinstance(branch, nn.BatchNorm2d) else _conv(branch)
                for name, branch in branches.items()}


class RepConv(ConvSum):
    """RepVGG's three branches (Ding et al. 2021, Figure 4): k×k + 1×1 + the map itself, each normalised, then summed.

    `skip` exists where the map keeps its shape, unless it is False; `point` False leaves the 1×1 out.
    Input (N, cin, H, W), output (N, cout, H/stride, W/stride).
    """

    def __init__(self, cin: int, cout: int, kernel: int = 3, stride: int = 1, *, groups: int = 1,
                 dilation: int = 1, skip: bool = True, point: bool = True, norm: MakeNorm = nn.BatchNorm2d) -> None:
        layer = partial(conv_norm, cin, cout, stride=stride, groups=groups, dilation=dilation, norm=norm, act=None)
        branches: dict[str, nn.Module] = {"skip": norm(cin)} if skip and cin == cout and stride == 1 else {}
        if point:
            branches["small"] = layer(1)
        super().__init__(branches | {"large": layer(kernel)})


def _conv(branch: nn.Module) -> nn.Conv2d:
    """The branch's convolution, its norm folded in; a copy, so that sums do not change the branch."""
    layers: Iterable[nn.Module] = branch if isinstance(branch, nn.Sequential) else [branch]
    conv, *rest = [layer for layer in layers if not isinstance(layer, nn.Identity)]
    if not isinstance(conv, nn.Conv2d) or not all(isinstance(norm, nn.BatchNorm2d) for norm in rest):
        raise TypeError(f"a branch of ConvSum is a convolution and its norm, not {branch}")
    conv = copy.deepcopy(conv)
    for norm in rest:
        conv = fold_after(conv, cast(nn.BatchNorm2d, norm))
    if conv.bias is None:
        conv.bias = nn.Parameter(conv.weight.new_zeros(conv.out_channels))
    return conv


def _identity(norm: nn.BatchNorm2d, groups: int) -> nn.Conv2d:
    """A norm as a 1×1 convolution: map i of a group reads input i of that group, and nothing else."""
    channels = norm.num_features
    scale, shift = scale_shift(norm)
    conv = nn.Conv2d(channels, channels, 1, groups=groups, device=scale.device, dtype=norm.running_var.dtype)   # type: ignore[union-attr]
    inputs = channels // groups
    with torch.no_grad():
        conv.weight.copy_((torch.eye(inputs, device=scale.device).repeat(groups, 1) * scale[:, None])[:, :, None, None])
        cast(Tensor, conv.bias).copy_(shift)
    return conv


def _inside(small: nn.Conv2d, big: nn.Conv2d) -> bool:
    return all(a <= b for a, b in zip(small.kernel_size, big.kernel_size, strict=True))


def _add(small: nn.Conv2d, big: nn.Conv2d) -> None:
    """Let `big` compute the sum of both."""
    high, wide = ((b - a) // 2 for a, b in zip(small.kernel_size, big.kernel_size, strict=True))
    with torch.no_grad():
        big.weight.add_(F.pad(small.weight, [wide, wide, high, high]))
    _add_bias(small, big)


def _add_bias(small: nn.Conv2d, big: nn.Conv2d) -> None:
    with torch.no_grad():
        cast(Tensor, big.bias).add_(cast(Tensor, small.bias))
