"""The layer table: shapes, parameters, multiply-adds, LeCun's connections and receptive fields, on the meta device.

Multiply-adds are those of convolutions and linear layers, one per weight and output position, for one image; pooling,
normalisation, activation and biases are not counted, as in the papers.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..parts import Counted
from .model import Convnet, meta_image, meta_state, pair
from .receptive import Sight, Sights

# kinds with weights
WEIGHTED = ("Conv2d", "SameConv2d", "ConvTranspose2d", "Linear", "TableConv2d", "LocalConv2d", "RBF")


@dataclass(frozen=True)
class Layer:
    """One row: a module that computes, in the order in which it first runs."""

    name: str                       # in the model: 'stages.0.c1'
    kind: str                       # its type
    output: tuple[int, ...]         # without the batch
    kernel: str                     # '5×5', '11×11/4', '3×3/2 g2', or ''
    params: int                     # trainable parameters of its own
    macs: int
    connections: int                # links into its units, a bias link per unit included (LeCun's count)
    receptive_field: int | None = None      # pixels of the input, along one side, that a unit sees
    sight: Sight | None = None              # the same along rows and columns, with stride and offset


def layer_table(model: nn.Module, image_size: int | tuple[int, int] | None = None, in_chans: int | None = None, *,
                containers: bool = False) -> list[Layer]:
    """The rows of `model`'s table at `image_size` (default: its own). Any module that maps one image batch will do.

    A module that the forward pass uses twice counts its multiply-adds each time and its parameters once. With
    `containers` every module that returns a map has a row; one made of others tells their parameters together, and no
    multiply-adds.
    """
    image = _image(model, image_size, in_chans)
    rows: dict[str, Layer] = {}
    sights = Sights(image)
    names = {module: name for name, module in model.named_modules()}
    own = {module: params(module) for module in names}          # now: inside functional_call no parameter is trainable

    def record(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if not isinstance(output, Tensor) or (module in atoms and not isinstance(args[0], Tensor)):
            return
        name, here = names[module], (0, 0)
        if module in atoms:
            here = _cost(module, args[0], output)
            sights.module(module, args[0], output)
        sight = sights.of(output)
        before = rows.get(name)
        rows[name] = Layer(name, type(module).__name__, tuple(output.shape[1:]), _kernel(module), own[module],
                           here[0] + (before.macs if before else 0), here[1] + (before.connections if before else 0),
                           None if sight is None else max(axis.size for axis in sight), sight)

    atoms = {m for m in model.modules() if isinstance(m, Counted) or not list(m.children())}
    told = [m for m in model.modules() if (m in atoms or containers) and not isinstance(m, nn.Identity)]
    hooks = [module.register_forward_hook(record) for module in told]
    training = model.training
    try:
        model.eval()
        with torch.no_grad(), sights:
            functional_call(_Whole(model) if isinstance(model, Convnet) else model,
                            meta_state(model, "net." if isinstance(model, Convnet) else ""), (image,))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return list(rows.values())


class _Whole(nn.Module):
    """A network with its side classifiers, whose rows begin with 'aux.'."""

    def __init__(self, net: Convnet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> object:
        return self.net.forward_aux(x) if self.net.aux else self.net(x)


def params(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def macs(model: nn.Module, image_size: int | tuple[int, int] | None = None) -> int:
    """Multiply-adds for one image; side classifiers are not counted, for predictions never use them."""
    return sum(layer.macs for layer in layer_table(model, image_size) if not layer.name.startswith("aux."))


def _image(model: nn.Module, image_size: int | tuple[int, int] | None, in_chans: int | None) -> Tensor:
    if isinstance(model, Convnet):
        return meta_image(model, pair(image_size or model.image_size))
    return torch.empty(2, in_chans or 3, *pair(image_size or 224), device="meta")


def _cost(module: nn.Module, x: Tensor, y: Tensor) -> tuple[int, int]:
    """(macs, connections) for one image."""
    if isinstance(module, Counted):
        return module.macs(y), module.connections(y)
    if isinstance(module, nn.ConvTranspose2d):
        work = prod(module.weight.shape[1:]) * x[0].numel()
    elif isinstance(module, nn.Conv2d):
        work = prod(module.weight.shape[1:]) * y[0].numel()
    elif isinstance(module, nn.Linear):
        work = module.in_features * y[0].numel()
    else:
        return 0, 0
    return work, work + (y[0].numel() if module.bias is not None else 0)


def _kernel(module: nn.Module) -> str:
    """'5×5', with '/s' for a stride and ' gN' for groups."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        (high, wide), stride, groups = module.kernel_size, max(module.stride), module.groups
    elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        high, wide = pair(module.kernel_size)
        stride, groups = max(pair(module.stride)), 1
    elif isinstance(module, Counted) and module.reach() != (1, 1):
        high, stride = module.reach()
        wide, groups = high, 1
    else:
        return ""
    return f"{high}×{wide}" + (f"/{stride}" if stride > 1 else "") + (f" g{groups}" if groups > 1 else "")
