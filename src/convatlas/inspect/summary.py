"""A network as a tree: shapes, parameters, multiply-adds, memory and receptive fields of every module, and the share of
each.

Nothing is run: all of it follows from shapes, on the meta device.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from ..errors import ConvatlasError, nearest
from ..net.layers import Layer, layer_table, params
from ..net.model import Convnet, pair
from ..net.receptive import Sight
from ..run import Optim
from .memory import Memory, memory

SIDE = "aux."       # modules of side classifiers, which a prediction does not run


@dataclass(frozen=True)
class Row:
    """One module that returns a map or a vector; what it holds is counted in it too."""

    name: str                   # 'stages.0.c1'
    depth: int                  # rows that it lies in
    kind: str                   # its type
    kernel: str                 # '3×3/2 g32', or ''
    output: tuple[int, ...]     # (C, H, W) or (C,)
    params: int                 # trainable
    macs: int                   # for one image
    made: int                   # bytes that its forward pass makes for the batch; what works in place makes none
    kept: int                   # bytes of these that training keeps for the backward pass
    sight: Sight | None         # what of the image a unit sees; None where that does not move with the unit


@dataclass(frozen=True)
class Summary:
    """A network's rows in the order of its modules, and what a batch needs."""

    name: str
    image: tuple[int, int, int]     # (C, H, W)
    rows: tuple[Row, ...]
    params: int
    macs: int                       # for one image, without side classifiers
    memory: Memory
    uncounted: tuple[str, ...] = ()     # operations that multiply and are not in `macs`: 'aten._fft_r2c in stages.0'

    @cached_property
    def made(self) -> int:
        """Bytes that the forward pass of training makes for the batch."""
        return sum(self.memory.made.values())

    def share(self, row: Row) -> dict[str, float]:
        """The row's share of the network's parameters, multiply-adds and memory, each from 0 to 1."""
        wholes = {"params": self.params, "macs": self.macs, "made": self.made}
        return {column: getattr(row, column) / whole if whole else 0.0 for column, whole in wholes.items()}

    def row(self, name: str) -> Row:
        """The row of that module; ConvatlasError with the nearest names where there is none."""
        found = next((row for row in self.rows if row.name == name), None)
        if found is None:
            raise ConvatlasError(f"{self.name} has no layer {name!r}{nearest(name, [row.name for row in self.rows])}")
        return found


def summary(model: Convnet, batch_size: int = 32, image_size: int | tuple[int, int] | None = None,
            optim: Optim | None = None) -> Summary:
    """The tree of `model` for images of `image_size` (default: its own) in batches of `batch_size`, trained with
    `optim`.
    """
    size = pair(image_size or model.image_size)
    needs = memory(model, batch_size, size, optim)
    layers: dict[str, Layer] = {}
    for layer in layer_table(model, size, containers=True):
        layer = replace(layer, name=layer.name.removeprefix("net."))
        again = layers.get(layer.name)      # of a module that runs several times, with the map of its first run
        layers[layer.name] = layer if again is None else replace(again, macs=again.macs + layer.macs)
    inside = {name: [other for other in layers if other == name or other.startswith(name + ".")] for name in layers}
    order = [name for name, _ in model.named_modules() if name in layers and name]
    rows = tuple(
        Row(name, sum(name.startswith(other + ".") for other in order), layers[name].kind, layers[name].kernel,
            layers[name].output, layers[name].params, sum(layers[other].macs for other in inside[name]),
            _inside(needs.made, name), _inside(needs.kept, name), layers[name].sight) for name in order)
    macs = sum(layer.macs for layer in layers.values() if not layer.name.startswith(SIDE))
    uncounted = tuple(f"{each} in {layer.name or model.name}" for layer in layers.values() for each in layer.uncounted)
    return Summary(model.name, (model.in_chans, *size), rows, params(model), macs, needs, uncounted)


def stages(found: Summary) -> list[Row]:
    """The rows that lie in no other: stem, stages, head and side classifiers."""
    return [row for row in found.rows if not row.depth]


def _inside(sizes: dict[str, int], name: str) -> int:
    return sum(size for owner, size in sizes.items() if owner == name or owner.startswith(name + "."))
