"""`convatlas inspect receptive-field`."""

from typing import TYPE_CHECKING, Annotated, Any

from .. import console
from ..options import COMMON, COUNT, DATA, DATA_HELP, NATURAL, DataDir, Debug, Download, Json, argument, option
from .common import Out, network, save, target
from .given import given, shown
from .summary import ImageSize

if TYPE_CHECKING:
    from torch import Tensor

    from ...inspect.receptive_field import Field
    from ...net.model import Convnet

SHARES = (0.5, 0.9, 0.95)       # of the gradient, in --json


def receptive_field(
    models: Annotated[list[str], argument("MODEL...", "Run folders, files of weights or names of networks, to be drawn "
                                          "side by side.")],
    layer: Annotated[str | None, option("--layer", panel=COMMON, metavar="NAME",
                                        help="Whose unit it is; default: the last stage.")] = None,
    data: Annotated[str | None, option("--data", panel=DATA, metavar="DATA",
                                       help="Average over these images instead of noise. " + DATA_HELP)] = None,
    images: Annotated[int, option("--images", panel=COMMON, parser=COUNT, help="Images to average over.",
                                  show_default=True)] = 16,
    image_size: ImageSize = None,
    largest: Annotated[int | None, option("--largest", panel=COMMON, parser=COUNT, metavar="SIDE",
                                          help="How far noise grows without --image-size, where an image's edge cuts "
                                          "the field; default: twice the network's own size.")] = None,
    seed: Annotated[int, option("--seed", panel=COMMON, parser=NATURAL, help="Of the noise.", show_default=True)] = 0,
    data_dir: DataDir = None,
    download: Download = False,
    out: Out = None,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Draw what a unit in the middle of a map sees of the image: all that it can see, from the layers' shapes, and what
    it does see, measured by gradients (Luo et al. 2016).

    [bold]Examples[/]
      convatlas inspect receptive-field resnet18 vgg16 replknet_31b --images 4
      convatlas inspect receptive-field runs/photos --layer stages.1 --data photos/
    """
    path = target(out, "receptive-field")
    with console.loading():
        from dataclasses import replace

        from ...inspect import receptive_field as look
        from ...inspect.pictures import ending

        fields = []
        for name in models:
            net = network(name)
            real = None if data is None else _pictures(net, name, data, images, data_dir, download)
            field = look.receptive_field(net, layer, real, count=images, image_size=image_size,
                                         largest=largest, seed=seed)
            if field.cut:
                console.warn(f"the edge of the image cuts the field of {name}: it sees more than is told; "
                             + ("give a larger --largest or --image-size" if real is None else "give larger images"))
            # as it was asked for: two runs may be of one network
            fields.append(replace(field, name=ending(name, 30)))
    if json:
        console.document([_plain(field) for field in fields])
    save(look.draw(fields), path)


def _pictures(net: "Convnet", model: str, data: str, count: int, data_dir: str | None, download: bool) -> "Tensor":
    """Inputs (N, C, H, W): the first `count` images that can be read."""
    import torch

    from ...errors import ConvatlasError
    from ...inspect.pictures import inputs
    from ...net.segmenter import Segmenter
    from ...zoo import transforms

    if not isinstance(net, Segmenter):
        found, _ = given(data, data_dir, download)
        return torch.cat([x for _, x in inputs(found, range(min(count, len(found))), transforms(net), count)])
    found, name, transform, _ = shown(net, model, data, data_dir, download)
    windows = [x for _, x in inputs(found, range(min(count, len(found))), transform, 1)]
    if len({x.shape for x in windows}) > 1:
        raise ConvatlasError(f"the images of {name} differ in size, and a field is averaged over images of one: take "
                             "one with --images 1, or crop them")
    return torch.cat(windows)


def _plain(field: "Field") -> dict[str, Any]:
    box = None if field.box is None else [{"first": span.first, "last": span.last, "size": span.size}
                                          for span in field.box]
    return {"name": field.name, "layer": field.layer, "image": list(field.gradient.shape), "theoretical": box,
            "cut": field.cut, "centre": field.center, "effective": {str(share): field.side(share) for share in SHARES}}
