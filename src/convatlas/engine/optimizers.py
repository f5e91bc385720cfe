"""Optimisers that papers used and torch lacks; elementwise, so sharded parameters (DTensor) move like whole ones."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Elementwise(torch.optim.Optimizer):
    """The common base of these optimisers: for each group, weight decay in the gradient, then `_move`."""

    # each parameter's state tensors, and what they are filled with at first
    starts: ClassVar[Mapping[str, float]] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:     # type: ignore[override]
        """Update every parameter that has a gradient; returns what `closure` does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            for weight in weights:
                for key, value in self.starts.items():
                    if key not in self.state[weight]:
                        self.state[weight][key] = torch.full_like(weight, value)
            gradients = [weight.grad for weight in weights]
            if group["weight_decay"]:
                gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
            self._move(group, weights, gradients)
        return loss

    def _states(self, key: str, weights: list[Tensor]) -> list[Tensor]:
        """The state tensors of that name."""
        return [self.state[weight][key] for weight in weights]

    def _move(self, group: Mapping[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        """One step of one group, in place."""
        raise NotImplementedError


class SGDCaffe(Elementwise):
    """SGD with the rate inside the velocity (Caffe; Krizhevsky et al. 2012): v ← μv + ηg, w ← w − v.

    The same as torch's SGD while the rate is constant; when it falls, what the velocity holds keeps its old rate.
    Nesterov: w ← w − (1 + μ)v + μv', with v' the velocity before, which is w ← w − μv − ηg.
    """

    starts: ClassVar[Mapping[str, float]] = {"momentum_buffer": 0.0}

    def __init__(self, params: Any, lr: float, momentum: float = 0.0, weight_decay: float = 0.0,
                 nesterov: bool = False) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov})

    def _move(self, group: Mapping[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        velocities = self._states("momentum_buffer", weights)
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, gradients, alpha=group["lr"])
        if group["nesterov"]:
            torch._foreach_add_(weights, velocities, alpha=-group["momentum"])
            torch._foreach_add_(weights, gradients, alpha=-group["lr"])
        else:
            torch._foreach_add_(weights, velocities, alpha=-1)


class RMSpropTF(Elementwise):
    """TensorFlow's RMSProp: s ← s + (1 − ρ)(g² − s) from s = 1, v ← μv + ηg/√(s + ε), w ← w − v.

    What Inception, MobileNet and EfficientNet were trained with. torch's has s = 0 at first, ε outside the root, and
    the rate outside the velocity: with ε near 1 these are different methods.
    """

    starts: ClassVar[Mapping[str, float]] = {"square_avg": 1.0, "momentum_buffer": 0.0}

    def __init__(
        self, params: Any, lr: float, rho: float = 0.9, eps: float = 1e-3, momentum: float = 0.0,
        weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "momentum": momentum, "weight_decay": weight_decay})

    def _move(self, group: Mapping[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        squares, velocities = (self._states(key, weights) for key in ("square_avg", "momentum_buffer"))
        torch._foreach_mul_(squares, group["rho"])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - group["rho"])
        roots = torch._foreach_add(squares, group["eps"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_addcdiv_(velocities, gradients, roots, group["lr"])
        torch._foreach_add_(weights, velocities, alpha=-1)


class LevenbergMarquardt(Elementwise):
    """Stochastic diagonal Levenberg-Marquardt (LeCun et al. 1998, appendix C): w ← w − η/(μ + h) · g.

    h, the second derivative of the loss with respect to each weight, is what `set_curvature` was last given.
    """

    def __init__(self, params: Any, lr: float, mu: float = 0.02, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "mu": mu, "weight_decay": weight_decay})

    def set_curvature(self, model: nn.Module, curvature: Mapping[str, Tensor]) -> None:
        """Take h of each parameter of `model` by its name, as `engine.curvature.estimate` returns it."""
        for name, parameter in model.named_parameters():
            if name in curvature:
                self.state[parameter]["curvature"] = curvature[name]

    def _move(self, group: Mapping[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        stiffness = torch._foreach_add(self._states("curvature", weights), group["mu"])
        torch._foreach_addcdiv_(weights, gradients, stiffness, -group["lr"])
