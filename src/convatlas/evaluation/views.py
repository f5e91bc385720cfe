"""The views of a picture that a protocol shows, read in batches; and a network that answers once for all of them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..data import ImageSet, UnreadableImage
from ..data.augment import centered
from ..data.reading import Read, filler, skip, start_worker, started
from ..data.transform import Transform, as_channels, covering, resize
from ..engine.losses import probabilities
from ..errors import ConvatlasError
from ..net.answering import Answers, Scorer
from ..net.fully_convolutional import fully_convolutional
from ..net.model import Convnet
from ..parts import GlobalPool
from ..run import Loss
from .protocol import Protocol, Size

# -- of one picture --------------------------------------------------------------------------------------------------

def views(picture: Tensor, transform: Transform, protocol: Protocol) -> list[Tensor]:
    """Every view of a picture uint8 (C, H, W), `protocol.views` of them: float32 (in_chans, h, w), normalised.

    `protocol` is resolved. In its order: scales, squares, crops, and each view's mirror image after it.
    """
    pixels = as_channels(picture, transform.in_chans)
    found: list[Tensor] = []
    for scale in protocol.scales:
        resized = covering(transform, pixels, _box(scale, transform.size))
        found += [resized] if protocol.dense else crops(resized, scale, transform, protocol)
    if protocol.flip:
        found = [each for view in found for each in (view, view.flip(-1))]
    return [transform.normalized(view[None].float().div_(255))[0] for view in found]


def crops(pixels: Tensor, scale: int, transform: Transform, protocol: Protocol) -> list[Tensor]:
    """The crops (C, h, w) of a picture whose short side is `scale`; black where it ends before a crop does."""
    size, box = transform.size, _box(scale, transform.size)
    if protocol.crops == 1 and protocol.squares == "centre":
        return [centered(pixels, size)]
    field = centered(pixels, (max(pixels.shape[-2], box[0], size[0]), max(pixels.shape[-1], box[1], size[1])))
    box = (max(box[0], size[0]), max(box[1], size[1]))
    found: list[Tensor] = []
    for square in _squares(field, box) if protocol.squares == "three" else (centered(field, box),):
        found += _five(square, size) if protocol.crops > 1 else [centered(square, size)]
        if protocol.crops == 6:
            found.append(resize(square, size, transform.interpolation))
    return found


def _box(scale: int, size: Size) -> Size:
    """The box that a picture is resized to cover: a square of side `scale`, or of the input's proportions with that
    short side.
    """
    short = min(size)
    return round(size[0] * scale / short), round(size[1] * scale / short)


def _squares(field: Tensor, box: Size) -> tuple[Tensor, ...]:
    """Left, central and right; of an upright picture upper, central and lower."""
    h, w = box
    return field[..., :h, :w], centered(field, box), field[..., -h:, -w:]


def _five(square: Tensor, size: Size) -> list[Tensor]:
    """The four corners and the centre."""
    h, w = size
    return [square[..., :h, :w], square[..., :h, -w:], square[..., -h:, :w], square[..., -h:, -w:],
            centered(square, size)]


# -- of many pictures ------------------------------------------------------------------------------------------------

@dataclass
class Views:
    """All views of some pictures, one list each; they stay where they are until a part of them is computed."""

    pictures: list[list[Tensor]]
    device: torch.device | None = None      # where they are to be computed

    def to(self, device: torch.device, non_blocking: bool = False) -> "Views":
        """The same pictures for `device`: `Averaged` moves them there, a few at a time."""
        return replace(self, device=device)


@dataclass(frozen=True)
class Batch:
    """A batch for `measure`: one process's pictures, with their labels and indices; index -1 marks a filler."""

    images: Views
    labels: Tensor
    indices: Tensor


class ViewLoader:
    """Goes over an image set as `Loader` does, in its order: each process reads its share, unreadable images are noted
    or raise.
    """

    def __init__(self, images: ImageSet, transform: Transform, protocol: Protocol, batch_size: int, *, rank: int = 0,
                 world: int = 1, workers: int = 0, strict: bool = False) -> None:
        if not len(images):
            raise ConvatlasError("there are no images to go over")
        self.images, self.strict = images, strict
        self.skipped: dict[int, str] = {}
        shares = [share.tensor_split(world)[rank].tolist()
                  for share in torch.split(torch.arange(len(images)), batch_size * world)]
        self.steps = len(shares)
        self._batches = DataLoader(_Reader(images, transform, protocol), batch_size=None, sampler=shares,
                                   num_workers=workers, worker_init_fn=start_worker,
                                   generator=torch.Generator())     # otherwise it draws from the global one

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches, the same in every epoch."""
        for read in started(self._batches):
            skip(self.skipped, read.unreadable, len(self.images), self.strict)
            yield Batch(read.images, read.labels, read.indices)


class _Reader(Dataset[Read[Views]]):
    """Reads shares: all views of every picture."""

    def __init__(self, images: ImageSet, transform: Transform, protocol: Protocol) -> None:
        self.images, self.transform, self.protocol = images, transform, protocol

    def __getitem__(self, share: list[int]) -> Read[Views]:
        found: dict[int, list[Tensor]] = {}
        unreadable: dict[int, str] = {}
        for index in share:
            try:
                found[index] = views(self.images.read(index), self.transform, self.protocol)
            except UnreadableImage as error:
                unreadable[index] = str(error)
        if not found:
            blank = torch.zeros(self.transform.in_chans, *self.transform.size, dtype=torch.uint8)
            return filler(Views([views(blank, self.transform, self.protocol)]), self.images.labels, unreadable)
        indices = torch.tensor(list(found))
        return Read(Views(list(found.values())), self.images.labels[indices], indices, unreadable)


# -- the network -----------------------------------------------------------------------------------------------------

class Averaged(nn.Module):
    """A network that scores `Views`: scores (N, K) whose `probabilities` by `loss` are what the views say together.

    Views of one size are computed together, at most `pixels` of them at once, so that many crops take no more memory
    than a batch.
    """

    def __init__(self, net: Answers, protocol: Protocol, pixels: int) -> None:
        super().__init__()
        self.net: Scorer = dense(net, protocol) if protocol.dense else net
        self.trained = net.card.loss or Loss()
        self.protocol, self.pixels = protocol, pixels
        #   scores averaged stay scores; of probabilities the logarithm (or logit) is one for these losses
        self.loss = (self.trained if protocol.average == "scores"
                     else Loss(name="bce" if self.trained.name == "bce" else "cross_entropy"))

    def forward(self, pictures: Views) -> Tensor:
        """(N, K)."""
        scores = self._scores([view for each in pictures.pictures for view in each], pictures.device)
        scores = scores.view(len(pictures.pictures), -1, scores.shape[1])
        return scores.mean(dim=1) if self.protocol.average == "scores" else joined(scores, self.trained)

    def _scores(self, flat: list[Tensor], device: torch.device | None) -> Tensor:
        """Scores of each view, (n, K), in their order."""
        places: dict[tuple[int, ...], list[int]] = {}
        for place, view in enumerate(flat):
            places.setdefault(tuple(view.shape), []).append(place)
        found: dict[int, Tensor] = {}
        for shape, same in places.items():
            at_once = max(1, self.pixels // (shape[1] * shape[2]))
            for first in range(0, len(same), at_once):
                part = same[first : first + at_once]
                scores = self.net(torch.stack([flat[place] for place in part]).to(device)).float()
                found.update(zip(part, scores, strict=True))
        return torch.stack([found[place] for place in range(len(flat))])


def joined(scores: Tensor, loss: Loss) -> Tensor:
    """Scores (N, V, K) of a network trained with `loss` -> (N, K): the logarithm of the mean probability, with bce its
    logit.
    """
    count, several, classes = scores.shape
    if loss.name in ("cross_entropy", "map"):
        return scores.log_softmax(dim=2).logsumexp(dim=1) - math.log(several)
    shares = probabilities(scores.reshape(-1, classes), loss).view(count, several, classes).mean(dim=1)
    return shares.logit(eps=1e-6) if loss.name == "bce" else shares.log()


def dense(net: Answers, protocol: Protocol) -> Scorer:
    """Scores (N, K) from pictures of any size: the map of the network's convolutional form averaged over its positions.

    A network that averages over its last map anyway is that already. Raises ConvatlasError where it has no such form,
    or a scale is too small for it.
    """
    if not isinstance(net, Convnet):
        raise ConvatlasError(f"{net.name} is deployed and cannot be made convolutional: judge the run or the weights "
                             "that it was made of")
    pools = [part for part in net.head.modules() if isinstance(part, GlobalPool)]
    if pools:
        net.check_image_size((min(protocol.scales), min(protocol.scales)))
        return net
    if min(protocol.scales) < min(net.image_size):
        raise ConvatlasError(f"a short side of {min(protocol.scales)} is too small for {net.name} as a convolution: "
                             f"its fully connected layers read {min(net.image_size)}; give --scales of at least that")
    return nn.Sequential(fully_convolutional(net), _Mean())


class _Mean(nn.Module):
    """(N, K, H, W) -> (N, K)."""

    def forward(self, maps: Tensor) -> Tensor:
        """The mean over all positions."""
        return maps.mean(dim=(2, 3))


def whole_pictures(transform: Transform) -> Transform:
    """The transform for pictures of any size; a mean of each pixel becomes one per channel. ZCA is a ConvatlasError."""
    if transform.fit == "zca":
        raise ConvatlasError("dense evaluation is refused: the network's pictures are whitened (ZCA) at one "
                             "size; use crops")
    if transform.fit != "pixel_mean":
        return transform
    mean = transform.fitted["mean"].mean(dim=(1, 2))
    return replace(transform, fit="none", mean=tuple(mean.tolist()))
