"""Mobile networks' shared parts: the width rule, the inverted residual block, TensorFlow's initialisations."""

from collections import OrderedDict
from functools import partial
from math import sqrt

from torch import nn

from .conv import Make, MakeNorm, Padding, conv_norm
from .excite import Excite, SqueezeExcite
from .init import every_conv_, gaussian_, linear, truncated_normal_
from .residual import Residual

slim_normal_ = partial(truncated_normal_, std=0.09)     # TF-slim's
slim_linear = linear(slim_normal_)


def round_channels(wanted: float) -> int:
    """Width rule: the multiple of 8 nearest to `wanted`: at least 8, and never less than 90 % of it (the authors'
    `_make_divisible`).
    """
    near = max(8, int(wanted + 4) // 8 * 8)
    return near if near >= 0.9 * wanted else near + 8


def inverted_residual(cin: int, mid: int, cout: int, kernel: int, stride: int, *, squeezed: int = 0,
                      excite: Excite | None = None, dilation: int = 1, padding: Padding = "symmetric",
                      norm: MakeNorm = nn.BatchNorm2d, act: Make = nn.ReLU6,
                      excite_act: Make = nn.ReLU, gate: Make = nn.Sigmoid, drop: float = 0.0,
                      linear: bool = True, residual: bool = True) -> nn.Module:
    """Inverted residual: 1×1 to `mid`, depthwise, (squeeze-and-excitation,) 1×1 to `cout` without act (Sandler et al.
    2018, Figure 3).

    The gate has `squeezed` channels inside, or is one of `excite`. Nothing is expanded where `mid` is `cin`. The input
    is added where it fits: stride 1 and as many channels. `linear` False rectifies the last 1×1 too, `residual` False
    adds nothing.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if mid != cin:
        layers["expand"] = conv_norm(cin, mid, 1, norm=norm, act=act)
    layers["depthwise"] = conv_norm(mid, mid, kernel, stride, padding=padding, groups=mid, dilation=dilation,
                                    norm=norm, act=act)
    if squeezed:
        layers["excite"] = SqueezeExcite(mid, squeezed, act=excite_act, gate=gate)
    elif excite:
        layers["excite"] = excite.layer(mid)
    layers["project"] = conv_norm(mid, cout, 1, norm=norm, act=None if linear else act)
    branch = nn.Sequential(layers)
    return Residual(branch, drop=drop) if residual and stride == 1 and cin == cout else branch


def slim_init_(model: nn.Module) -> None:
    """TF-slim's initialisation: every convolution below from its truncated normal, its bias zero (MobileNet v1 to v3).
    """
    every_conv_(model, slim_normal_)


def fan_out_init_(model: nn.Module) -> None:
    """Fan-out initialisation, N(0, 2/fan_out), biases zero; fan_out counts one group's outputs: k² for a depthwise
    convolution.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
            gaussian_(module, std=sqrt(2 / fan_out), bias=0.0)
