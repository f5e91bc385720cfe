"""Squeeze-and-excitation: channels weighted by what the whole image shows (Hu et al. 2018); its places in a block."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, cast

from torch import Tensor, nn

from .conv import Make
from .residual import Residual

Squeeze = Literal["avg", "max", "none"]
Gate = Literal["sigmoid", "relu", "tanh"]
Position = Literal["standard", "pre", "post", "identity", "3x3"]
SQUEEZES: dict[Squeeze, Make] = {
    "avg": partial(nn.AdaptiveAvgPool2d, 1), "max": partial(nn.AdaptiveMaxPool2d, 1), "none": nn.Identity}
GATES: dict[Gate, Make] = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU, "tanh": nn.Tanh}


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation, x · gate(expand(act(reduce(squeeze(x))))) (Hu et al. 2018, eq. 2 to 4).

    One factor per channel and image: `squeeze` averages over the image or takes its maximum; "none" gives every pixel
    its own factors. `reduce` and `expand` are the paper's two fully connected layers as 1×1 convolutions. Input and
    output (N, channels, H, W).
    """

    def __init__(self, channels: int, squeezed: int, *, squeeze: Squeeze = "avg", act: Make = nn.ReLU,
                 gate: Make = nn.Sigmoid, bias: bool = True) -> None:
        super().__init__()
        self.squeeze = SQUEEZES[squeeze]()
        self.reduce = nn.Conv2d(channels, squeezed, 1, bias=bias)
        self.act = act()
        self.expand = nn.Conv2d(squeezed, channels, 1, bias=bias)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = self.gate(self.expand(self.act(self.reduce(self.squeeze(x)))))
        return x * scale


@dataclass(frozen=True)
class Excite:
    """Squeeze-and-excitation as a field of a specification; `reduction` channels are squeezed to one, fewer to one too.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}     # a misspelt key is refused

    reduction: int = 16
    squeeze: Squeeze = "avg"
    gate: Gate = "sigmoid"
    bias: bool = True

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise ValueError(f"channels are divided by a reduction of 1 or more, not {self.reduction}")

    def layer(self, channels: int) -> SqueezeExcite:
        """The layer for so many channels: (N, channels, H, W) in, the same out."""
        return SqueezeExcite(channels, max(1, channels // self.reduction), squeeze=self.squeeze, gate=GATES[self.gate],
                             bias=self.bias)


@dataclass(frozen=True)
class BlockExcite(Excite):
    """Squeeze-and-excitation of residual blocks: also its place in a block, and the stages that have it, from 0."""

    position: Position = "standard"
    stages: tuple[int, ...] = (0, 1, 2, 3)


def gated(module: nn.Module, channels: int, excite: Excite | None) -> nn.Module:
    """An Inception module, or another of so many maps, with its gate behind it (Hu et al. 2018, Figure 2); itself
    without `excite`.
    """
    return nn.Sequential(OrderedDict(paths=module, excite=excite.layer(channels))) if excite else module


def excited(block: nn.Module, excite: BlockExcite) -> nn.Module:
    """A residual block with squeeze-and-excitation at its place (Hu et al. 2020, section 6.5); changes `block`.

    "standard" stands behind the branch, "pre" before it, "3x3" before its last convolution, "identity" behind the
    shortcut (if there is one) and "post" behind the addition.
    """
    layers = list(block.get_submodule("branch").named_children())       # each of them conv → norm (→ ReLU)
    convs = [cast(nn.Conv2d, layer.get_submodule("conv")) for _, layer in layers]
    cout = convs[-1].out_channels
    if excite.position == "post":
        return nn.Sequential(OrderedDict(block=block, se=excite.layer(cout)))
    if excite.position == "identity":
        if isinstance(block, Residual):
            block.shortcut = nn.Sequential(OrderedDict(way=block.shortcut, se=excite.layer(cout)))
        return block
    at = {"pre": 0, "3x3": len(layers) - 1, "standard": len(layers)}[excite.position]
    channels = convs[at].in_channels if at < len(convs) else cout
    block.branch = nn.Sequential(OrderedDict([*layers[:at], ("se", excite.layer(channels)), *layers[at:]]))
    return block
