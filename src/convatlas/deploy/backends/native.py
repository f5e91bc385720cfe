"""Kernels of our own: 3×3 convolutions by Winograd's algorithm, maps that are written where they are read, layers tuned
one by one.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ...errors import ConvatlasError
from ...net.model import Convnet
from ...weights.checkpoints import load as load_network
from ..graph.rewrite import rewrite
from ..native import Choice, Network, missing
from ..native.bfloat16 import Bf16, account, in_bf16
from ..native.plan import plan
from ..native.quantized import quantized, ranges
from ..native.stored import WEIGHTS, load, save, tuned
from ..native.work import Work
from .base import NETWORK, Backend, Precision, Predictor, Tell, quiet

SIZES = 16              # of images, whose plans are kept at once


class Native(Backend):
    """Needs a C++ compiler, and a processor with vectors of sixteen floats to be worth it."""

    name, file, precisions, devices = "native", WEIGHTS, ("fp32", "bf16", "int8"), ("cpu",)

    def missing(self) -> str | None:
        """Name the missing compiler, or None."""
        return missing()

    def build(self, model: Convnet, example: Tensor, precision: Precision, folder: Path, tell: Tell = quiet
              ) -> tuple[Predictor, int | None]:
        """As the base class says."""
        network = self._write(model, example, precision, folder, tell)
        return network, sum(file.stat().st_size for file in folder.iterdir())

    def write(self, model: Convnet, example: Tensor, precision: Precision, folder: Path) -> None:
        """As the base class says."""
        self._write(model, example, precision, folder, quiet)

    def _write(self, model: Convnet, example: Tensor, precision: Precision, folder: Path, tell: Tell) -> "Sizes":
        found = Sizes(rewrite(model), torch.get_num_threads(), precision)
        network = found.of(example)
        network.tune(example.numpy(), tell)
        save(network, folder)
        return found

    def account(self, predictor: Predictor, example: Tensor) -> Bf16 | None:
        """As the base class says."""
        assert isinstance(predictor, Sizes)
        return account(predictor.of(example), len(example)) if predictor.precision == "bf16" else None

    def open(self, folder: Path, example: Tensor, precision: Precision) -> Predictor:
        """As the base class says, for images of the size that it was written for; of any, where the folder holds the
        network itself.
        """
        threads = torch.get_num_threads()
        if (folder / NETWORK).is_file():
            wanted, parts, choices = tuned(folder)
            known = wanted == threads
            return Sizes(rewrite(load_network(folder / NETWORK)), threads, precision, parts if known else {},
                         choices if known else {}, first=tuple(example.shape[1:]))
        network = load(folder, threads, precision=precision)
        if network.size != tuple(example.shape[1:]):
            raise ConvatlasError(f"{str(folder)!r} is for images of {network.size}, not {tuple(example.shape[1:])}: "
                                 "deploy it again")
        return lambda x: torch.from_numpy(network(x.float().numpy()))

    def quantize(self, written: Path, folder: Path, images: Tensor, weights: Mapping[str, Tensor],
                 keep: Collection[str]) -> None:
        """As `on_bytes`, tuned."""
        threads = torch.get_num_threads()
        network = Network(on_bytes(written, images, keep), threads)
        _, parts, _ = tuned(written)        # the batches that it is to be fast for
        for batch in parts or {1: 1}:
            network.tune(images[torch.arange(batch) % len(images)].numpy())
        save(network, folder)


def on_bytes(written: Path, images: Tensor, keep: Collection[str]) -> list[Work]:
    """The steps in a folder on bytes, by `native.quantized`: between the means of the images' least and largest values.
    What is not summed up in whole numbers there stays in fp32, and so do the layers `keep`.
    """
    works = load(written).works
    nodes = {layer: layer.replace(".", "_") for layer in keep}
    if unknown := set(nodes.values()) - {work.name for work in works}:
        raise ConvatlasError(f"native does not find the layers {', '.join(sorted(unknown))} again, which are to "
                             "stay in fp32")
    return quantized(works, ranges(works, images.numpy(), torch.get_num_threads()), set(nodes.values()))


class Sizes:
    """The results of a network for images of any size, each size as a `Network` of its own, which is planned when it
    first comes.

    `model` is in eval mode, and rewritten. The networks share memory and weights with the first, whose layers were
    tuned; `parts` and `choices` are what was found.
    """

    def __init__(self, model: nn.Module, threads: int, precision: Precision = "fp32",
                 parts: Mapping[int, int] | None = None, choices: Mapping[str, Choice] | None = None,
                 first: tuple[int, ...] | None = None) -> None:
        self.model, self.threads, self.precision = model, threads, precision
        self.networks: dict[tuple[int, ...], Network] = {}
        if first is not None:
            self.networks[first] = Network(self._plan(first), threads, parts, choices)

    def _plan(self, size: tuple[int, ...]) -> list[Work]:
        works = plan(self.model, size)
        return in_bf16(works) if self.precision == "bf16" else works

    def of(self, x: Tensor) -> Network:
        """The network for images like these."""
        size = tuple(x.shape[1:])
        if size not in self.networks:
            like = next(iter(self.networks.values()), None)
            self.networks[size] = Network(self._plan(size), self.threads, like=like)
            if len(self.networks) > SIZES:
                del self.networks[list(self.networks)[1]]       # the oldest but the first
        return self.networks[size]

    def __call__(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to what the network gives; of several results the first."""
        return self.results(x)[0]

    def results(self, x: Tensor) -> list[Tensor]:
        """All that the network gives."""
        return [torch.from_numpy(each) for each in self.of(x).results(x.detach().float().numpy())]
