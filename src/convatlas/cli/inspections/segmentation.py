"""`convatlas inspect segmentation`."""

from pathlib import Path
from typing import Annotated

from .. import console
from ..options import DATA, Debug, Json, argument, option
from .common import Network, Out, network, save, target


def segmentation(
    model: Network,
    image: Annotated[Path, argument("IMAGE", "The image to look at, of any size.")],
    mask: Annotated[Path | None, option(
        "--mask", panel=DATA, metavar="FILE", help="The truth: class numbers, objects, or 0 and 255. With it errors "
        "are drawn.")] = None,
    out: Out = None,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Draw what a network makes of an image's pixels: image, truth, prediction, errors, and how much each pixel weighs
    in training.

    [bold]Examples[/]
      convatlas inspect segmentation runs/unet cell.png
      convatlas inspect segmentation runs/unet images/0007.png --mask labels/0007.png --out cell.svg
    """
    path = target(out, "segmentation")

    with console.loading():
        from ...data.images import read_image
        from ...evaluation.judging import known_at
        from ...net.segmenter import of_pixels
        from ...pixels import Decoding
        from ...segment.guess import for_network
        from ...segment.manifest import reading_of
        from ...segment.pairs import Files
        from ...segment.sheet import draw, look
        from ...zoo import transforms

    net = of_pixels(network(model), "look at it with `convatlas inspect saliency`")
    truth = instances = None
    if mask is not None:
        where = Path(model).expanduser()
        reading = reading_of(known_at(where)) if where.exists() else None
        pair = Files(image.name, (image,), ((mask,),), reading or for_network(mask, net.num_classes))
        truth, instances = pair.classes_of(0), pair.instances_of(0)
    pixels = read_image(image, Decoding(range=transforms(net).range))
    seen = look(net, pixels, truth, name=image.name, instances=instances)
    save(draw([seen], net.card.classes), path)
    if json:
        names = net.card.classes or tuple(map(str, range(net.num_classes)))
        console.document({"model": model, "image": str(image), "size": list(seen.prediction.shape), "pixels": {
            name: int((seen.prediction == number).sum()) for number, name in enumerate(names)}, "right": None
            if seen.truth is None else float((seen.prediction == seen.truth)[seen.truth != 255].double().mean())})
