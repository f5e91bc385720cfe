"""Inception's parallel paths."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from .fold import Foldable


class Parallel(Foldable):
    """Parallel paths, their maps concatenated along the channels: cat([path(x) for each path]) (Szegedy et al. 2015,
    Figure 2).

    Paths keep the names they are given. Input (N, cin, H, W), output (N, Σ cout, H', W').
    """

    def __init__(self, paths: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, path in paths.items():
            self.add_module(name, path)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([path(x) for path in self.children()], dim=1)

    def folded(self) -> nn.Module:
        """The paths' leading 1×1 convolutions as one, where there are several."""
        starts = {name: start for name, path in self.named_children() if (start := _pointwise(path)) is not None}
        return self if len(starts) < 2 else Merged(self, starts)


class Merged(nn.Module):
    """Parallel paths after their common 1×1 convolution; what each path had after its own follows on its share of the
    maps.
    """

    def __init__(self, parallel: Parallel, starts: Mapping[str, nn.Conv2d]) -> None:
        super().__init__()
        convs = list(starts.values())
        like = convs[0]
        self.merged = nn.Conv2d(like.in_channels, sum(c.out_channels for c in convs), 1, bias=True,
                                device=like.weight.device, dtype=like.weight.dtype)
        with torch.no_grad():
            self.merged.weight.copy_(torch.cat([c.weight for c in convs]))
            biases = [c.weight.new_zeros(c.out_channels) if c.bias is None else c.bias for c in convs]
            cast(Tensor, self.merged.bias).copy_(torch.cat(biases))
        self.shares = [c.out_channels for c in convs]
        self.order = [list(starts).index(name) if name in starts else None for name, _ in parallel.named_children()]
        self.paths = nn.ModuleDict({name: _without_start(path) if name in starts else path
                                    for name, path in parallel.named_children()})

    def join(self, name: str, start: nn.Conv2d) -> None:
        """Let the common convolution do what `start` does for path `name`, which did not begin with one."""
        bias = start.weight.new_zeros(start.out_channels) if start.bias is None else start.bias
        with torch.no_grad():
            self.merged.weight = nn.Parameter(torch.cat([self.merged.weight, start.weight]))
            self.merged.bias = nn.Parameter(torch.cat([cast(Tensor, self.merged.bias), bias]))
        self.merged.out_channels += start.out_channels
        self.order[list(self.paths).index(name)] = len(self.shares)
        self.shares.append(start.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        shares = torch.split(self.merged(x), self.shares, dim=1)
        maps = [path(x if i is None else shares[i]) for path, i in zip(self.paths.values(), self.order, strict=True)]
        return torch.cat(maps, dim=1)


def _pointwise(path: nn.Module) -> nn.Conv2d | None:
    """The 1×1 convolution, stride 1, with which a path begins."""
    while isinstance(path, nn.Sequential) and len(path):
        path = path[0]
    plain = (type(path) is nn.Conv2d and path.kernel_size == (1, 1) and path.stride == (1, 1) and path.padding == (0, 0)
             and path.groups == 1)
    return cast(nn.Conv2d, path) if plain else None


def _without_start(path: nn.Module) -> nn.Module:
    """The path with an identity in the place of its first convolution."""
    if not isinstance(path, nn.Sequential):
        return nn.Identity()
    path[0] = _without_start(path[0])
    return path
