"""torch itself: folded, rewritten, channels-last, and on the CPU with prepacked weights."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ...net.fold import fold_structure
from ...net.model import Convnet
from ...weights.checkpoints import load, save
from ..graph.pack import can_pack, pack
from ..graph.rewrite import rewrite
from .base import DTYPES, NETWORK, Backend, Precision, Predictor, Tell, in_precision, order_of, quiet


class Eager(Backend):
    """Ready at once, and the same for any batch."""

    name, file = "eager", NETWORK

    def build(self, model: Convnet, example: Tensor, precision: Precision, folder: Path, tell: Tell = quiet
              ) -> tuple[Predictor, int | None]:
        """As the base class says, without a file."""
        return self._scores(model, example, precision), None

    def _scores(self, model: Convnet, example: Tensor, precision: Precision) -> Predictor:
        order = order_of(model, example.device)
        net = rewrite(model, join=True).to(example.device, DTYPES[precision], memory_format=order)      # type: ignore[call-overload]
        if example.device.type == "cpu" and can_pack():
            return in_precision(pack(net, example.to(dtype=DTYPES[precision], memory_format=torch.channels_last)),
                                precision)
        return in_precision(net, precision, order)

    def write(self, model: Convnet, example: Tensor, precision: Precision, folder: Path) -> None:
        """As the base class says."""
        write_folded(model, folder / self.file)

    def open(self, folder: Path, example: Tensor, precision: Precision) -> Predictor:
        """As the base class says."""
        return self._scores(load(folder / self.file).to(example.device), example, precision)


def write_folded(model: Convnet, path: Path) -> None:
    """The network as one folded file that `convatlas.load` reads."""
    from copy import deepcopy

    folded = fold_structure(deepcopy(model))
    folded.card = replace(model.card, folded=model.card.folded or "for deployment")
    save(folded, path)
