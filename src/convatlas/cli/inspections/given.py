"""The images that a command looks at: files, or labelled ones from data."""

from collections.abc import Sequence
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


def labeled(data: str, data_dir: str | None, download: bool) -> "Source":
    """The data of that name, nothing of it held out where it has no validation part; its notes are told."""
    from ...data import open_data
    from ...run import Data

    source = open_data(Data(source=data, data_dir=data_dir, download=download), for_eval=True)
    for note in source.notes:
        console.plain(note, to=console.err)
    return source


def given(data: str, data_dir: str | None, download: bool) -> "tuple[ImageSet, tuple[str, ...]]":
    """All images in a folder, at any depth, or the training part of any other data, with the names of its classes."""
    from ...data.shards.local import is_shards

    path = Path(data).expanduser()
    if path.is_dir() and not is_shards(path):
        return files(pictures([str(path)])), ()
    source = labeled(data, data_dir, download)
    return source.train, source.classes
