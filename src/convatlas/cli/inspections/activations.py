"""`convatlas inspect activations`."""

from typing import Annotated

from .. import console
from ..options import COMMON, Debug, Device, Json, option
from .common import Network, Out, network, save, target
from .image import Picture, seen

TOPIC = "activations"


def activations(
    model: Network,
    image: Picture,
    layers: Annotated[list[str] | None, option("--layer", "-l", panel=COMMON, metavar="NAME", help=(
        "A layer to look at, such as stages.0.1; repeatable. Left out: the stem and every stage."))] = None,
    device: Device = "auto",
    debug: Debug = False,
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw what each stage makes of an image: its most active feature maps, with their sizes.

    [bold]Examples[/]
      convatlas inspect activations runs/photos cat.jpg
      convatlas inspect activations runs/lenet seven.png --layer stages.0.c1 --layer stages.1.c3
    """
    path = target(out, TOPIC)

    with console.loading():
        from ...draw.markup import clipped
        from ...engine.distributed import pick
        from ...inspect.activations import activations as maps
        from ...inspect.activations import draw

    net = network(model).to(pick(device))
    x, picture = seen(net, image)
    found = maps(net, x, layers or ())
    save(draw(found, picture, f"What {net.name} makes of {clipped(image.name, 40)}"), path)
    if json:
        console.document({"model": model, "image": str(image), "layers": [
            {"layer": each.layer, "shape": list(each.values.shape), "activity": each.activity.tolist()}
            for each in found]})
