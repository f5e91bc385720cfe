"""The native kernels as WebAssembly, for browsers: a folder that any web server hands out. wasmtime runs it here."""

import json
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...errors import ConvatlasError
from ...files import put
from ...net.model import Convnet
from .. import native
from ..graph.rewrite import rewrite
from ..native import wasm
from ..native.plan import plan
from ..native.stored import STEPS, WEIGHTS, put_plan
from ..native.work import Work
from .base import Backend, Precision, Predictor
from .native import on_bytes

MODULE, SCRIPT, PAGE = "convatlas.wasm", "convatlas.js", "index.html"


class Wasm(Backend):
    """One thread, vectors of four floats. fp16 is the precision of the weights in the folder, and it computes in fp32;
    int8 is computed in.
    """

    name, file, precisions, devices = "wasm", WEIGHTS, ("fp32", "fp16", "int8"), ("cpu",)
    requires, extra = ("wasmtime",), "wasm"

    def missing(self) -> str | None:
        """Name what is missing to compile it, or to check what it answers; or None."""
        return wasm.missing() or super().missing()

    def refusal(self, example: Tensor, precision: Precision) -> str | None:
        """As the base class says; fp16 is no matter of the processor here."""
        if precision not in self.precisions:
            return f"wasm has no {precision}: its weights are written in {' or '.join(self.precisions)}"
        return super().refusal(example, "fp32")

    def write(self, model: Convnet, example: Tensor, precision: Precision, folder: Path) -> None:
        """As the base class says: plan, weights, module, script and a page that answers a picture."""
        self._fill(folder, plan(rewrite(model), tuple(example.shape[1:])), precision == "fp16")

    def quantize(self, written: Path, folder: Path, images: Tensor, weights: Mapping[str, Tensor],
                 keep: Collection[str]) -> None:
        """As the native backend does it; the native kernels see what the images' maps hold."""
        if reason := native.missing():
            raise ConvatlasError(f"int8 for WebAssembly is made by the native kernels of this machine: {reason}")
        self._fill(folder, on_bytes(written, images, keep))

    def _fill(self, folder: Path, works: Sequence[Work], half: bool = False) -> None:
        put_plan(folder, works, half=half)
        put(folder / MODULE, wasm.module())
        for name in (SCRIPT, PAGE):
            put(folder / name, (files("convatlas.deploy.web") / name).read_bytes())

    def open(self, folder: Path, example: Tensor, precision: Precision) -> Predictor:
        """As the base class says, for images of the size that it was written for."""
        machine = wasm.Machine((folder / STEPS).read_bytes(), (folder / WEIGHTS).read_bytes())
        if machine.size != tuple(example.shape[1:]):
            raise ConvatlasError(f"{str(folder)!r} is for images of {machine.size}, not {tuple(example.shape[1:])}: "
                                 "deploy it again")
        result = json.loads((folder / STEPS).read_text(encoding="utf-8"))["steps"][-1]
        _, high, wide, channels, _ = result["result"]
        shape = (channels,) if result["flat"] else (channels, high, wide)
        return lambda x: torch.from_numpy(np.array(machine(x.float().numpy()))).reshape(len(x), *shape)
