"""Batches for training a network that segments: patches of the network's input size, with a class and a weight for
every score.

As in the paper, what lies beyond an image is mirrored, image and mask are deformed by the same field, and a network
without padding sees more pixels than it scores. Everything about a patch depends on its image's seed only, so that any
number of workers gives the same, and training resumes exactly; the loader of all other training (data/loader.py) does
the rest.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from math import ceil, radians

import torch
from torch import Tensor

from ..data.augment import deform, jittered, mirrored
from ..data.draws import below, derived, uniforms
from ..data.images import UnreadableImage
from ..data.loader import Batch, Loader
from ..data.transform import Transform, as_channels, make_transform
from ..errors import ConvatlasError
from ..net.segmenter import Segmenter
from ..run import Augment, Loss, Preprocess
from .border_weights import border_weights, parted
from .pairs import Masked
from .picture import reflected

PLANES = 2              # behind a patch's channels: classes, weights


class Packed:
    """Image, classes and weights of each pair as one float tensor (C + 2, H, W), pixels from 0 to 255; kept once it was
    made.

    `labels` are the classes of all pixels that count, for the weights of classes.
    """

    def __init__(self, pairs: Masked, loss: Loss) -> None:
        self.pairs, self.loss, self.name = pairs, loss, pairs.name
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int) -> Tensor:
        """(C + 2, H, W); raises UnreadableImage."""
        if index not in self._kept:
            classes = self.pairs.classes_of(index)
            weights = torch.ones(classes.shape)
            if self.loss.border:
                objects = self.pairs.instances_of(index)
                apart = parted(objects)
                classes = classes.masked_fill((objects > 0) & (apart == 0), 0)
                weights += border_weights(apart, self.loss.border, self.loss.border_sigma)
            image = self.pairs.image(index)
            if image.shape[1:] != classes.shape:
                height, width = classes.shape
                raise UnreadableImage(f"the mask of {self.pairs.file_of(index)!r} is {height}×{width} pixels, its "
                                      f"image {image.shape[1]}×{image.shape[2]}")
            # exact to 2048
            self._kept[index] = torch.cat([image.float(), classes[None].float(), weights[None]]).half()
        return self._kept[index].float()

    @cached_property
    def labels(self) -> Tensor:
        """int64 (pixels that count,), of the masks that can be read."""
        classes = list[Tensor]()
        for index in range(len(self)):
            with suppress(UnreadableImage):     # skipped and counted when it is to be trained on
                here = self.pairs.classes_of(index).flatten()
                classes.append(here[here != self.loss.ignore_index])
        return torch.cat(classes) if classes else torch.empty(0, dtype=torch.int64)


class Patches:
    """Makes patches (n, in_chans + 2, h, w) of packed images: what `Loader` calls a transform."""

    def __init__(self, preprocess: Preprocess, augment: Augment, size: tuple[int, int], in_chans: int,
                 border: int) -> None:
        self.network, self.channels, self.border, self.augment = size, in_chans, border, augment
        shift, turn = augment.affine[1], radians(augment.affine[0])
        around = (ceil(3 * augment.elastic + max(size) * (shift + turn / 2))
                  if augment.elastic or any(augment.affine) else 0)
        self.around = around        # pixels read on each side for what a deformation moves into the patch
        self.shaped = make_transform(preprocess, (size[0] + 2 * around, size[1] + 2 * around), in_chans, augment)
        self.in_chans, self.size, self.random = in_chans + PLANES, size, True      # of what it makes
        self.range = None       # of packed images, which are decoded

    def batch(self, packed: Tensor, seeds: Tensor) -> Tensor:
        """Packed images (n, C + 2, H, W), seeds int64 (n,) -> (n, in_chans + 2, h, w): normalised pixels, classes,
        weights.
        """
        return self.each(list(packed), seeds)[0]

    def each(self, packed: Sequence[Tensor], seeds: Tensor) -> tuple[Tensor, dict[int, UnreadableImage]]:
        """The same of images of any sizes; none is refused."""
        made = [self._one(image[None], seed[None]) for image, seed in zip(packed, seeds, strict=True)]
        return torch.cat(made) if made else torch.empty(0, self.in_chans, *self.size), {}

    def _one(self, packed: Tensor, seeds: Tensor) -> Tensor:
        a, t = self.augment, self.shaped
        patch = self._window(packed, seeds)
        pixels = as_channels(patch[:, :-PLANES].to(torch.uint8), self.channels)
        masks = patch[:, -PLANES:]
        if any(a.jitter):
            pixels = jittered(pixels, a.jitter, seeds)
        values = pixels.float().div_(255)
        if any(a.affine) or a.elastic:
            field = t.displacements(seeds)
            values, masks = deform(values, field, border="reflect"), deform(masks, field, "nearest", "reflect")
        made = torch.cat([t.normalized(values), masks], dim=1)
        if self.around:
            made = made[:, :, self.around:-self.around, self.around:-self.around]
        if a.flip:
            made = mirrored(made, a.flip, seeds)
        if a.turns and self.network[0] == self.network[1]:
            made = torch.rot90(made, int(below(uniforms(seeds, 1, "turns")[:, 0], 4)), (2, 3))
        return made.contiguous()

    def _window(self, packed: Tensor, seeds: Tensor) -> Tensor:
        """A random place for the scores inside the image, and around it what the network and the deformation need,
        mirrored.
        """
        places = uniforms(derived(seeds, "patch"), 2, "window")[0]
        for axis, place in zip((2, 3), places, strict=True):
            side, scored = packed.shape[axis], self.network[axis - 2] - 2 * self.border
            free = side - scored
            start = int(below(place, free + 1)) if free > 0 else free // 2
            index = reflected(start - self.border - self.around, self.network[axis - 2] + 2 * self.around, side)
            packed = packed.index_select(axis, index)
        return packed


class PatchLoader:
    """Batches of patches and their targets (n, 2, h', w'), classes and weights, where the network scores."""

    def __init__(self, pairs: Masked, net: Segmenter, preprocess: Preprocess, augment: Augment, loss: Loss,
                 batch_size: int, *, least: int = 1, seed: int, shuffle: bool, rank: int, world: int, workers: int,
                 strict: bool) -> None:
        size = net.image_size
        high, wide = net.output_size(*size)
        if size[0] - high != size[1] - wide or (size[0] - high) % 2:
            raise ConvatlasError(f"{net.name} makes {high}×{wide} scores of {size[0]}×{size[1]} pixels: choose an "
                                 "--image-size that loses as much on every side")
        self.border = (size[0] - high) // 2
        self.images = Packed(pairs, loss)
        self.channels = net.in_chans
        patches = Patches(preprocess, augment, size, net.in_chans, self.border)
        self._loader = Loader(self.images, patches, batch_size, least=least, seed=seed,            # type: ignore[arg-type]
                              shuffle=shuffle, rank=rank, world=world, workers=workers, strict=strict)

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return self._loader.steps

    @property
    def skipped(self) -> dict[int, str]:
        """Pairs that could not be read: index -> reason."""
        return self._loader.skipped

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from number `start` on."""
        for batch in self._loader.epoch(epoch, start):
            images, targets = batch.images[:, : self.channels], batch.images[:, self.channels :]
            if self.border:
                targets = targets[:, :, self.border:-self.border, self.border:-self.border]
            yield Batch(images.contiguous(), targets.contiguous(), batch.indices, batch.total)


class WholeImages:
    """The images that a network is judged on, whole, one after the other: each process its share.

    With `strict`, one that cannot be read stops everything; otherwise it is noted in `skipped`.
    """

    def __init__(self, pairs: Masked, transform: Transform, *, rank: int = 0, world: int = 1,
                 strict: bool = False) -> None:
        self.pairs, self.transform, self.rank, self.world, self.strict = pairs, transform, rank, world, strict
        self.skipped: dict[int, str] = {}
        self.images = pairs

    @property
    def steps(self) -> int:
        """Images of the process that has most."""
        return -(-len(self.pairs) // self.world)

    def mine(self) -> range:
        """The images of this process."""
        return range(self.rank, len(self.pairs), self.world)

    def pixels(self, index: int) -> Tensor:
        """The whole image, normalised: float32 (in_chans, H, W). Raises UnreadableImage."""
        values = as_channels(self.pairs.image(index), self.transform.in_chans).float().div_(255)
        return self.transform.normalized(values)

    def truth(self, index: int) -> Tensor:
        """Its classes, int64 (H, W); 255 where a pixel does not count."""
        return self.pairs.classes_of(index)


