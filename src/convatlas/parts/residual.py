"""Shortcuts around a branch (He et al. 2016)."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from .conv import MakeNorm, conv_norm
from .drop import DropPath

Option = Literal["A", "A_around", "B", "C", "none"]


class Residual(nn.Module):
    """Residual block act(branch(x) + shortcut(x)) (He et al. 2016, eq. 1 and 2); `drop` is the branch's rate of
    stochastic depth.

    The branch runs first. Input (N, cin, H, W), output (N, cout, H', W').
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None, act: nn.Module | None = None,
                 drop: float = 0.0) -> None:
        super().__init__()
        self.branch = branch
        self.drop = DropPath(drop) if drop else nn.Identity()
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.act = nn.Identity() if act is None else act

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(self.branch(x))
        out: Tensor = self.act(y + self.shortcut(x))
        return out


class ZeroPad(nn.Module):
    """Option A's shortcut: every `stride`-th pixel, and zeros for the channels that are new, `before` of them in front.
    No parameters.
    """

    def __init__(self, cin: int, cout: int, stride: int, before: int = 0) -> None:
        super().__init__()
        self.before, self.behind, self.stride = before, cout - cin - before, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.behind))

    def extra_repr(self) -> str:
        return f"{self.before} channels of zeros before, {self.behind} behind, stride={self.stride}"


def shortcut(option: Option, cin: int, cout: int, stride: int, norm: MakeNorm = nn.BatchNorm2d) -> nn.Module | None:
    """Shortcut of a block: A pads with zeros, B projects where shapes change, C projects always; none: there is none to
    add.

    A_around has half of A's zeros in front of the channels, as the common ports to PyTorch have it.

    For "none" the caller builds a plain block, without Residual. An identity is returned as None.
    """
    same = stride == 1 and cin == cout
    if option == "none" or (same and option != "C"):
        return None
    if option in ("A", "A_around"):
        return ZeroPad(cin, cout, stride, (cout - cin) // 2 if option == "A_around" else 0)
    return conv_norm(cin, cout, 1, stride, norm=norm, act=None)


def dilate(strides: tuple[int, ...], output_stride: int, before: int) -> list[tuple[int, int, int]]:
    """Strides and dilations for an output stride: per stage (stride, dilation of what strides, dilation of the rest).

    `before` is the reduction before the first stage. A stage beyond `output_stride` dilates instead of striding, its
    first unit by the previous stage's dilation (Yu & Koltun 2016; DeepLab).
    """
    plan, reduction, dilation = [], before, 1
    for stride in strides:
        first = dilation
        if reduction * stride > output_stride:
            dilation, stride = dilation * stride, 1
        reduction *= stride
        plan.append((stride, first, dilation))
    return plan
