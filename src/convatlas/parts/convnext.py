"""ConvNeXt's block (Liu et al. 2022), which later networks keep, with other spatial convolutions."""

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn

from .conv import SameConv2d
from .excite import Excite
from .init import every_conv_, linear
from .norm import LayerNorm2d, LayerScale
from .pool import GlobalPool, PoolKind
from .residual import Residual


class Permute(nn.Module):
    """Permutation of dimensions."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.order))


def convnext_block(spatial: nn.Module, channels: int, *, layer_scale: float = 1e-6, drop: float = 0.0,
                   eps: float = 1e-6, excite: Excite | None = None) -> Residual:
    """ConvNeXt block (Liu et al. 2022, Figure 4): x + scale · MLP(norm(spatial(x))), the MLP four times as wide inside.

    The MLP's linear layers work on (N, H, W, C). A `layer_scale` of 0 means that there is none. `excite` weighs what
    the MLP gives.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        spatial=spatial, last=Permute(0, 2, 3, 1), norm=nn.LayerNorm(channels, eps=eps),
        expand=nn.Linear(channels, 4 * channels), act=nn.GELU(), reduce=nn.Linear(4 * channels, channels))
    if excite:      # before the scale: of its 10⁻⁶ a gate could learn nothing
        layers["excite"] = nn.Sequential(OrderedDict(
            first=Permute(0, 3, 1, 2), gate=excite.layer(channels), last=Permute(0, 2, 3, 1)))
    if layer_scale:
        layers["scale"] = LayerScale(channels, layer_scale)
    layers["first"] = Permute(0, 3, 1, 2)
    return Residual(nn.Sequential(layers), drop=drop)


def patch_down(cin: int, cout: int, stride: int, dilation: int = 1) -> nn.Conv2d:
    """ConvNeXt's reduction, a 2×2 convolution of stride 2; of stride 1 it is dilated and padded as TensorFlow's SAME.
    """
    return nn.Conv2d(cin, cout, 2, 2) if stride == 2 else SameConv2d(cin, cout, 2, dilation=dilation)


def pool_norm(channels: int, pool: PoolKind, eps: float = 1e-6) -> nn.LayerNorm:
    """LayerNorm between global pooling and the classifier; of the map, if nothing is pooled."""
    return LayerNorm2d(channels, eps) if pool == "none" else nn.LayerNorm(GlobalPool(pool).width(channels), eps=eps)


def convnext_init_(model: nn.Module) -> None:
    """ConvNeXt's initialisation: every convolution and fully connected layer below from N(0, 0.02²), its bias zero."""
    every_conv_(model, normal_, linear=True)


normal_ = partial(nn.init.trunc_normal_, std=0.02)      # cut off at ±2, which is a hundred deviations, as released
convnext_linear = linear(normal_)
