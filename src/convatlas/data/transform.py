"""From a picture to a network's input: resize, crop, augment, normalise; every random draw can come from one seed."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..errors import ConvatlasError
from ..run import Augment, Preprocess
from .images import UnreadableImage, to_tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)     # pixels in [0, 1], red green blue

# Eigenvalues and eigenvectors (in columns) of the covariance of ImageNet's red, green and blue, pixels in [0, 1].
# AlexNet (2012, section 4.1) prints none; these are fb.resnet.torch's (2016, datasets/imagenet.lua), widely copied.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)

MAX_PIXELS = 2**26      # of a resized picture; 1×30 000 pixels brought to a height of 256 would have 30 times as many


@dataclass(frozen=True)
class Transform:
    """A picture -> float32 (in_chans, h, w); made by `make_transform`."""

    size: tuple[int, int]               # (h, w)
    in_chans: int
    mean: tuple[float, ...]             # per channel, pixels in [0, 1]
    std: tuple[float, ...]
    crop_pct: float
    interpolation: str
    augment: Augment

    @property
    def random(self) -> bool:
        """False: the same picture gives the same result every time."""
        a = self.augment
        return a.crop != "centre" or a.flip > 0 or a.pca_colour > 0 or a.trivial

    def __call__(self, image: Image.Image | Tensor) -> Tensor:
        """A Pillow image or uint8 (C, H, W) -> float32 (in_chans, h, w); where not random, also (N, C, H, W) at once.

        Random numbers come from torch's global generator. Raises ConvatlasError where the channels do not fit, and
        UnreadableImage where the picture is too elongated to be resized.
        """
        from torchvision.transforms.v2 import functional as F

        pixels = image if isinstance(image, Tensor) else to_tensor(image)
        if pixels.dtype != torch.uint8 or pixels.dim() not in ((3,) if self.random else (3, 4)):
            raise ConvatlasError(f"a picture is uint8 (C, H, W), not {pixels.dtype} {tuple(pixels.shape)}")
        pixels = _channels(pixels, self.in_chans)
        pixels = _CROPS[self.augment.crop](self, pixels)
        if self.augment.flip and torch.rand(()) < self.augment.flip:
            pixels = F.horizontal_flip(pixels)
        if self.augment.trivial:
            pixels = _trivial()(pixels)
        values = pixels.to(torch.float32).div_(255)
        if self.augment.pca_colour:
            values += _colour_noise(self.augment.pca_colour)
        column = (-1, 1, 1)
        return values.sub_(torch.tensor(self.mean).view(column)).div_(torch.tensor(self.std).view(column))

    def seeded(self, image: Image.Image | Tensor, seed: int) -> Tensor:
        """The same, all randomness coming from `seed` (0 to 2⁶³−1); torch's global generator is left as it was."""
        if not self.random:
            return self(image)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)       # torch.manual_seed would re-seed CUDA's generators as well
            return self(image)


def make_transform(
    preprocess: Preprocess, image_size: int | tuple[int, int], in_chans: int, augment: Augment | None = None
) -> Transform:
    """The transform of a network whose input is (in_chans, h, w); without `augment` it is evaluation's, not random.

    `image_size` is (h, w) or one int. One value of `mean` or `std` serves all channels.
    """
    import_module("torchvision.transforms.v2")      # seconds, once: here, and not on the clock of the first batch
    size = (image_size, image_size) if isinstance(image_size, int) else (image_size[0], image_size[1])
    augment = augment or Augment()
    if augment.pca_colour and in_chans != 3:
        raise ConvatlasError(f"augment.pca_colour needs red, green and blue, not {in_chans} channels; set it to 0")
    if augment.trivial and in_chans not in (1, 3):
        raise ConvatlasError(f"augment.trivial works on one or three channels, not on {in_chans}; set it to false")
    std = _per_channel("std", preprocess.std, IMAGENET_STD, in_chans)
    if min(std) <= 0:
        raise ConvatlasError(f"preprocess.std must be above 0, not {std}")
    mean = _per_channel("mean", preprocess.mean, IMAGENET_MEAN, in_chans)
    return Transform(size, in_chans, mean, std, preprocess.crop_pct, preprocess.interpolation, augment)


def _per_channel(
    field: str, values: tuple[float, ...] | None, imagenet: tuple[float, ...], channels: int
) -> tuple[float, ...]:
    if values is None:
        return imagenet if channels == 3 else (0.5,) * channels
    if len(values) not in (1, channels):
        raise ConvatlasError(f"preprocess.{field} has {len(values)} values, but the network takes {channels} channels")
    return tuple(values) * (channels // len(values))


def _channels(pixels: Tensor, wanted: int) -> Tensor:
    """Grey to RGB by repetition, RGB to grey by luminance (ITU-R BT.601), alpha dropped."""
    from torchvision.transforms.v2 import functional as F

    if pixels.shape[-3] == wanted:
        return pixels
    if pixels.shape[-3] == 4:
        pixels = pixels[..., :3, :, :]
    found = pixels.shape[-3]
    if found == 1 and wanted == 3:
        return pixels.repeat_interleave(3, dim=-3)
    if found == 3 and wanted == 1:
        grey: Tensor = F.rgb_to_grayscale(pixels)
        return grey
    if found != wanted:
        raise ConvatlasError(f"the picture has {found} channels, but the network takes {wanted}; say in_chans={found}")
    return pixels


def _resize(pixels: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as F

    if size[0] * size[1] > MAX_PIXELS:
        raise UnreadableImage(f"a picture of {pixels.shape[-2]}×{pixels.shape[-1]} pixels is too long to be resized")
    mode = "nearest-exact" if interpolation == "nearest" else interpolation     # plain 'nearest' is half a pixel off
    resized: Tensor = F.resize(pixels, list(size), interpolation=InterpolationMode(mode), antialias=True)
    return resized


def _fitted(transform: Transform, pixels: Tensor) -> Tensor:
    """Resized so that the field `size / crop_pct` just fits into it: for a square field, by the short side."""
    height, width = pixels.shape[-2:]
    h, w = (max(1, round(side / transform.crop_pct)) for side in transform.size)
    size = (h, h * width // height) if h * width >= w * height else (w * height // width, w)
    return _resize(pixels, size, transform.interpolation)


def _centre_crop(transform: Transform, pixels: Tensor) -> Tensor:
    """Evaluation: fitted, then the centre; black where the picture ends before the crop does."""
    from torchvision.transforms.v2 import functional as F

    cropped: Tensor = F.center_crop(_fitted(transform, pixels), list(transform.size))
    return cropped


def _random_crop(transform: Transform, pixels: Tensor) -> Tensor:
    """Any window of the fitted picture, which is first made as large as the crop and then gets `padding` on each side.

    Of a picture that is fitted to the crop or to less, `padding` is thus the largest shift in pixels.
    """
    from torchvision.transforms.v2 import functional as F

    pixels = _fitted(transform, pixels)
    (h, w), pad = transform.size, transform.augment.padding
    field = [max(pixels.shape[-2], h), max(pixels.shape[-1], w)]
    pixels = F.pad(F.center_crop(pixels, field), [pad])     # black
    top = int(torch.randint(field[0] + 2 * pad - h + 1, ()))
    left = int(torch.randint(field[1] + 2 * pad - w + 1, ()))
    return pixels[..., top : top + h, left : left + w]


def _resized_crop(transform: Transform, pixels: Tensor) -> Tensor:
    """Inception's crop of random area and aspect, brought to the network's size."""
    from torchvision.transforms.v2 import RandomResizedCrop

    a = transform.augment
    crop: dict[str, Any] = RandomResizedCrop(transform.size, scale=a.scale, ratio=a.ratio).make_params([pixels])
    top, left, h, w = crop["top"], crop["left"], crop["height"], crop["width"]
    return _resize(pixels[..., top : top + h, left : left + w], transform.size, transform.interpolation)


_CROPS = {"centre": _centre_crop, "random": _random_crop, "resized": _resized_crop}


@cache
def _trivial() -> Any:
    from torchvision.transforms.v2 import TrivialAugmentWide

    return TrivialAugmentWide()


def _colour_noise(std: float) -> Tensor:
    """What AlexNet adds to every pixel of an image: (3, 1, 1), each component times its eigenvalue times N(0, std²)."""
    factors = torch.randn(3) * std * torch.tensor(EIGENVALUES)
    return (torch.tensor(EIGENVECTORS) @ factors).view(3, 1, 1)
