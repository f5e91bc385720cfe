"""One picture file as a network sees it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ..options import argument

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ...net.model import Convnet

Picture = Annotated[Path, argument("IMAGE", "A picture file.")]


def seen(net: "Convnet", path: Path) -> "tuple[Tensor, np.ndarray]":
    """The network's input (C, H, W), and the same as bytes to look at, (h, w) or (h, w, 3); raises UnreadableImage."""
    from ...data import read_image
    from ...inspect.sheet import viewable
    from ...pixels import Decoding
    from ...zoo import transforms

    transform = transforms(net)
    x = transform(read_image(path.expanduser(), Decoding(range=transform.range)))
    return x, viewable(x, transform)
