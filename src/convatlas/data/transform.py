"""From pictures to a network's input: resize, crop, augment, normalise; one seed per picture decides all that is
random.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

import torch
from PIL import Image
from torch import Tensor

from ..errors import ConvatlasError
from ..pixels import Range
from ..run import Augment, Preprocess
from . import augment as how
from . import randaugment
from .images import UnreadableImage, to_tensor
from .normalization import MEASURED, apply

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


@dataclass(frozen=True, eq=False)
class Transform:
    """Pictures -> float32 (in_chans, h, w); made by `make_transform`.

    In order: channels, resize and crop, flip, policy, colour jitter, all on bytes; then on [0, 1] affine and elastic
    distortion in one resampling, colour noise, normalisation; then erasing.
    """

    size: tuple[int, int]               # (h, w)
    in_chans: int
    mean: tuple[float, ...]             # per channel, pixels in [0, 1]
    std: tuple[float, ...]
    crop_pct: float
    interpolation: str
    augment: Augment
    fit: str                            # preprocess.fit: what normalises in place of `mean` where not "none"
    fitted: Mapping[str, Tensor]        # what data/fitted.py measured for it, and for augment.pca_from = data
    range: Range | None = None          # of pictures that are decoded for it

    @property
    def random(self) -> bool:
        """False: the same picture gives the same result every time."""
        a = self.augment
        return (a.crop != "centre" or a.policy != "none"
                or any([a.flip, *a.affine, a.elastic, *a.jitter, a.pca_colour, a.erase]))

    def __call__(self, image: Image.Image | Tensor) -> Tensor:
        """A Pillow image or uint8 (C, H, W) -> float32 (in_chans, h, w); where not random, also (N, C, H, W) at once.

        Where random, the seed comes from torch's global generator. Raises ConvatlasError where the channels do not fit,
        and UnreadableImage where the picture is too elongated to be resized.
        """
        if isinstance(image, Tensor) and image.dim() == 4 and not self.random:
            return self.batch(image, torch.zeros(len(image), dtype=torch.int64))
        return self.seeded(image, int(torch.randint(2**63 - 1, ())) if self.random else 0)

    def seeded(self, image: Image.Image | Tensor, seed: int) -> Tensor:
        """One picture, all randomness coming from `seed` (0 to 2⁶³−1); torch's global generator is left as it was."""
        pixels = image if isinstance(image, Tensor) else to_tensor(image, self.range)
        if pixels.dim() != 3:
            raise ConvatlasError(f"a picture is uint8 (C, H, W), not {pixels.dtype} {tuple(pixels.shape)}")
        return self.batch(pixels[None], torch.tensor([seed]))[0]

    def batch(self, images: Tensor, seeds: Tensor) -> Tensor:
        """uint8 (n, C, H, W), seeds int64 (n,) -> float32 (n, in_chans, h, w): bit for bit what `seeded` gives of each.
        """
        if images.dtype != torch.uint8 or images.dim() != 4:
            raise ConvatlasError(f"pictures are uint8 (n, C, H, W), not {images.dtype} {tuple(images.shape)}")
        if seeds.dtype != torch.int64 or seeds.shape != images.shape[:1]:
            raise ValueError(f"{len(images)} pictures need as many int64 seeds, not {seeds.dtype} {tuple(seeds.shape)}")
        return self._finished(_CROPS[self.augment.crop](self, as_channels(images, self.in_chans), seeds), seeds)

    def each(self, pictures: Sequence[Tensor], seeds: Tensor) -> tuple[Tensor, dict[int, UnreadableImage]]:
        """Pictures uint8 (C, H, W) of any sizes, seeds int64 (n,): bit for bit what `seeded` gives of each, (m,
        in_chans, h, w).

        Those too elongated to be resized are left out, and come second, by their place. Everything but the crops is
        done to all at once: what is drawn for one picture takes a tenth of its time.
        """
        a = self.augment
        boxes: list[list[int]] = []
        if a.crop == "resized" and pictures:
            sizes = torch.tensor([picture.shape[-2:] for picture in pictures])
            boxes = how.inception_boxes(sizes, a.scale, a.ratio, seeds).tolist()
        crops, kept, refused = [], [], {}
        for place, picture in enumerate(pictures):
            pixels = as_channels(picture[None], self.in_chans)
            try:
                crops.append(_box(self, pixels, boxes[place]) if boxes
                             else _CROPS[a.crop](self, pixels, seeds[place : place + 1]))
                kept.append(place)
            except UnreadableImage as error:
                refused[place] = error
        if not crops:
            return torch.empty(0, self.in_chans, *self.size), refused
        return self._finished(torch.cat(crops), seeds[kept]), refused

    def _finished(self, pixels: Tensor, seeds: Tensor) -> Tensor:
        """The steps after the crop, on uint8 (n, in_chans, h, w)."""
        a = self.augment
        if a.flip:
            pixels = how.mirrored(pixels, a.flip, seeds)
        if a.policy == "randaugment_inc":
            draws = randaugment.drawn(seeds, a.policy_ops, a.policy_magnitude, a.policy_std, a.policy_prob)
            fill = tuple(min(255, round(255 * value)) for value in self.mean)
            pixels = randaugment.operated(pixels, draws, randaugment.Edges(self.interpolation, fill))
        elif a.policy != "none":
            pixels = how.by_policy(pixels, how.make_policy(a.policy, a.policy_ops, a.policy_magnitude), seeds)
        if any(a.jitter):
            pixels = how.jittered(pixels, a.jitter, seeds)
        values = pixels.to(torch.float32).div_(255)
        if any(a.affine) or a.elastic:
            values = how.deform(values, self.displacements(seeds), border=a.padding_mode)
        if a.pca_colour:
            values += how.color_noise(a.pca_colour, *self._components(), seeds)
        values = self.normalized(values)
        return how.erased(values, a.erase, seeds, a.erase_fill) if a.erase else values

    def displacements(self, seeds: Tensor) -> Tensor:
        """The field by which pictures are deformed, in pixels: (n, 2, h, w)."""
        a = self.augment
        field = torch.zeros(len(seeds), 2, *self.size)
        if any(a.affine):
            field += how.affine_field(a.affine, self.size, seeds)
        if a.elastic:
            field += how.displacement(seeds, a.elastic_grid, a.elastic, self.size)
        return field

    def _components(self) -> tuple[Tensor, Tensor]:
        if self.augment.pca_from == "data":
            return self.fitted["pca_values"], self.fitted["pca_vectors"]
        return torch.tensor(EIGENVALUES), torch.tensor(EIGENVECTORS)

    def normalized(self, values: Tensor) -> Tensor:
        """Pixels from 0 to 1, (n, in_chans, h, w), as the network takes them; overwrites `values` where nothing was
        fitted.
        """
        if self.fit != "none":
            return apply(self.fit, values, self.fitted, self.std)
        return values.sub_(torch.tensor(self.mean).view(-1, 1, 1)).div_(torch.tensor(self.std).view(-1, 1, 1))


def make_transform(
    preprocess: Preprocess,
    image_size: int | tuple[int, int],
    in_chans: int,
    augment: Augment | None = None,
    *,
    fitted: Mapping[str, Tensor] | None = None,
) -> Transform:
    """The transform of a network whose input is (in_chans, h, w); without `augment` it is evaluation's, not random.

    `image_size` is (h, w) or one int. One value of `mean` or `std` serves all channels. `fitted` is what data/fitted.py
    measured, where `preprocess.fit` or `augment.pca_from` need it. Raises ConvatlasError where the settings do not fit
    together.
    """
    import_module("torchvision.transforms.v2")      # seconds, once: here, and not on the clock of the first batch
    size = (image_size, image_size) if isinstance(image_size, int) else (image_size[0], image_size[1])
    augment, fitted = augment or Augment(), fitted or {}
    _check(preprocess, augment, in_chans, fitted)
    std = _per_channel("std", (1.0,) if preprocess.std is None and preprocess.fit != "none" else preprocess.std,
                       IMAGENET_STD, in_chans)
    if min(std) <= 0:
        raise ConvatlasError(f"preprocess.std must be above 0, not {std}")
    mean = _per_channel("mean", preprocess.mean, IMAGENET_MEAN, in_chans)
    return Transform(size, in_chans, mean, std, preprocess.crop_pct, preprocess.interpolation, augment,
                     preprocess.fit, fitted, preprocess.range)


def _check(preprocess: Preprocess, a: Augment, channels: int, fitted: Mapping[str, Tensor]) -> None:
    """Raise ConvatlasError at the first setting that cannot be."""
    side, (_, shift, scale, shear) = a.short_side, a.affine
    wrong = {
        f"augment.pca_colour needs red, green and blue, not {channels} channels; set it to 0": a.pca_colour
        and channels != 3,
        f"augment.policy works on one or three channels, not on {channels}; set it to none": a.policy != "none"
        and channels not in (1, 3),
        f"augment.policy_magnitude is of 10 for randaugment_inc, not {a.policy_magnitude}": a.policy
        == "randaugment_inc" and a.policy_magnitude > 10,
        f"augment.jitter works on one or three channels, not on {channels}; set it to 0, 0, 0, 0": any(a.jitter)
        and channels not in (1, 3),
        f"augment.jitter must be at least 0, and its hue at most 0.5, not {a.jitter}": min(a.jitter) < 0
        or a.jitter[3] > 0.5,
        "augment.affine must be at least 0, its shift at most 1, its scale below 1 and its shear below 90 degrees, not "
        f"{a.affine}": min(a.affine) < 0 or scale >= 1 or shear >= 90 or shift > 1,
        f"augment.short_side needs augment.crop = random, not {a.crop}": side and a.crop != "random",
        f"augment.short_side must be two sizes, the smaller one first, not {side}": side
        and not 1 <= side[0] <= side[1],
        f"augment.scale must be two shares of the area, 0 < low <= high <= 1, not {a.scale}": not 0 < a.scale[0]
        <= a.scale[1] <= 1,
        f"augment.ratio must be two aspects, 0 < low <= high, not {a.ratio}": not 0 < a.ratio[0] <= a.ratio[1],
        f"preprocess.fit = {preprocess.fit} needs what was measured on the training images; give `fitted`":
        preprocess.fit in MEASURED and not fitted,
        "augment.pca_from = data needs the colours measured on the training images; give `fitted`":
        a.pca_colour and a.pca_from == "data" and "pca_values" not in fitted,
    }
    for sentence, found in wrong.items():
        if found:
            raise ConvatlasError(sentence)


def _per_channel(
    field: str, values: tuple[float, ...] | None, imagenet: tuple[float, ...], channels: int
) -> tuple[float, ...]:
    if values is None:
        return imagenet if channels == 3 else (0.5,) * channels
    if len(values) not in (1, channels):
        raise ConvatlasError(f"preprocess.{field} has {len(values)} values, but the network takes {channels} channels")
    return tuple(values) * (channels // len(values))


def as_channels(pixels: Tensor, wanted: int) -> Tensor:
    """Grey to RGB by repetition, RGB to grey by luminance (ITU-R BT.601), a fourth channel dropped: of arrays
    nothing says that it is opacity, which files are laid on white by.
    """
    from torchvision.transforms.v2 import functional as F

    if pixels.shape[-3] == wanted:
        return pixels
    if pixels.shape[-3] == 4:
        pixels = pixels[..., :3, :, :]
    found = pixels.shape[-3]
    if found == 1 and wanted == 3:
        return pixels.repeat_interleave(3, dim=-3)
    if found == 3 and wanted == 1:
        gray: Tensor = F.rgb_to_grayscale(pixels)
        return gray
    if found != wanted:
        raise ConvatlasError(f"the picture has {found} channels, but the network takes {wanted}; say in_chans={found}")
    return pixels


def resize(pixels: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """Pixels (…, C, H, W) as (…, C, *size), antialiased; raises UnreadableImage where that is too large."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as F

    if pixels.shape[-2:] == size:
        return pixels
    if size[0] * size[1] > MAX_PIXELS:
        raise UnreadableImage(f"a picture of {pixels.shape[-2]}×{pixels.shape[-1]} pixels is too long to be resized")
    mode = "nearest-exact" if interpolation == "nearest" else interpolation     # plain 'nearest' is half a pixel off
    resized: Tensor = F.resize(pixels, list(size), interpolation=InterpolationMode(mode), antialias=True)
    return resized


def _covering(size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """The size (h, w) at the same aspect that just covers `box`: by the short side where that is square."""
    (height, width), (h, w) = size, box
    return (h, h * width // height) if h * width >= w * height else (w * height // width, w)


def covering(transform: Transform, pixels: Tensor, box: tuple[int, int]) -> Tensor:
    """Resized at the same aspect, so that it just covers `box` (h, w)."""
    return resize(pixels, _covering((pixels.shape[-2], pixels.shape[-1]), box), transform.interpolation)


def _fitted(transform: Transform, pixels: Tensor) -> Tensor:
    """Resized so that the field `size / crop_pct` just fits into it."""
    h, w = (max(1, round(side / transform.crop_pct)) for side in transform.size)
    return covering(transform, pixels, (h, w))


def _center_crop(transform: Transform, pixels: Tensor, seeds: Tensor) -> Tensor:
    """Evaluation: fitted, then the centre; black where the picture ends before the crop does."""
    return how.centered(_fitted(transform, pixels), transform.size)


def _random_crop(transform: Transform, pixels: Tensor, seeds: Tensor) -> Tensor:
    """Any window of the picture, as evaluation resizes it or with the short side that `short_side` draws.

    It is first made as large as the crop and then gets `padding` on each side: where it is fitted to the crop or to
    less, `padding` is thus the largest shift in pixels.
    """
    if transform.augment.short_side is None:
        return _window(transform, _fitted(transform, pixels), seeds)
    sides = how.short_sides(transform.augment.short_side, seeds)
    return torch.cat([_window(transform, covering(transform, pixels[i : i + 1], (side, side)), seeds[i : i + 1])
                      for i, side in enumerate(sides)])


def _window(transform: Transform, pixels: Tensor, seeds: Tensor) -> Tensor:
    a, (h, w) = transform.augment, transform.size
    field = how.centered(pixels, (max(pixels.shape[-2], h), max(pixels.shape[-1], w)))
    return how.windows(how.padded(field, a.padding, a.padding_mode), (h, w), seeds)


def _resized_crop(transform: Transform, pixels: Tensor, seeds: Tensor) -> Tensor:
    """Inception's crop of random area and aspect, brought to the network's size."""
    a = transform.augment
    boxes = how.inception_boxes((pixels.shape[-2], pixels.shape[-1]), a.scale, a.ratio, seeds).tolist()
    return torch.cat([_box(transform, picture[None], box) for picture, box in zip(pixels, boxes, strict=True)])


def _box(transform: Transform, pixels: Tensor, box: Sequence[int]) -> Tensor:
    top, left, h, w = box
    return resize(pixels[..., top : top + h, left : left + w], transform.size, transform.interpolation)


_CROPS = {"centre": _center_crop, "random": _random_crop, "resized": _resized_crop}
