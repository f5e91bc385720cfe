"""The diagonal of the second derivative of the loss, by LeCun's backward pass (LeCun et al. 1998, appendix C).

As in the paper: the Gauss-Newton part only (no second derivative of a squashing function), off-diagonal terms dropped
in each layer, and of a shared weight the sum over the connections that share it, without their products. A layer y =
f(x) then passes back ∂²E/∂x_i² = Σ_j (∂y_j/∂x_i)² ∂²E/∂y_j². Each layer's output is replaced by one of the same value
whose derivatives are these squares, so that autograd's ordinary backward pass is LeCun's.

It begins with the exact ∂²E/∂y² of the loss, in which RBF units count as part of the loss: far from every class the MAP
loss is linear in their distances, and all its curvature is the distances' own.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import ConvatlasError
from ..parts import RBF, LocalConv2d, ScaledTanh, Subsample2d, TableConv2d, Twice
from .evaluate import Batches
from .listener import Listener
from .losses import PerImage
from .optimizers import LevenbergMarquardt
from .step import Step

PRODUCTS = (nn.Conv2d, nn.Linear, TableConv2d, LocalConv2d, Subsample2d)    # sums of weight times input, plus a bias
ELEMENTWISE = (ScaledTanh, nn.ReLU, nn.Tanh)
ZERO_ONE = (nn.Identity, nn.Flatten, nn.MaxPool2d, nn.Dropout, Twice)       # derivatives are 0 or 1: their own squares


class Curvature(Listener):
    """Second derivatives for `optim`, from the first `optim.samples` images of each epoch; a part of its state."""

    name: ClassVar[str] = "curvature"

    def __init__(self, optim: LevenbergMarquardt, move: Step, train: Batches) -> None:
        self.optim, self.move, self.train = optim, move, train

    def before_epoch(self, epoch: int, step: int) -> None:
        """Estimate them where an epoch begins."""
        if step == 0:
            images = self._images(epoch, self.move.run.optim.samples)
            self.optim.set_curvature(self.move.model, estimate(self.move.model, images, self.move.loss_of))

    def _images(self, epoch: int, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The first `count` images of an epoch with their labels, batch by batch, on the device."""
        device = self.move.world.device
        for batch in self.train.epoch(epoch):
            real = (batch.indices >= 0).nonzero().flatten()[:count]
            yield batch.images[real].to(device), batch.labels[real].to(device)
            count -= len(real)
            if not count:
                return


def estimate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], loss_of: PerImage) -> dict[str, Tensor]:
    """Mean over images of ∂²E/∂w² of every parameter that requires a gradient, by its name, each of the parameter's
    shape.

    `batches` are images (N, C, H, W) with labels (N,) on the model's device; `loss_of` gives each image's loss from
    scores and labels. The model is left as it was, in evaluation mode while it is measured. Raises ConvatlasError for a
    layer that is not in LeCun's networks or (ReLU, max-pooling) in what the field makes of them, and where there is no
    image.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    rbf = next((module for module in model.modules() if isinstance(module, RBF)), None)
    ends: list[Tensor] = []             # what the RBF units of the batch at hand read
    count, training = 0, model.training
    hooks = [module.register_forward_hook(_squared(module)) for module in model.modules()
             if next(module.children(), None) is None]
    if rbf is not None:
        hooks.append(rbf.register_forward_pre_hook(lambda _, inputs: ends.append(inputs[0])))
    try:
        model.eval()
        for images, labels in batches:
            scores = model(images)
            end = scores if rbf is None else ends.pop()
            second = _second(end.detach(), partial(_loss, loss_of, rbf, labels))
            parts = torch.autograd.grad(end, list(parameters.values()), second)
            for total, part in zip(sums.values(), parts, strict=True):
                total += part
            count += len(images)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    if not count:
        raise ConvatlasError("second derivatives are estimated from at least one image, and there was none")
    return {name: total / count for name, total in sums.items()}


def _loss(loss_of: PerImage, rbf: RBF | None, labels: Tensor, end: Tensor) -> Tensor:
    """The loss of each image, (N,), from its scores or from the input of the RBF units that make them."""
    return loss_of(end if rbf is None else rbf.forward(end), labels)     # forward: the hook listens to the network only


def _second(end: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """∂²E/∂y² of each image and each y of `end`, (N, K); none below zero, where a step would go uphill."""
    end.requires_grad_()
    (slopes,) = torch.autograd.grad(loss(end).sum(), end, create_graph=True)
    columns = [torch.autograd.grad(slopes[:, k].sum(), end, retain_graph=True)[0][:, k] for k in range(end.shape[1])]
    return torch.stack(columns, dim=1).clamp_min(0)


Hook = Callable[[nn.Module, tuple[Tensor], Tensor], Tensor]


def _squared(module: nn.Module) -> Hook:
    """A forward hook that keeps the output's value and squares each of its derivatives."""
    bare = copy.deepcopy(module)        # without the hook

    def products(x: Tensor) -> Tensor:
        weights: dict[str, Tensor] = dict(module.named_parameters())
        fixed = {name: weight.detach().square() if name == "weight" else torch.zeros_like(weight)
                 for name, weight in weights.items()}
        of_input: Tensor = functional_call(bare, fixed, (x,))                           # Σ w² x : derivatives w² of x
        of_weights: Tensor = functional_call(bare, weights, (x.detach().square(),))     # Σ w x² + b : x² of w, 1 of b
        return of_input + of_weights

    def elementwise(x: Tensor) -> Tensor:
        at = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(bare(at).sum(), at)
        return x * slope.square()

    def average(x: Tensor) -> Tensor:
        y: Tensor = bare(x)
        return y * (y.numel() / x.numel())      # of n inputs each has the derivative 1/n

    rules: list[tuple[tuple[type[nn.Module], ...], Callable[[Tensor], Tensor]]] = [
        (PRODUCTS, products), (ELEMENTWISE, elementwise), ((nn.AdaptiveAvgPool2d,), average),
    ]
    rule = next((rule for kinds, rule in rules if isinstance(module, kinds)), None)
    if isinstance(bare, TableConv2d | LocalConv2d):
        bare.border = bare.border**2        # the border is an input too

    def hook(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        if isinstance(module, (*ZERO_ONE, RBF)):
            return output
        if rule is None:
            raise ConvatlasError(
                f"second derivatives are known of LeCun's layers, not of {type(module).__name__}; optim.name = lm is "
                "for the networks of 1989 to 1998, choose another optimiser"
            )
        surrogate = rule(inputs[0])
        return output.detach() + (surrogate - surrogate.detach())

    return hook
