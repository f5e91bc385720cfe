"""`convatlas inspect summary`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from rich.markup import escape

from .. import console
from ..options import COMMON, COUNT, Debug, Json, argument, option
from .common import network

if TYPE_CHECKING:
    from ...inspect.memory import Memory
    from ...inspect.summary import Row, Summary
    from ...net.model import Convnet

BatchSize = Annotated[int, option("--batch-size", "-b", panel=COMMON, parser=COUNT, help="Images in a batch.",
                                  show_default=True)]
ImageSize = Annotated[int | None, option(
    "--image-size", panel=COMMON, parser=COUNT, help="Side of the images in pixels; default: the network's own.")]


def summary(
    model: Annotated[str, argument("MODEL", "A network's name (convatlas list), a run folder or a file of weights.")],
    batch_size: BatchSize = 32,
    image_size: ImageSize = None,
    depth: Annotated[int, option("--depth", panel=COMMON, parser=COUNT, help="Levels of the tree to show.",
                                 show_default=True)] = 2,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Show a network as a tree: shapes, parameters, multiply-adds, memory, receptive fields, and each one's share of
    the whole; then the memory that predicting and training need at most, predicted without running the network.

    [bold]made[/]: memory that a batch takes in a layer's forward pass; [bold]kept[/]: what of it training keeps for the
    backward pass. [bold]sees[/]: pixels of the image, along one side, that a unit sees; unit i sees them from stride ·
    i + offset on.

    [bold]Examples[/]
      convatlas inspect summary resnet50
      convatlas inspect summary lenet5 --depth 3 --batch-size 256
      convatlas inspect summary efficientnet_b7 --image-size 300 --json
    """
    with console.loading():
        from ...inspect.summary import summary as look
        from ...zoo import recipe_for

        net = shape(model)
        optim = recipe_for(net.name).optim
        found = look(net, batch_size, image_size, optim)
    if json:
        console.document(_plain(found, optim.name))
        return
    console.out.print(f"[bold cyan]{escape(found.name)}[/] on images of {'×'.join(map(str, found.image))}")
    console.out.print(_tree(found, depth))
    console.out.print(peaks(found.memory, optim.name))
    tell_uncounted(found)


def tell_uncounted(found: "Summary") -> None:
    """A warning that names what is not in the multiply-adds."""
    if found.uncounted:
        console.warn(f"not counted in macs: {', '.join(found.uncounted)}")


def shape(text: str) -> "Convnet":
    """The network that `text` names; a registered one without weights, on the meta device, for what follows from shapes
    alone.
    """
    import torch

    from ...net import registry
    from ...net.described import names_file
    from ...zoo import create_model

    if text not in registry.VARIANTS and text not in registry.ALIASES and not names_file(text):
        return network(text)
    with torch.device("meta"):
        return create_model(text)


def sight(seen: Sequence[Sequence[int]] | None) -> tuple[str, str, str]:
    """(pixels, stride, offset) of a receptive field, each as one number where rows and columns are alike; of both sides
    it reads (stride, low, high).
    """
    if seen is None:
        return "–", "–", "–"
    rows, columns = ((str(high - low + 1), str(stride), str(low)) for stride, low, high in seen)
    size, stride, offset = (a if a == b else f"{a}×{b}" for a, b in zip(rows, columns, strict=True))
    return size, stride, offset


def size(count: int) -> str:
    """Bytes: 1536 as '1.5 KiB'."""
    value, units = float(count), ["B", "KiB", "MiB", "GiB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.3g} {units[0]}" if value < 1000 else f"{value:.0f} {units[0]}"


def peaks(memory: "Memory", optimizer: str) -> str:
    """Peak memory of a batch, in two lines."""
    images, them = (f"{memory.batch_size} images at once", "them") if memory.batch_size > 1 else ("1 image", "it")
    parts = {"weights": memory.weights, "gradients": memory.gradients, f"state of {optimizer}": memory.states,
             "activations kept": sum(memory.kept.values()), "images": memory.images}
    return (f"memory at most: [bold]{size(memory.inference)}[/] to predict {images}, "
            f"[bold]{size(memory.training)}[/] to train on {them}\n  "
            + " · ".join(f"{name} {size(part)}" for name, part in parts.items()) + "\n")


def _tree(found: "Summary", depth: int) -> Any:
    table = console.table("layer", "type", "output", ">params", ">%", ">macs", ">%", ">made", ">%", ">kept", ">sees",
                          ">stride", ">offset")
    for row in found.rows:
        if row.depth < depth:
            table.add_row(*_cells(found, row), style="" if row.depth else "bold")
    table.add_section()
    table.add_row("total", "", "", console.exact(found.params), "", console.exact(found.macs), "", size(found.made), "",
                  size(sum(found.memory.kept.values())), style="bold")
    return table


def _cells(found: "Summary", row: "Row") -> list[str]:
    share = {name: f"{100 * part:.1f}" if part else "" for name, part in found.share(row).items()}
    kind = f"{row.kind} {row.kernel}".rstrip()
    return ["  " * row.depth + escape(row.name), kind, "×".join(map(str, row.output)),
            console.exact(row.params) if row.params else "", share["params"],
            console.exact(row.macs) if row.macs else "", share["macs"],
            size(row.made) if row.made else "", share["made"], size(row.kept) if row.kept else "", *sight(row.sight)]


def _plain(found: "Summary", optimizer: str) -> dict[str, Any]:
    needs = found.memory
    return {
        "name": found.name, "image": found.image, "params": found.params, "macs": found.macs,
        "uncounted": found.uncounted, "batch_size": needs.batch_size,
        "memory": {"predicting": needs.inference, "training": needs.training, "optimizer": optimizer,
                   "weights": needs.weights, "images": needs.images, "gradients": needs.gradients,
                   "states": needs.states, "made": found.made, "kept": sum(needs.kept.values())},
        "layers": [_layer(found, row) for row in found.rows],
    }


def _layer(found: "Summary", row: "Row") -> dict[str, Any]:
    seen = None if row.sight is None else [{"size": axis.size, "stride": axis.stride, "offset": axis.low}
                                           for axis in row.sight]
    return {"name": row.name, "depth": row.depth, "type": row.kind, "kernel": row.kernel, "output": row.output,
            "params": row.params, "macs": row.macs, "made": row.made, "kept": row.kept,
            "share": found.share(row), "sees": seen}
