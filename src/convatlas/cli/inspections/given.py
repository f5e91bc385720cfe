"""The images that a command looks at: files, or labelled ones from data."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import console
from ..paths import pictures

if TYPE_CHECKING:
    from ...data import ImageSet, Source


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


def given(data: str, data_dir: str | None, download: bool) -> "tuple[ImageSet, tuple[str, ...]]":
    """All images in a folder, at any depth, or the training part of any other data, with the names of its classes."""
    from ...data.shards.local import is_shards

    path = Path(data).expanduser()
    if path.is_dir() and not is_shards(path):
        return files(pictures([str(path)])), ()
    source = labeled(data, data_dir, download)
    return source.train, source.classes
