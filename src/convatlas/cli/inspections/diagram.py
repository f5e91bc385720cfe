"""`convatlas inspect diagram`."""

from pathlib import Path
from typing import TYPE_CHECKING

from .. import console
from ..options import Debug
from .common import Network, Out, network, save, target

if TYPE_CHECKING:
    from ...net.model import Convnet

TOPIC = "diagram"


def diagram(model: Network, out: Out = None, debug: Debug = False) -> None:
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

    save(draw(anatomy(_shape(model))), path)


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
