"""The images that a command looks at: files, or labelled ones from data."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import console
from ..paths import pictures

if TYPE_CHECKING:
    from torch import Tensor

    from ...data import ImageSet, Source
    from ...net.model import Convnet


def files(paths: Sequence[str]) -> "ImageSet":
    """Picture files without labels."""
    import torch

    from ...data import Files

    return Files([Path(path) for path in paths], torch.zeros(len(paths)))


def labeled(data: str, data_dir: str | None, download: bool, models: Sequence[str] = ()) -> "Source":
    """The data of that name; what `val` holds is what `convatlas eval` would judge the models on: the test part, else
    the images that a model's run held out, else all. Its notes are told.
    """
    import torch

    from ...engine.distributed import World
    from ...evaluation.judging import judged_on
    from ...run import Data

    config = Data(source=data, data_dir=data_dir, download=download)
    paths = [path for model in models if (path := Path(model).expanduser()).exists()]
    judged = judged_on(paths, config, "auto", World(0, 1, torch.device("cpu")))
    for note in judged.notes:
        console.plain(note, to=console.err)
    return replace(judged.source, val=judged.images)


def shown(net: "Convnet", model: str, data: str, data_dir: str | None, download: bool
          ) -> "tuple[ImageSet, str, Callable[[Tensor], Tensor], bool]":
    """Images of `data` that `convatlas eval` would judge `net`, which `model` names, on, the data's name, what makes
    them the network's input, and whether these have one size.

    Of a network that scores pixels they are the images of pairs, as they are: not resized, and no masks.
    """
    from ...net.segmenter import Segmenter
    from ...pixels import Decoding
    from ...run import Data
    from ...segment.manifest import judged_on
    from ...segment.pairs import Pictures, decoded_as
    from ...zoo import transforms
    from .image import middle

    if not isinstance(net, Segmenter):
        source = labeled(data, data_dir, download, [model])
        return source.val, source.name, transforms(net), True
    path = Path(model).expanduser()
    judged = judged_on(path if path.exists() else None, Data(source=data), "auto")
    for note in judged.notes:
        console.plain(note, to=console.err)
    images = decoded_as(judged.images, Decoding(range=transforms(net).range))
    return Pictures(images), judged.pairs.name, lambda image: middle(net, image), False


def given(data: str, data_dir: str | None, download: bool) -> "tuple[ImageSet, tuple[str, ...]]":
    """All images in a folder, at any depth, or the training part of any other data, with the names of its classes."""
    from ...data.shards.local import is_shards

    path = Path(data).expanduser()
    if path.is_dir() and not is_shards(path):
        return files(pictures([str(path)])), ()
    source = labeled(data, data_dir, download)
    return source.train, source.classes
