"""`convatlas inspect gates`."""

from typing import TYPE_CHECKING, Annotated

from .. import console
from ..options import (
    COMMON,
    COUNT,
    DATA,
    DATA_HELP,
    BatchSize,
    DataDir,
    Debug,
    Device,
    Download,
    Json,
    argument,
    option,
)
from .common import Network, Out, network, save, target
from .given import labeled

if TYPE_CHECKING:
    from ...inspect.gates import Gates

TOPIC = "gates"


def gates(
    model: Network,
    data: Annotated[str, argument("DATA", DATA_HELP)],
    classes: Annotated[list[str] | None, option("--class", panel=COMMON, metavar="NAME", help=(
        "A class to draw beside all of them; repeatable. Left out: the first four."))] = None,
    layers: Annotated[list[str] | None, option("--layer", "-l", panel=COMMON, metavar="NAME", help=(
        "A squeeze-and-excitation to draw; repeatable. Left out: the last of each stage."))] = None,
    data_dir: DataDir = None,
    download: Download = False,
    count: Annotated[int | None, option("--count", "-n", panel=DATA, parser=COUNT, help=(
        "How many images, spread evenly; left out: the whole validation part."))] = None,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    debug: Debug = False,
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw the factors by which squeeze-and-excitation weighs channels, class by class and over all classes (Hu et al.
    2018).

    [bold]Examples[/]
      convatlas inspect gates runs/se_resnet cifar10 --data-dir ~/data
      convatlas inspect gates runs/se_resnet photos/ --class cat --class dog --layer stages.2.1.branch.se
    """
    path = target(out, TOPIC)

    with console.loading():
        from ...engine.distributed import pick
        from ...inspect.gates import draw
        from ...inspect.gates import gates as factors
        from ...net.segmenter import of_images
        from ...zoo import transforms

    net = network(model).to(pick(device))
    of_images(net, "its images have no class to draw gates of; look at it with `convatlas inspect activations --layer`")
    source = labeled(data, data_dir, download, [model])
    found = factors(net, source.val, source.classes, transforms(net), count=count, batch_size=batch_size)
    save(draw(found, f"Gates of {net.name} on {source.name}", classes or (), layers or ()), path)
    if json:
        console.document({"model": model, "data": source.name, "layers": [_plain(each) for each in found]})


def _plain(gates: "Gates") -> dict[str, object]:
    rows = zip(gates.classes, gates.counts.tolist(), gates.mean.tolist(), gates.std.tolist(), strict=True)
    return {"layer": gates.layer, "mean": gates.all_mean.tolist(), "std": gates.all_std.tolist(),
            "classes": [{"class": name, "images": count, "mean": mean, "std": std} for name, count, mean, std in rows]}
