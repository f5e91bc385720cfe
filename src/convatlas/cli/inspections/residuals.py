"""`convatlas inspect residuals`."""

from pathlib import Path
from typing import Annotated

from .. import console
from ..options import COUNT, DATA, DATA_HELP, BatchSize, DataDir, Debug, Device, Download, Json, argument, option
from .common import Out, network, save, target
from .given import shown

TOPIC = "residuals"


def residuals(
    models: Annotated[list[str], argument("MODEL", "Run folders, files of weights, or networks' names: one or several "
                                          "to compare.")],
    data: Annotated[str, option("--data", panel=DATA, metavar="DATA", help=DATA_HELP)],
    data_dir: DataDir = None,
    download: Download = False,
    count: Annotated[int, option("--count", "-n", panel=DATA, parser=COUNT, help=(
        "How many images of its validation part, spread evenly."), show_default=True)] = 1000,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    debug: Debug = False,
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw how strongly each layer responds, several networks in one picture, as ResNet's Figure 7: the standard
    deviation of what a convolution gives, after its normalisation and before the nonlinearity.

    [bold]Examples[/]
      convatlas inspect residuals runs/plain20 runs/resnet20 --data cifar10 --data-dir ~/data
      convatlas inspect residuals runs/photos --data photos/ --json
    """
    path = target(out, TOPIC)

    with console.loading():
        from ...engine.distributed import pick
        from ...inspect.residuals import draw
        from ...inspect.residuals import residuals as responses

    found, about = {}, ""
    for text in models:
        net = network(text).to(pick(device))
        name = text if Path(text).name in found else Path(text).name        # two runs may share a name
        images, about, transform, even = shown(net, text, data, data_dir, download)
        found[name] = responses(net, images, transform, count=count, batch_size=batch_size if even else 1)
    save(draw(found), path)
    if json:
        console.document({"data": about, "networks": {
            name: dict(zip(each.layers, each.std.tolist(), strict=True)) for name, each in found.items()}})
