"""Initialisations that papers state, as functions on layers and weights, and makers of classifiers."""

from collections.abc import Callable
from functools import partial
from math import sqrt
from typing import Literal

from torch import Tensor, nn


def lecun_uniform_(weight: Tensor, bias: Tensor | None, fan_in: int) -> None:
    """LeCun's uniform initialisation: weights from U(−2.4/F, 2.4/F) with F the inputs of one unit (LeCun et al. 1989),
    biases zero.
    """
    nn.init.uniform_(weight, -2.4 / fan_in, 2.4 / fan_in)
    if bias is not None:
        nn.init.zeros_(bias)


def lecun_linear(cin: int, cout: int) -> nn.Linear:
    """A fully connected layer with `lecun_uniform_` weights."""
    layer = nn.Linear(cin, cout)
    lecun_uniform_(layer.weight, layer.bias, cin)
    return layer


def gaussian_(layer: nn.Conv2d | nn.Linear, std: float, bias: float) -> None:
    """Gaussian initialisation: weights from N(0, std²), every bias the same value."""
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, bias)


def truncated_normal_(weight: Tensor, std: float) -> None:
    """Truncated normal as TensorFlow has it: N(0, std²), nothing beyond two deviations."""
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


def variance_scaling_(weight: Tensor) -> None:
    """Variance scaling as TF-slim has it: N(0, 2/fan_in) cut at two deviations, and widened by √1.3 to make up for
    that.
    """
    truncated_normal_(weight, sqrt(1.3 * 2 / weight[0].numel()))


def every_conv_(model: nn.Module, init: Callable[[Tensor], object], bias: float = 0.0, *, linear: bool = False) -> None:
    """Initialise every convolution below: weights by `init`, every bias the same value; with `linear` fully connected
    layers too.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) or (linear and isinstance(module, nn.Linear)):
            init(module.weight)
            if module.bias is not None:
                nn.init.constant_(module.bias, bias)


def he_normal_(model: nn.Module, mode: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """He initialisation: every convolution below from N(0, 2/fan), its bias zero (He et al. 2015).

    fan_out is k²·cout whatever the groups, as in the Torch releases.
    """
    every_conv_(model, partial(nn.init.kaiming_normal_, mode=mode, nonlinearity="relu"))


def linear(init: Callable[[Tensor], object], bias: float = 0.0) -> Callable[[int, int], nn.Linear]:
    """A maker of fully connected layers, for `Head`: weights by `init`, every bias the same value."""
    return partial(_linear, init, bias)     # no closure, so that a model can be pickled


def torch_linear(cin: int, cout: int) -> nn.Linear:
    """Classifier of Facebook's Torch releases: `uniform_linear` weights, no bias at first."""
    layer = uniform_linear(cin, cout)
    nn.init.zeros_(layer.bias)
    return layer


def uniform_linear(cin: int, cout: int) -> nn.Linear:
    """A fully connected layer as Torch7 and torch begin one: weights and biases from U(−1/√cin, 1/√cin)."""
    layer = nn.Linear(cin, cout)
    nn.init.uniform_(layer.weight, -1 / sqrt(cin), 1 / sqrt(cin))
    nn.init.uniform_(layer.bias, -1 / sqrt(cin), 1 / sqrt(cin))
    return layer


def _linear(init: Callable[[Tensor], object], bias: float, cin: int, cout: int) -> nn.Linear:
    layer = nn.Linear(cin, cout)
    init(layer.weight)
    nn.init.constant_(layer.bias, bias)
    return layer
