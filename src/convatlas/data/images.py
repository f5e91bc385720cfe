"""Sets of labelled pictures, in memory or on disk, and how one picture file becomes a tensor."""

from bisect import bisect_right
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..pixels import AS_IT_IS, Decoding, Range, decode, to_array
from ..pixels import UnreadableImage as UnreadableImage


class ImageSet(Protocol):
    """A set of labelled pictures that is read one at a time."""

    @property
    def labels(self) -> Tensor:
        """The pictures' labels: their class, int64 (N,); each of several labels, float32 (N, K) of 0 and 1; or (N, …).
        """
        ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> Tensor:
        """The picture as uint8 (C, H, W); raises UnreadableImage."""
        ...

    def name(self, index: int) -> str:
        """The picture's name: a path, or 'digits[17]'."""
        ...


class Tensors:
    """Pictures in memory: uint8 (N, C, H, W), labels (N, …)."""

    def __init__(self, images: Tensor, labels: Tensor, name: str = "image"):
        if images.dtype != torch.uint8 or images.dim() != 4:
            raise ValueError(f"images must be uint8 (N, C, H, W), not {images.dtype} {tuple(images.shape)}")
        self.images = images.contiguous()
        self.labels = _labels(labels, len(images))
        self._name = name

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> Tensor:
        """The picture as uint8 (C, H, W)."""
        return self.images[index]

    def name(self, index: int) -> str:
        """`digits[17]`."""
        return f"{self._name}[{index}]"


class Encoded:
    """Pictures that are decoded when they are read, as `how` says."""

    how: Decoding = AS_IT_IS

    def encoded(self, index: int) -> Path | bytes | None:
        """The picture's file, or its bytes; None where it cannot be had by itself."""
        return None


class Files(Encoded):
    """Picture files: one path and one label each."""

    def __init__(self, paths: Sequence[Path], labels: Tensor, how: Decoding = AS_IT_IS):
        self.paths = tuple(paths)
        self.labels = _labels(labels, len(paths))
        self.how = how

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> Tensor:
        """The picture as uint8 (1 or 3, H, W); raises UnreadableImage."""
        return read_image(self.paths[index], self.how)

    def name(self, index: int) -> str:
        """The path."""
        return str(self.paths[index])

    def encoded(self, index: int) -> Path:
        """The path."""
        return self.paths[index]


class Subset:
    """Some pictures of another set: number i is number `indices[i]` of `base`."""

    def __init__(self, base: ImageSet, indices: Tensor):
        self.base = base
        self.indices = indices.to(torch.int64)
        self.labels = base.labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int) -> Tensor:
        """The picture as uint8 (C, H, W); raises UnreadableImage."""
        return self.base.read(int(self.indices[index]))

    def name(self, index: int) -> str:
        """The name in `base`."""
        return self.base.name(int(self.indices[index]))


class Joined:
    """Several sets of pictures as one, one after the other."""

    def __init__(self, sets: Sequence[ImageSet]):
        self.sets = tuple(sets)
        self.labels = torch.cat([images.labels for images in sets])
        self._ends = list(accumulate(map(len, sets)))

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, index: int) -> Tensor:
        """The picture as uint8 (C, H, W); raises UnreadableImage."""
        images, place = self.at(index)
        return images.read(place)

    def name(self, index: int) -> str:
        """The name in its own set."""
        images, place = self.at(index)
        return images.name(place)

    def at(self, index: int) -> tuple[ImageSet, int]:
        """The set that a picture is in, and its number there."""
        number = bisect_right(self._ends, index)
        return self.sets[number], index - self._ends[number] + len(self.sets[number])


def decoded_as(images: ImageSet, how: Decoding) -> ImageSet:
    """The same pictures, decoded as `how` says; those in memory are already."""
    if isinstance(images, Joined):
        return Joined([decoded_as(each, how) for each in images.sets])
    if not isinstance(images, Subset | Encoded):
        return images
    other = copy(images)
    if isinstance(other, Subset):
        other.base = decoded_as(other.base, how)
    else:
        other.how = how
    return other


def ranged(images: ImageSet, span: Range | None) -> ImageSet:
    """The same pictures, whose values of more than 8 bits have this range, where it is known."""
    if span is None:
        return images
    if isinstance(images, Joined):
        return Joined([ranged(each, span) for each in images.sets])
    how = images
    while isinstance(how, Subset):
        how = how.base
    return decoded_as(images, how.how._replace(range=span)) if isinstance(how, Encoded) else images


def encoded(images: ImageSet, index: int) -> Path | bytes | None:
    """A picture's file, or its bytes; None of pictures in memory, and of those that cannot be had one by one."""
    if isinstance(images, Subset):
        return encoded(images.base, int(images.indices[index]))
    if isinstance(images, Joined):
        return encoded(*images.at(index))
    return images.encoded(index) if isinstance(images, Encoded) else None


@dataclass(frozen=True)
class Source:
    """Opened data: its classes in the order of the labels, the pictures to learn from and those to be judged on."""

    name: str
    classes: tuple[str, ...]
    train: ImageSet
    val: ImageSet
    notes: tuple[str, ...] = ()         # sentences worth telling the user
    multi_label: bool = False           # labels are float32 (N, K) of 0 and 1: any number of classes per picture
    test: ImageSet | None = None        # the data's own test part; also `val` where there is no validation part
    parted: bool = False                # the parts are the data's own; otherwise `val` was held out of it
    layout: str = ""                    # how the data lies on disk, in some words


def read_image(path: Path, how: Decoding = AS_IT_IS) -> Tensor:
    """A picture file as uint8 (1 or 3, H, W), by the rules of `pixels`; raises UnreadableImage.

    With `how.least`, a JPEG whose short side is at least four times that is decoded at a half, a quarter or an eighth
    of its size, so that twice `least` remains. Measured for `least` = 256 on textures of 1024×1360 and 2048×2720, then
    resized to 256: 1.3 and 2.2 times as fast, and pixels differ by 0.4 of 255 in the mean, by 3 at most.
    """
    return as_tensor(decode(path, how).pixels)


def to_tensor(image: Image.Image, span: Range | None = None) -> Tensor:
    """A Pillow image as uint8: grey kinds (1, H, W), others RGB (3, H, W); `span` is the range of more than 8 bits.

    Raises UnreadableImage.
    """
    return as_tensor(to_array(image, span))


def as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """Pixels (H, W) or (H, W, 3) as (1 or 3, H, W)."""
    if pixels.ndim == 2:
        return torch.from_numpy(pixels)[None]
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _labels(labels: Tensor, count: int) -> Tensor:
    """Classes as int64, other labels as they are; one row per picture."""
    if labels.dim() == 0 or len(labels) != count:
        raise ValueError(f"{count} images need as many labels, not {tuple(labels.shape)}")
    return labels.to(torch.int64) if labels.dim() == 1 else labels
