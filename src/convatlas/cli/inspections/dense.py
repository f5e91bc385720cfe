"""`convatlas inspect dense`."""

from .. import console
from ..options import Debug, Json
from .common import Network, Out, network, save, target

TOPIC = "dense"


def dense(model: Network, debug: Debug = False, out: Out = None, json: Json = False) -> None:
    """Draw which earlier layers the layers of dense blocks read, by their mean absolute weights, as DenseNet's Figure
    5.

    [bold]Examples[/]
      convatlas inspect dense runs/densenet
      convatlas inspect dense runs/densenet --json --out read.svg
    """
    path = target(out, TOPIC)

    with console.loading():
        from ...inspect.dense_weights import dense_weights, draw

    net = network(model)
    found = dense_weights(net)
    save(draw(found, f"What the layers of {net.name} read"), path)
    if json:
        console.document({"model": model, "blocks": [
            {"block": block.name, "read_by": block.reader, "weights": block.weights.tolist()} for block in found]})
