"""The layer table: shapes, parameters, multiply-adds, LeCun's connections and receptive fields, on the meta device.

Multiply-adds are those of convolutions, linear layers and other matrix products, one per weight and output position,
for one image; pooling, normalisation, activation and biases are not counted, as in the papers. Products that no count
is known of are named.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized
from torch.utils._python_dispatch import TorchDispatchMode

from ..parts import Counted
from .model import Convnet, meta_image, meta_state, pair
from .receptive import Sight, Sights, tensors

# kinds with weights
WEIGHTED = ("Conv2d", "SameConv2d", "ConvTranspose2d", "Linear", "TableConv2d", "LocalConv2d", "RBF")


@dataclass(frozen=True)
class Layer:
    """One row: one run of a module that computes."""

    name: str                       # in the model: 'stages.0.c1'
    kind: str                       # its type
    output: tuple[int, ...]         # without the batch
    kernel: str                     # '5×5', '11×11/4', '3×3/2 g2', or ''
    params: int                     # trainable parameters of its own
    macs: int
    connections: int                # links into its units, a bias link per unit included (LeCun's count)
    receptive_field: int | None = None      # pixels of the input, along one side, that a unit sees
    sight: Sight | None = None              # the same along rows and columns, with stride and offset
    uncounted: tuple[str, ...] = ()         # operations that multiply and are not in `macs`: 'aten._fft_r2c'


def layer_table(model: nn.Module, image_size: int | tuple[int, int] | None = None, in_chans: int | None = None, *,
                containers: bool = False) -> list[Layer]:
    """The rows of `model`'s table at `image_size` (default: its own). Any module that maps one image batch will do.

    Rows stand in the order in which they end. A module that the forward pass uses twice has a row for each time, with
    its multiply-adds, and its parameters in the first. A module made of others has a row if it multiplies something
    itself. With `containers` every module that returns a map has one; one made of others tells their parameters
    together, and no multiply-adds but its own.
    """
    image = _image(model, image_size, in_chans)
    rows: list[tuple[nn.Module, Layer]] = []
    atoms = _atoms(model)
    sights, work = Sights(image), Work(image, atoms, model)
    names = {module: name for name, module in model.named_modules()}
    told = {m for m in model.modules() if (m in atoms or containers) and not isinstance(m, nn.Identity)}

    def record(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        work.inside.pop()
        if module in atoms and isinstance(output, Tensor) and args and isinstance(args[0], Tensor):
            sights.module(module, args[0], output)
            if isinstance(module, Counted):
                work.add(module, module.macs(output), module.connections(output))
        told_here = module in told and isinstance(output, Tensor) and (
            module not in atoms or (bool(args) and isinstance(args[0], Tensor)))
        macs, connections = work.taken(module)
        if not told_here and not macs and module not in work.uncounted:
            return
        found = next(tensors(output), None)
        sight = None if found is None else sights.of(found)
        rows.append((module, Layer(
            names[module], _kind(module), () if found is None else tuple(found.shape[1:]), _kernel(module), 0, macs,
            connections, None if sight is None else max(axis.size for axis in sight), sight)))

    hooks = [hook for module in names for hook in (
        module.register_forward_pre_hook(lambda module, _: work.inside.append(module)),
        module.register_forward_hook(record))]
    training = {module: module.training for module in names}
    try:
        model.eval()
        with torch.no_grad(), work, sights:
            functional_call(_Whole(model) if isinstance(model, Convnet) else model,
                            meta_state(model, "net." if isinstance(model, Convnet) else ""), (image,))
    finally:
        for module, mode in training.items():
            module.training = mode
        for hook in hooks:
            hook.remove()
    own = {module: params(module) for module, _ in rows}        # now: in functional_call no parameter is trainable
    left = {module: count if module in told else count - sum(
        own[each] for each in module.modules() if each in own and each is not module) for module, count in own.items()}
    return [replace(row, params=left.pop(module, 0), uncounted=tuple(sorted(work.uncounted.get(module, ()))))
            for module, row in rows]


def _atoms(model: nn.Module) -> set[nn.Module]:
    """The modules that are not looked into: leaves, those that count themselves, and parametrised ones."""
    closed = [m for m in model.modules() if isinstance(m, Counted) or is_parametrized(m)]
    inside = {each for module in closed for each in module.modules() if each is not module}
    return {m for m in model.modules() if m not in inside and (m in closed or not list(m.children()))}


class Work(TorchDispatchMode):      # type: ignore[no-untyped-call]
    """While active: the multiply-adds of products that read what descends from `image`, by the module that runs them.

    Matrix products, convolutions and attention are counted as `torch.utils.flop_counter` does, whoever calls them.
    What computes products that it knows no count of is noted by name in `uncounted`.
    """

    def __init__(self, image: Tensor, atoms: set[nn.Module], model: nn.Module) -> None:
        super().__init__()      # type: ignore[no-untyped-call]
        from torch.utils.flop_counter import flop_registry  # imports triton, a fifth of a second that few need

        self.registry = flop_registry
        self.atoms, self.inside = atoms, [model]
        self.macs, self.connections = Counter[nn.Module](), Counter[nn.Module]()    # of the whole batch
        self.uncounted: dict[nn.Module, set[str]] = {}
        self.told = Counter[nn.Module](), Counter[nn.Module]()      # of these, what `taken` gave
        self.batch, self.known = len(image), {id(image): image}                     # which keeps ids alive

    def add(self, module: nn.Module, macs: int, connections: int) -> None:
        """Count so much more per image."""
        self.macs[module] += macs * self.batch
        self.connections[module] += connections * self.batch

    def taken(self, module: nn.Module) -> tuple[int, int]:
        """Multiply-adds and connections of the module's last run, for one image."""
        now = self.macs[module], self.connections[module]
        last = [(count - told[module]) // self.batch for count, told in zip(now, self.told, strict=True)]
        for told, count in zip(self.told, now, strict=True):
            told[module] = count
        return last[0], last[1]

    def __torch_dispatch__(self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if any(id(tensor) in self.known for tensor in tensors((args, kwargs))):
            self.known |= {id(tensor): tensor for tensor in tensors(out)}
            self._count(func, args, kwargs, out)
        return out

    def _count(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        # what runs inside an atom is the atom's
        module = next((each for each in self.inside if each in self.atoms), self.inside[-1])
        if isinstance(module, Counted):
            return
        packet = func.overloadpacket
        name = packet.__name__
        if packet in self.registry:
            macs = self.registry[packet](*args, **kwargs, out_val=out) // 2
        elif name in VECTORS:
            macs = args[VECTORS[name]].numel()
        else:
            if func.namespace not in ("aten", "prims", "prim") or any(word in name for word in PRODUCTS):
                self.uncounted.setdefault(module, set()).add(str(packet))
            return
        self.macs[module] += macs
        self.connections[module] += macs + (next(tensors(out)).numel() if _with_bias(module, name, args) else 0)


#   products with a vector: which argument has as many elements as there are multiplications
VECTORS = {"mv": 0, "addmv": 1, "dot": 0, "vdot": 0}
#   parts of the names of torch's operations that multiply and are not counted
PRODUCTS = ("fft", "lstm", "gru", "rnn", "cdist", "trilinear", "linalg", "multi_head_attention", "transformer_encoder",
            "quantized", "sparse", "embedding_bag", "mkldnn", "grid_sampler")


def _with_bias(module: nn.Module, name: str, args: tuple[Any, ...]) -> bool:
    """True if the product has a bias: the layer's own, or one that is added with it."""
    if isinstance(module, _ConvNd | nn.Linear):
        return module.bias is not None
    return name.startswith("addm") or (name == "convolution" and args[2] is not None)


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
    """Multiply-adds for one image; side classifiers are not counted, for predictions never use them, nor what the
    layer table names as uncounted.
    """
    return sum(layer.macs for layer in layer_table(model, image_size) if not layer.name.startswith("aux."))


def _image(model: nn.Module, image_size: int | tuple[int, int] | None, in_chans: int | None) -> Tensor:
    if isinstance(model, Convnet):
        return meta_image(model, pair(image_size or model.image_size))
    return torch.empty(2, in_chans or 3, *pair(image_size or 224), device="meta")


def _kind(module: nn.Module) -> str:
    """Its type; of a parametrised layer, for which torch makes a type of its own, that of the layer."""
    return (type(module).__bases__[0] if is_parametrized(module) else type(module)).__name__


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
