"""Feature maps and hidden vectors by the native kernels, for detectors, decoders, and searches for neighbours."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import ConvatlasError
from ..net.model import Convnet, chosen_taps
from ..net.segmenter import Segmenter
from .backends import backend_of
from .backends.native import Sizes
from .choose import TOLERANCE, difference
from .graph.rewrite import rewrite


class Extracted(NamedTuple):
    """The maps of some stages, from large to small, (N, C, H', W'), and the vector that the classifier reads, (N,
    `head_hidden_size`).
    """

    maps: list[Tensor]
    hidden: Tensor


class Extractor:
    """A network's maps and hidden vectors by the native kernels; `feature_info` names the maps, one by one.

    Images (N, in_chans, H, W), float32 on the CPU, as the network takes them, of any size that it takes: each size is
    planned when it first comes. Made by `extractor`.
    """

    def __init__(self, sizes: Sizes, net: Convnet, chosen: Sequence[int]) -> None:
        self.sizes, self.net = sizes, net
        self.feature_info = [net.feature_info[i] for i in chosen]

    def __call__(self, x: Tensor) -> Extracted:
        """As the class says."""
        if not x.is_floating_point() or tuple(x.shape[1:]) not in self.sizes.networks:
            self.net.check_images(x)        # of a size only when it first comes: longer than the kernels take
        *maps, hidden = self.sizes.results(x)
        return Extracted(maps, hidden.flatten(1))


def extractor(model: Convnet, example: Tensor, out_indices: Sequence[int] | None = None) -> Extractor:
    """An `Extractor` of `model`, in eval mode, that is tuned for batches like `example`, and compared with the network
    on them.

    `out_indices` are positions in `feature_info`, negative ones from its end; None: all maps. Raises ConvatlasError for
    a network that scores pixels or has no vector, for what the native kernels lack, and where a result differs by more
    than 1e-4 of the largest.
    """
    if not isinstance(model, Convnet):
        raise ConvatlasError(f"an extractor is of a whole network, not of {type(model).__name__}: out_indices chooses "
                             "maps as create_model(…, features_only=True) does")
    if isinstance(model, Segmenter):
        raise ConvatlasError(f"{model.name} scores pixels, and has no hidden vector: an extractor is of networks that "
                             "classify")
    if model.training:
        raise ConvatlasError(f"{model.name} is in training mode: call model.eval() first")
    if getattr(model.spec, "global_pool", "") == "none":
        raise ConvatlasError(f"{model.name} has global_pool = 'none', which leaves a map, and no hidden vector: build "
                             "it with another global_pool")
    backend_of("native").check(example, "fp32")
    model.check_images(example)
    if not len(example):
        raise ConvatlasError("an example of no images is refused: the kernels are tuned on it, so that it has one "
                             "image at least")
    chosen = chosen_taps(model, out_indices, "out_indices") if model.taps or out_indices else []
    at = [model.taps[i][0] for i in chosen]
    sizes = Sizes(_Parts(rewrite(model), at), torch.get_num_threads())
    sizes.of(example).tune(example.float().numpy())
    exact = _Parts(model, at)
    found = sizes.results(example)
    for i, name in enumerate([*(model.taps[k][1] for k in chosen), "the hidden vector"]):
        off = difference(lambda x, i=i: exact(x)[i], example, found[i])        # type: ignore[misc]
        if not off <= TOLERANCE["fp32"]:
            raise ConvatlasError(f"{name} of {model.name} by the native kernels differs by {off:.1e} of the largest "
                                 "value: take the network itself")
    return Extractor(sizes, model, chosen)


class _Parts(nn.Module):
    """The maps after some stages (0: the stem), and the hidden vector, or the map that it is before it is flattened:
    native maps lie pixel by pixel, and only what is flattened for a layer is numbered otherwise.
    """

    def __init__(self, net: Convnet, at: Sequence[int]) -> None:
        super().__init__()
        self.stem, self.stages, self.hidden, self.at = net.stem, net.stages, net.head.hidden, at
        layers = list(self.hidden.children()) if isinstance(self.hidden, nn.Sequential) else []
        while layers and isinstance(layers[-1], nn.Flatten | nn.Dropout | nn.Identity):
            self.hidden = nn.Sequential(*layers[:-1])
            layers.pop()

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return [*(maps[i] for i in self.at), self.hidden(maps[-1])]
