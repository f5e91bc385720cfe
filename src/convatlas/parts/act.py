"""Squashing functions, and an activation as a field of a specification."""

from functools import partial
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from .conv import Make
from .excite import SqueezeExcite

Act = Literal["relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "hardswish", "tanh"]
ACTS: dict[Act, Make] = {"relu": nn.ReLU, "relu6": nn.ReLU6, "leaky_relu": partial(nn.LeakyReLU, 0.01), "elu": nn.ELU,
                         "gelu": nn.GELU, "silu": nn.SiLU, "mish": nn.Mish, "hardswish": nn.Hardswish, "tanh": nn.Tanh}
Net = TypeVar("Net", bound=nn.Module)


class ScaledTanh(nn.Module):
    """Scaled hyperbolic tangent, 1.7159 · tanh(2a/3): f(±1) = ±1, the curvature is largest there (LeCun 1989; LeCun et
    al. 1998, appendix A).
    """

    amplitude = 1.7159      # A
    slope = 2 / 3           # S

    def forward(self, a: Tensor) -> Tensor:
        """Any shape in, the same shape out."""
        return self.amplitude * torch.tanh(self.slope * a)


def with_act(net: Net, act: Act, usual: Act = "relu") -> Net:
    """`net`, every activation of its `usual` kind replaced by `act`, side heads' too; those inside gates stay.

    Weights begin as for the usual one.
    """
    kind = type(ACTS[usual]())
    for parent in net.modules() if act != usual else ():
        for name, child in parent.named_children() if not isinstance(parent, SqueezeExcite) else ():
            if type(child) is kind:
                parent.add_module(name, ACTS[act]())
    return net
