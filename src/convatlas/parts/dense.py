"""Dense connections: every layer reads the maps of all layers before it (Huang et al. 2017)."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from .conv import MakeNorm, norm_conv
from .recompute import recomputed


class DenseBlock(nn.ModuleList):
    """Dense block: x_l = H_l([x_0, …, x_{l−1}]) for every layer H_l (Huang et al. 2017, eq. 2); the result is [x_0, …,
    x_L].

    With `recompute` training keeps only the maps x_l, and joins, normalises and convolves them again in the backward
    pass: memory then grows with the depth, not with its square (Pleiss et al. 2017). Input (N, C, H, W), output (N, C +
    Lk, H, W).
    """

    def __init__(self, layers: Iterable[nn.Sequential], recompute: bool = False) -> None:
        super().__init__(layers)
        self.recompute = recompute

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        # which plans its own
        again = self.recompute and self.training and torch.is_grad_enabled() and not torch.compiler.is_compiling()
        for layer in self:
            maps.append(_recomputed(cast(nn.Sequential, layer), maps) if again else layer(torch.cat(maps, dim=1)))
        return torch.cat(maps, dim=1)


def dense_layer(cin: int, growth: int, *, bottleneck: bool = True, dropout: float = 0.0,
                norm: MakeNorm = nn.BatchNorm2d) -> nn.Sequential:
    """Layer H_l: norm → ReLU → 3×3 convolution to `growth` maps, after a 1×1 one to 4·growth with `bottleneck`; dropout
    after each.
    """
    steps = ((1, 4 * growth), (3, growth)) if bottleneck else ((3, growth),)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (kernel, cout) in enumerate(steps, start=1):
        layers.update(norm_conv(cin, cout, kernel, number=i, norm=norm))
        if dropout:
            layers[f"drop{i}"] = nn.Dropout(dropout)
        cin = cout
    return nn.Sequential(layers)


def transition(cin: int, cout: int, *, dropout: float = 0.0, norm: MakeNorm = nn.BatchNorm2d) -> nn.Sequential:
    """Transition between dense blocks: norm → ReLU → 1×1 convolution (→ dropout) → 2×2 average."""
    layers = norm_conv(cin, cout, 1, norm=norm)
    if dropout:
        layers["drop"] = nn.Dropout(dropout)
    layers["pool"] = nn.AvgPool2d(2)
    return nn.Sequential(layers)


def _recomputed(layer: nn.Sequential, maps: list[Tensor]) -> Tensor:
    """`layer` of the joined maps, nothing kept of what lies before its first convolution's result."""
    first, rest = layer[:3], layer[3:]      # norm1 act1 conv1 | what follows, which is narrow

    def joined(*maps: Tensor) -> Tensor:
        y: Tensor = first(torch.cat(maps, dim=1))
        return y

    y: Tensor = rest(recomputed(joined, *maps, within=first))
    return y
