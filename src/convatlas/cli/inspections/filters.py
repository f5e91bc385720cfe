"""`convatlas inspect filters`."""

from typing import Annotated

from .. import console
from ..options import COMMON, COUNT, OUTPUT, Debug, Json, option
from .common import Network, Out, network, save, target

TOPIC = "filters"


def filters(
    model: Network,
    layer: Annotated[str | None, option("--layer", "-l", panel=COMMON, metavar="NAME", help=(
        "The layer whose kernels to draw, such as stages.0.conv2; left out: the first."))] = None,
    debug: Debug = False,
    limit: Annotated[int, option("--limit", panel=OUTPUT, parser=COUNT, help="Most kernels of a first layer.",
                                 show_default=True)] = 96,
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw the kernels that look at the pixels, as AlexNet's Figure 3; with --layer those of any convolution, channel
    by channel.

    [bold]Examples[/]
      convatlas inspect filters runs/photos
      convatlas inspect filters runs/lenet --layer stages.1.c3 --out table.svg
    """
    path = target(out, TOPIC)

    with console.loading():
        from ...inspect.filters import draw
        from ...inspect.filters import filters as kernels

    net = network(model)
    found = kernels(net, layer)
    save(draw(found, net.name, limit), path)
    if json:
        console.document({"model": model, "layer": found.layer, "shape": list(found.weights.shape), "norms": [
            float(kernel.nan_to_num().norm()) for kernel in found.weights]})
