"""Sets of labelled pictures, in memory or on disk, and how one picture file becomes a tensor."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from ..pixels import UnreadableImage as UnreadableImage
from ..pixels import to_array, unreadable
from .jpeg import plain_size

ORIENTATION = 0x0112    # EXIF's tag; 1: as it is


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


class Files:
    """Picture files, decoded when they are read: one path and one label each; `least` as in `read_image`."""

    def __init__(self, paths: Sequence[Path], labels: Tensor, least: int | None = None):
        self.paths = tuple(paths)
        self.labels = _labels(labels, len(paths))
        self.least = least

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> Tensor:
        """The picture as uint8 (1 or 3, H, W); raises UnreadableImage."""
        return read_image(self.paths[index], self.least)

    def name(self, index: int) -> str:
        """The path."""
        return str(self.paths[index])


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
        images, place = self._at(index)
        return images.read(place)

    def name(self, index: int) -> str:
        """The name in its own set."""
        images, place = self._at(index)
        return images.name(place)

    def _at(self, index: int) -> tuple[ImageSet, int]:
        number = bisect_right(self._ends, index)
        return self.sets[number], index - self._ends[number] + len(self.sets[number])


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


def read_image(path: Path, least: int | None = None) -> Tensor:
    """A picture file as uint8 (1 or 3, H, W), turned as its EXIF orientation says; raises UnreadableImage.

    With `least`, a JPEG whose short side is at least four times that is decoded at a half, a quarter or an eighth of
    its size, so that twice `least` remains. Measured for `least` = 256 on textures of 1024×1360 and 2048×2720, then
    resized to 256: 1.3 and 2.2 times as fast, and pixels differ by 0.4 of 255 in the mean, by 3 at most.
    """
    try:
        return decode(path.read_bytes(), least)
    except Exception as error:
        raise unreadable(path, error) from error


def decode(content: bytes, least: int | None = None) -> Tensor:
    """The bytes of a picture file as `read_image` gives them; raises UnreadableImage, and whatever Pillow raises.

    A plain JPEG is decoded by torchvision, which is faster; all others, and those that torchvision fails on, are left
    to Pillow.
    """
    size = plain_size(content)
    if size is not None and (least is None or min(size) < 4 * least):
        pixels = _decoded(content)
        if pixels is not None:
            return pixels
    with Image.open(BytesIO(content)) as image:
        if image.format != "JPEG" or image.mode not in ("L", "RGB"):
            return to_tensor(image)
        whole = image.size
        if least is not None:
            image.draft(None, (2 * least, 2 * least))       # the smallest of 1/1, 1/2, 1/4, 1/8 that is not below
        if image.size != whole or image.getexif().get(ORIENTATION, 1) != 1:
            return to_tensor(image)
        pixels = _decoded(content)
        return to_tensor(image) if pixels is None else pixels


def _decoded(content: bytes) -> Tensor | None:
    """A JPEG by torchvision; None where it lacks a decoder, or the bytes are broken: Pillow then says why."""
    try:
        from torchvision.io import decode_jpeg

        pixels: Tensor = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    except (ImportError, RuntimeError):
        return None
    return pixels


def to_tensor(image: Image.Image) -> Tensor:
    """A Pillow image as uint8: grey kinds (1, H, W), others RGB (3, H, W), without alpha; raises UnreadableImage."""
    pixels = to_array(image)
    if pixels.ndim == 2:
        return torch.from_numpy(pixels)[None]
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _labels(labels: Tensor, count: int) -> Tensor:
    """Classes as int64, other labels as they are; one row per picture."""
    if labels.dim() == 0 or len(labels) != count:
        raise ValueError(f"{count} images need as many labels, not {tuple(labels.shape)}")
    return labels.to(torch.int64) if labels.dim() == 1 else labels
