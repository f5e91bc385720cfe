"""One picture file as a network sees it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from .. import console
from ..options import argument

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ...net.model import Convnet
    from ...net.segmenter import Segmenter

MOST = 256      # pixels along a side of what a segmenter with smaller patches is shown
Picture = Annotated[Path, argument("IMAGE", "A picture file.")]


def seen(net: "Convnet", path: Path) -> "tuple[Tensor, np.ndarray]":
    """The network's input (C, H, W), and the same as bytes to look at, (h, w) or (h, w, 3); raises UnreadableImage.

    A network that scores pixels sees them as they are, not resized: of a large image the middle, which is told.
    """
    from ...data import read_image
    from ...inspect.sheet import viewable
    from ...net.segmenter import Segmenter
    from ...pixels import Decoding
    from ...zoo import transforms

    transform = transforms(net)
    image = read_image(path.expanduser(), Decoding(range=transform.range))
    if not isinstance(net, Segmenter):
        x = transform(image)
    else:
        x = middle(net, image)
        if x.shape[1:] != image.shape[1:]:
            had, seen = ("×".join(map(str, of.shape[1:])) for of in (image, x))
            console.plain(f"note: {net.name} is shown the middle {seen} pixels of {had}", to=console.err)
    return x, viewable(x, transform)


def middle(net: "Segmenter", image: "Tensor") -> "Tensor":
    """The middle of an image uint8 (C, H, W) as a segmenter's input: its pixels, normalised, 256 or its own patches'
    side at most.

    A ConvatlasError, if the image is smaller than the least that the network takes.
    """
    from ...data.transform import as_channels
    from ...zoo import transforms

    sides = [min(side, max(own, MOST)) for side, own in zip(image.shape[1:], net.image_size, strict=True)]
    sides = [side - (side - net.rest) % net.step for side in sides]
    net.check_image_size((sides[0], sides[1]))
    top, left = ((have - side) // 2 for have, side in zip(image.shape[1:], sides, strict=True))
    window = image[:, top : top + sides[0], left : left + sides[1]]
    values: Tensor = transforms(net).normalized(as_channels(window, net.in_chans).float().div_(255))
    return values
