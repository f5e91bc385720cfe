"""Kernels of our own: 3×3 convolutions by Winograd's algorithm, maps that are written where they are read, layers tuned one by one."""

import json
from pathlib import Path

import torch
from torch import Tensor

from ...errors import ConvatlasError
from ...model import Convnet
from ..native import Choice, Network, missing
from ..rewrite import rewrite
from .base import Backend, Precision, Scores

TUNED = "native.json"           # beside the network: what was found fastest, and for what


class Native(Backend):
    """Needs a C++ compiler, and a processor with vectors of sixteen floats to be worth it; for networks that classify."""

    name, file, precisions, devices = "native", "model.safetensors", ("fp32",), ("cpu",)

    def missing(self) -> str | None:
        """What it needs is a compiler."""
        return missing()

    def build(self, model: Convnet, example: Tensor, precision: Precision, folder: Path) -> tuple[Scores, int | None]:
        """As the base class says."""
        network = self._write(model, example, folder)
        return network, sum(file.stat().st_size for file in folder.iterdir())

    def write(self, model: Convnet, example: Tensor, precision: Precision, folder: Path) -> None:
        """As the base class says."""
        self._write(model, example, folder)

    def _write(self, model: Convnet, example: Tensor, folder: Path) -> "Sizes":
        from ...checkpoints import save

        found = Sizes(model, torch.get_num_threads())
        network = found.of(example)
        network.tune(example.contiguous())
        save(model, folder / self.file)             # as trained: a folded file's parallel convolutions would be one
        tuned = {"threads": network.threads, "size": list(network.size), "parts": {str(n): part for n, part in network.parts.items()},
                 "layers": network.choices}
        (folder / TUNED).write_text(json.dumps(tuned, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return found

    def open(self, folder: Path, example: Tensor, precision: Precision) -> Scores:
        """As the base class says."""
        from ...checkpoints import load

        found = Sizes(load(folder / self.file), torch.get_num_threads())
        try:
            tuned = json.loads((folder / TUNED).read_text(encoding="utf-8"))
            parts = {int(n): int(part) for n, part in tuned["parts"].items()}
            layers: dict[str, Choice] = {key: (str(kind), int(tile), int(gather), int(share))
                                         for key, (kind, tile, gather, share) in tuned["layers"].items()}
            if (tuned["threads"], tuple(tuned["size"])) == (found.threads, tuple(example.shape[1:])):
                found.of(example, parts, layers)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConvatlasError(f"{str(folder / TUNED)!r} is not what convatlas wrote ({error}): deploy again, or delete it") from error
        return found


class Sizes:
    """A network's scores for images of any size, each size as a `Network` of its own."""

    def __init__(self, model: Convnet, threads: int) -> None:
        self.model, self.threads = rewrite(model), threads
        self.networks: dict[tuple[int, ...], Network] = {}

    def of(self, x: Tensor, parts: dict[int, int] | None = None, layers: dict[str, Choice] | None = None) -> Network:
        """The network for images like these."""
        size = tuple(x.shape[1:])
        if size not in self.networks:
            self.networks[size] = Network(self.model, size, self.threads, parts, layers)
        return self.networks[size]

    def __call__(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to scores (N, classes)."""
        return self.of(x)(x.float())
