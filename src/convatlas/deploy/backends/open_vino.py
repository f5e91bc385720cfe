"""OpenVINO."""

import ctypes
import io
import logging
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...net.model import Convnet
from ..int8.sensitivity import places
from ..reader import openvino_core, silent
from .base import Backend, Precision, Predictor, exported
from .split import Floats, by_openvino, tune, tuned

#   int8 is in the graph itself; what it leaves in floating point is fp32 then
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
CURVED = {"Swish", "HSwish", "Gelu", "Elu", "Mish", "PRelu"}
WEIGHTED = ("Convolution", "GroupConvolution", "MatMul")


class OpenVino(Backend):
    """Its CPU engine; each shape is compiled when it first comes."""

    name, file, extra, requires = "openvino", "model.xml", "openvino", ("openvino",)
    precisions, devices = ("fp32", "bf16", "int8"), ("cpu",)
    int8_requires, int8_extra = ("nncf",), "int8"

    def write(self, model: Convnet, example: Tensor, precision: Precision, folder: Path) -> None:
        """As the base class says."""
        write_ir(model, example, folder / self.file)
        threads, images, content = torch.get_num_threads(), example.contiguous().numpy(), _content(folder / self.file)
        tune(lambda part: _compiled(content, precision, images.shape, part), images, threads, folder)

    def open(self, folder: Path, example: Tensor, precision: Precision) -> Predictor:
        """As the base class says."""
        content, parts = _content(folder / self.file), tuned(folder, torch.get_num_threads())
        made: dict[tuple[int, ...], Callable[[Floats], Floats]] = {}

        def compiled(shape: tuple[int, ...]) -> Callable[[Floats], Floats]:
            if shape not in made:
                made[shape] = _compiled(content, precision, shape, parts.get(shape[0], shape[0]))
            return made[shape]

        def scores(x: Tensor) -> Tensor:
            return torch.from_numpy(compiled(tuple(x.shape))(x.contiguous().numpy()))

        compiled(tuple(example.shape))
        return scores

    def quantize(self, written: Path, folder: Path, images: Tensor, weights: Mapping[str, Tensor],
                 keep: Collection[str]) -> None:
        """By NNCF: weights symmetric per channel, activations between the bounds that the images show, biases
        corrected.

        Bounds are symmetric around zero, which is fastest, unless the network has activations that reach a little below
        zero, where that would waste nearly half of the 256 steps.
        """
        openvino = silent()         # before NNCF is imported: its telemetry is off then too
        # whose loading warns of an absent CUDA
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        import nncf

        logging.getLogger("nncf").setLevel(logging.ERROR)
        source = written / self.file
        network = openvino_core().read_model(*_content(source))
        graph = [(op.get_friendly_name(), _weights(op)) for op in network.get_ordered_ops()]
        nodes = places(weights, [(name, values) for name, values in graph if values is not None])
        curved = any(op.get_type_name() in CURVED for op in network.get_ordered_ops())
        preset = nncf.QuantizationPreset.MIXED if curved else nncf.QuantizationPreset.PERFORMANCE
        with redirect_stdout(io.StringIO()), same_signal_stack():        # progress bars; cores, freed in any order
            quantized = nncf.quantize(
                network, nncf.Dataset([image[None].numpy() for image in images]),
                subset_size=len(images), preset=preset,
                ignored_scope=nncf.IgnoredScope(names=[nodes[layer] for layer in keep if layer in nodes]))
        openvino.save_model(quantized, folder / self.file, compress_to_fp16=False)


def _weights(op: Any) -> Any:
    """The constant that a convolution or linear layer multiplies with, as an array; None for other operations."""
    if op.get_type_name() not in WEIGHTED:
        return None
    found = [node for i in (1, 0) if (node := op.input_value(i).get_node()).get_type_name() == "Constant"]
    return found[0].get_data() if found else None


def _compiled(content: tuple[bytes, bytes], precision: Precision, shape: tuple[int, ...],
              part: int) -> Callable[[Floats], Floats]:
    """The engine for images of this shape, set up for the shortest time of a batch with torch's number of threads."""
    core, threads = openvino_core(), torch.get_num_threads()
    settings = {"INFERENCE_PRECISION_HINT": HINTS[precision], "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads}

    def compile_model(network: Any, streams: int = 1) -> Any:
        return core.compile_model(network, "CPU", settings if streams == 1 else {**settings, "NUM_STREAMS": streams})

    return by_openvino(compile_model, core.read_model(*content), shape, threads, part)


class _Stack(ctypes.Structure):
    """Linux's `stack_t`."""

    _fields_ = (("ss_sp", ctypes.c_void_p), ("ss_flags", ctypes.c_int), ("ss_size", ctypes.c_size_t))


@contextmanager
def same_signal_stack() -> Iterator[None]:
    """Restore the thread's signal stack afterwards: `deploy.reader.openvino_core` says what further cores do to it."""
    if sys.platform != "linux":
        yield
        return
    sigaltstack, before = ctypes.CDLL(None).sigaltstack, _Stack()
    sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        sigaltstack(ctypes.byref(before), None)


def _content(path: Path) -> tuple[bytes, bytes]:
    """Both files: what is read from memory keeps nothing open in the folder."""
    return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def write_ir(model: Convnet, example: Tensor, path: Path) -> None:
    """The rewritten network as OpenVINO's .xml and .bin, fp32, any batch."""
    openvino = silent()
    openvino.save_model(openvino.convert_model(exported(model, example)), path, compress_to_fp16=False)
