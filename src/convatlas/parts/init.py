"""Initialisations that papers state, as functions on layers that already exist."""

from torch import Tensor, nn


def lecun_uniform_(weight: Tensor, bias: Tensor | None, fan_in: int) -> None:
    """Weights from U(−2.4/F, 2.4/F) with F the inputs of one unit (LeCun et al. 1989), biases zero."""
    nn.init.uniform_(weight, -2.4 / fan_in, 2.4 / fan_in)
    if bias is not None:
        nn.init.zeros_(bias)


def lecun_linear(cin: int, cout: int) -> nn.Linear:
    """A fully connected layer with `lecun_uniform_` weights."""
    layer = nn.Linear(cin, cout)
    lecun_uniform_(layer.weight, layer.bias, cin)
    return layer


def gaussian_(layer: nn.Conv2d | nn.Linear, std: float, bias: float) -> None:
    """Weights from N(0, std²), every bias the same value."""
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, bias)
