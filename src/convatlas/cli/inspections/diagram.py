"""`convatlas inspect diagram`."""

from pathlib import Path
from typing import TYPE_CHECKING

from .. import console
from ..options import Debug, Json
from .common import Network, Out, network, save, target

if TYPE_CHECKING:
    from ...net.model import Convnet

TOPIC = "diagram"


def diagram(model: Network, out: Out = None, debug: Debug = False, json: Json = False) -> None:
    """Draw a network as papers do: its maps to scale, repeats folded, and what is inside each kind of block. A
    segmenter is drawn as a U. Where blocks of one kind differ in width, the widths are listed from first to last.

    [bold]Examples[/]
      convatlas inspect diagram resnet50 --out resnet50.svg
      convatlas inspect diagram unet
      convatlas inspect diagram runs/lenet --out lenet.pdf
    """
    path = target(out, TOPIC)

    with console.loading():
        from ...inspect.anatomy import anatomy
        from ...inspect.diagram import draw

    found = anatomy(_shape(model))
    save(draw(found), path)
    if json:
        console.document({"model": model, "image": list(found.size), "params": found.params, "macs": found.macs,
                          "units": [{"stage": unit.stage, "block": unit.is_block, "repeat": unit.repeat,
                                     "channels": unit.channels, "size": unit.size, "stride": unit.stride}
                                    for unit in found.units],
                          "links": [{"from": link.source, "to": link.target, "through": link.through}
                                    for link in found.links]})


def _shape(text: str) -> "Convnet":
    """The network; of a mere name only its shapes, for no weight is looked at."""
    import torch

    from ... import zoo  # noqa: F401 - which knows the architectures
    from ...net import registry
    from ...net.described import names_file

    if Path(text).expanduser().exists() and not names_file(text):
        return network(text)
    with torch.device("meta"):
        return registry.build(text)
