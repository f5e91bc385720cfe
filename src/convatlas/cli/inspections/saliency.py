"""`convatlas inspect saliency`."""

from typing import Annotated

from .. import console
from ..options import COMMON, Debug, Device, Json, option
from .common import Network, Out, network, save, target
from .image import Picture, seen

TOPIC = "saliency"


def saliency(
    model: Network,
    image: Picture,
    name: Annotated[str | None, option("--class", panel=COMMON, metavar="NAME", help=(
        "What speaks for this class, given by name or number; left out: the likeliest one, of pixels the most "
        "frequent but the background."))] = None,
    layer: Annotated[str | None, option("--layer", "-l", panel=COMMON, metavar="NAME", help=(
        "The layer whose maps Grad-CAM reads; left out: the last stage with more than one pixel."))] = None,
    device: Device = "auto",
    debug: Debug = False,
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw what in an image speaks for a class: gradient, integrated gradients and Grad-CAM (the extra
    `saliency`). Of a network that scores pixels: what speaks for the pixels that it takes for the class.

    [bold]Examples[/]
      convatlas inspect saliency runs/photos cat.jpg
      convatlas inspect saliency runs/photos cat.jpg --class dog --layer stages.2 --out dog.svg
    """
    path = target(out, TOPIC)

    with console.loading():
        from ...engine.distributed import pick
        from ...inspect.saliency import draw
        from ...inspect.saliency import saliency as maps

    net = network(model).to(pick(device))
    x, picture = seen(net, image)
    found = maps(net, x, name, layer)
    save(draw(found, picture, net.name, image.name), path)
    if json:
        console.document({"model": model, "image": str(image), "class": found.target, "probability": found.probability,
                          "predicted": found.predicted, "certainty": found.certainty, "layer": found.layer,
                          "pixels": found.pixels})
        return
    where = "" if found.pixels is None else f", the mean of the {console.exact(found.pixels)} pixels taken for it"
    console.plain(f"{found.target}: {console.percent(found.probability)}{where}")
