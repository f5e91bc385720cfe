"""The native kernels as WebAssembly, for browsers: a folder that any web server hands out. wasmtime runs it here."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...errors import ConvatlasError
from ...files import put
from ...net.model import Convnet
from ..graph.rewrite import rewrite
from ..native import wasm
from ..native.plan import plan
from ..native.stored import STEPS, WEIGHTS, put_plan
from .base import Backend, Precision, Predictor

MODULE, SCRIPT, PAGE = "convatlas.wasm", "convatlas.js", "index.html"


class Wasm(Backend):
    """One thread, vectors of four floats; it computes in fp32, and `precision` is that of the weights in the folder."""

    name, file, precisions, devices = "wasm", WEIGHTS, ("fp32", "fp16"), ("cpu",)
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
        put_plan(folder, plan(rewrite(model), tuple(example.shape[1:])), half=precision == "fp16")
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
