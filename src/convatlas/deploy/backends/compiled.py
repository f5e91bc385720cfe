"""torch.compile: inductor with the weights frozen into its kernels."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ...net.model import Convnet
from ...weights.checkpoints import load
from ..graph.fused import can_fuse, fuse
from ..graph.rewrite import rewrite
from .base import DTYPES, Backend, Precision, Predictor, Tell, in_precision, no_compiler, order_of, quiet
from .eager import write_folded


class Compiled(Backend):
    """Compiles when it is first called, for tens of seconds; on a GPU with CUDA graphs."""

    name, file = "compile", "model.safetensors"

    def missing(self) -> str | None:
        """Name the missing compiler, or None."""
        return no_compiler(self.name)

    def refusal(self, example: Tensor, precision: Precision) -> str | None:
        """As the base class says; kernels for a GPU are Triton's, which has a compiler of its own."""
        reason = super().refusal(example, precision)
        return None if example.device.type != "cpu" and reason == self.missing() else reason

    def build(self, model: Convnet, example: Tensor, precision: Precision, folder: Path, tell: Tell = quiet
              ) -> tuple[Predictor, int | None]:
        """As the base class says, without a file."""
        return self._scores(model, example, precision), None

    def _scores(self, model: Convnet, example: Tensor, precision: Precision) -> Predictor:
        import torch._dynamo.config as dynamo
        import torch._inductor.config as inductor

        device, dtype, order = example.device, DTYPES[precision], order_of(model, example.device)
        net: nn.Module = rewrite(model, join=True).to(device, dtype, memory_format=order)      # type: ignore[call-overload]
        last = order is torch.channels_last
        if last and can_fuse(device, dtype):
            net = fuse(net, example.to(dtype=dtype, memory_format=order))
        options = {"freezing": True} | ({"triton.cudagraphs": True, "layout_optimization": last}
                                        if device.type == "cuda" else {})
        inner = in_precision(torch.compile(net, dynamic=False, options=options), precision, order)      # type: ignore[arg-type]

        def scores(x: Tensor) -> Tensor:
            with inductor.patch(freezing=True), dynamo.patch(recompile_limit=4096, fail_on_recompile_limit_hit=True):
                return inner(x).clone()         # CUDA graphs use the result's memory again

        scores(example)
        return scores

    def write(self, model: Convnet, example: Tensor, precision: Precision, folder: Path) -> None:
        """As the base class says."""
        write_folded(model, folder / self.file)

    def open(self, folder: Path, example: Tensor, precision: Precision) -> Predictor:
        """As the base class says."""
        return self._scores(load(folder / self.file).to(example.device), example, precision)
