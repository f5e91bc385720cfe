"""The images that a command looks at: files, or labelled ones from data."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import console
from ..paths import pictures

if TYPE_CHECKING:
    from torch import Tensor

    from ...data import ImageSet, Source
    from ...net.model import Convnet
    from ...segment.pairs import Masked


def files(paths: Sequence[str]) -> "ImageSet":
    """Picture files without labels."""
    import torch

    from ...data import Files

    return Files([Path(path) for path in paths], torch.zeros(len(paths)))


def labeled(data: str, data_dir: str | None, download: bool) -> "Source":
    """The data of that name, nothing of it held out where it has no validation part; its notes are told."""
    from ...data import open_data
    from ...run import Data

    source = open_data(Data(source=data, data_dir=data_dir, download=download), for_eval=True)
    for note in source.notes:
        console.plain(note, to=console.err)
    return source


def shown(net: "Convnet", data: str, data_dir: str | None, download: bool
          ) -> "tuple[ImageSet, str, Callable[[Tensor], Tensor], bool]":
    """Images of the validation part of `data`, the data's name, what makes them the network's input, and whether these
    have one size.

    Of a network that scores pixels they are the images of pairs, as they are: not resized, and no masks.
    """
    from ...net.segmenter import Segmenter
    from ...run import Data
    from ...segment.pairs import open_pairs
    from ...zoo import transforms
    from .image import middle

    if not isinstance(net, Segmenter):
        source = labeled(data, data_dir, download)
        return source.val, source.name, transforms(net), True
    pairs = open_pairs(Data(source=data))
    return _Images(pairs.val), pairs.name, lambda image: middle(net, image), False


class _Images:
    """The images of pairs as a set of pictures."""

    def __init__(self, pairs: "Masked") -> None:
        import torch

        self.pairs, self.labels = pairs, torch.zeros(len(pairs))

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int) -> "Tensor":
        return self.pairs.image(index)

    def name(self, index: int) -> str:
        return self.pairs.file_of(index)


def given(data: str, data_dir: str | None, download: bool) -> "tuple[ImageSet, tuple[str, ...]]":
    """All images in a folder, at any depth, or the training part of any other data, with the names of its classes."""
    from ...data.shards.local import is_shards

    path = Path(data).expanduser()
    if path.is_dir() and not is_shards(path):
        return files(pictures([str(path)])), ()
    source = labeled(data, data_dir, download)
    return source.train, source.classes
