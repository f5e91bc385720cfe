"""Batches of labelled images for one process: from shards by `StreamLoader`, from everything else by `Loader`."""

from typing import Literal

from ..errors import ConvatlasError
from ..run import Data
from .images import ImageSet
from .loader import Loader
from .shards.stream import Stream
from .shards.stream_loader import StreamLoader
from .transform import Transform


def batches(images: ImageSet, transform: Transform, batch_size: int, data: Data, *,
            rank: int, world: int, least: int = 1, seed: int = 0, shuffle: bool = False,
            sampling: Literal["all", "balanced"] = "all") -> Loader | StreamLoader:
    """Process `rank`'s share, of `world` processes, read as `data` says (workers, strict); no batch has fewer than
    `least` images.
    """
    if isinstance(images, Stream):
        if sampling == "balanced":
            raise ConvatlasError("data.sampling = balanced takes any image at any time, and shards are read one after "
                                 "the other: weigh the classes with loss.class_weights=balanced instead")
        return StreamLoader(images, transform, batch_size, least=least, seed=seed, shuffle=shuffle, rank=rank,
                            world=world, workers=data.workers, strict=data.strict)
    return Loader(images, transform, batch_size, least=least, seed=seed, shuffle=shuffle, sampling=sampling, rank=rank,
                  world=world, workers=data.workers, strict=data.strict)
