"""Segmenter: a Convnet that gives scores for pixels, from the maps of all its stages."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import ConvatlasError
from .answering import Answers
from .model import Convnet, Head, Spec, by, dry_run


class Decoder(Head):
    """From the maps after the stem and each stage, and the image's size, to scores (N, classes, H', W').

    `hidden` makes one map of `width` channels out of all of them, `classifier(width, classes)` the layer that reads it.
    Without classes the decoder returns that map.
    """

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:     # type: ignore[override]
        """`size` is the image's (height, width), for decoders that must return to it."""
        x: Tensor = self.hidden(maps)
        return cast(Tensor, self.classifier(x)) if self.num_classes else x


class Segmenter(Convnet):
    """stem → stages → decoder.

    Input (N, in_chans, H, W), output (N, num_classes, H', W'): scores for pixels, higher is better. (H', W') is
    `output_size(H, W)`. With num_classes=0 the output is the map that the scores are made of, with `head_hidden_size`
    channels. `head` is the decoder: it reads the maps of all stages, so that `forward_features`, the last of them, does
    not determine the scores, and `forward_head` is refused. Everything else is as in `Convnet`. A network without
    padding takes only images whose sides are `rest` + a multiple of `step`. `encoder` is the classifier inside it, if
    there is one, from whose weights it may begin (`load_encoder`). `engine`, where there is one, gives the scores in
    place of the layers: the network of a deployed folder (`deploy.bundle.deployed`).
    """

    def __init__(self, spec: Spec, stem: nn.Module | None, stages: Sequence[nn.Module], decoder: Decoder, *,
                 step: int = 1, rest: int = 0, encoder: str | None = None,
                 encoder_fields: Mapping[str, Any] | None = None) -> None:
        super().__init__(spec, stem, stages, decoder)
        self.step, self.rest = step, rest % step
        self.engine: Callable[[Tensor], Tensor] | None = None
        self.encoder, self.encoder_fields = encoder, {**(encoder_fields or {}), "in_chans": self.in_chans}

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, num_classes, H', W') from images (N, in_chans, H, W)."""
        if (self.step > 1 and isinstance(x, Tensor) and x.ndim == 4 and not torch.compiler.is_compiling()
                and self._uneven(x.shape[2:])):
            # an odd map would lose a row in pooling, without complaint
            self.check_image_size((x.shape[2], x.shape[3]))
        if self.engine is not None and not x.is_meta:
            return self._explained(self.engine, x)
        return self._explained(self._decoded, x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Refused: one map is not enough."""
        raise ConvatlasError(f"{self.name} decodes the maps of all its stages, not the last one: call the model itself "
                             "on the images")

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(H', W') of the scores of an image of that size; an impossible size is a ConvatlasError that names the
        nearest ones.
        """
        self.check_image_size((height, width))
        scores = self._dry((height, width))
        return scores.shape[2], scores.shape[3]

    @property
    def least_side(self) -> int | None:
        """Side of the smallest square image that it takes, of the first 64 that come into question."""
        sides = range(self.rest or self.step, 64 * self.step, self.step)
        return next((side for side in sides if self.accepts((side, side))), None)

    def load_coarser(self, coarser: "Segmenter") -> None:
        """Begin from a trained network of coarser scores: FCN-16s from FCN-32s, FCN-8s from FCN-16s (Long et al. 2015,
        section 4.2).

        Stem, stages and every layer of the decoder that both have are copied; what is new here stays as initialised.
        """
        own, given = self.state_dict(), coarser.state_dict()
        shared = {name: tensor for name, tensor in given.items() if name in own and own[name].shape == tensor.shape}
        trunk = [name for name in own if not name.startswith("head.")]
        odd = [name for name in trunk if name not in shared]
        if odd or len(trunk) != sum(not name.startswith("head.") for name in given):
            first = f", first in {odd[0]}" if odd else ""
            raise ConvatlasError(f"{self.name} cannot begin from {coarser.name}: their stages differ{first}")
        if coarser.num_classes != self.num_classes:
            raise ConvatlasError(f"{self.name} has {self.num_classes} classes, {coarser.name} {coarser.num_classes}: "
                                 f"build it with num_classes={coarser.num_classes}")
        self.load_state_dict(shared, strict=False)

    def load_encoder(self, encoder: Convnet) -> None:
        """Begin from the trained classifier inside: all its layers but the last are copied in their order, fully
        connected ones as convolutions (Long et al. 2015, Figure 2). Another network is a ConvatlasError.
        """
        given, own = ({name: tensor for name, tensor in net.state_dict().items() if not name.startswith(head)}
                      for net, head in ((encoder, ("head.classifier.", "aux.")), (self, "head.")))
        if (encoder.name != self.encoder
                or [tensor.numel() for tensor in given.values()] != [tensor.numel() for tensor in own.values()]):
            inside = (f"inside it is {self.encoder} for {self.in_chans} channels" if self.encoder
                      else "there is no classifier inside it")
            raise ConvatlasError(f"{self.name} cannot begin from {encoder.name}: {inside}")
        copies = {name: theirs.reshape(ours.shape)
                  for (name, ours), theirs in zip(own.items(), given.values(), strict=True)}
        self.load_state_dict(copies, strict=False)

    def _decoded(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(list(self._maps(x)), (x.shape[2], x.shape[3]))
        return scores

    def _dry(self, size: tuple[int, int]) -> Tensor:
        """The scores on the meta device."""
        scores: Tensor = dry_run(Whole(self), self, size)
        return scores

    def _uneven(self, size: Sequence[int]) -> bool:
        return any(side % self.step != self.rest for side in size)

    def accepts(self, size: tuple[int, int]) -> bool:
        """True if images of `size` (H, W) give scores; computed on the meta device."""
        if self._uneven(size) or not super().accepts(size):
            return False
        try:
            return min(self._dry(size).shape) > 0
        except (RuntimeError, ValueError):
            return False

    def _too_small(self, size: tuple[int, int]) -> str | None:
        if self.step == 1:
            return super()._too_small(size)
        if self.accepts(size):
            return None
        least = self.least_side
        if least is None:
            return None
        below = tuple(max(least, side - (side - self.rest) % self.step) for side in size)
        above = tuple(max(least, side + (self.rest - side) % self.step) for side in size)
        nearest = " or ".join(by((high, wide)) for high, wide in dict.fromkeys((below, above)))
        return (f"{self.name} takes images with sides of {least}, {least + self.step}, {least + 2 * self.step}, … "
                f"pixels, not {by(size)}: pad or crop them to the nearest, {nearest}")


def of_pixels(net: Answers, instead: str = "unet is a network that segments") -> Segmenter:
    """`net`, if it scores pixels; a ConvatlasError that ends with what to do `instead` otherwise."""
    if not isinstance(net, Segmenter):
        raise ConvatlasError(f"{net.name} gives scores for images, not for pixels: {instead}")
    return net


def of_images(net: Answers, instead: str) -> None:
    """A ConvatlasError that ends with what to do `instead`, if `net` scores pixels."""
    if isinstance(net, Segmenter):
        raise ConvatlasError(f"{net.name} gives scores for pixels, not for images: {instead}")


class Whole(nn.Module):
    """A segmenter without explanations of wrong input, for the meta device."""

    def __init__(self, net: Segmenter) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, num_classes, h, w)."""
        return self.net._decoded(x)
