"""ONNX Runtime."""

import io
import logging
import platform
import sys
from collections.abc import Collection, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...net.model import Convnet
from ...net.segmenter import Segmenter
from ..int8.sensitivity import places
from ..reader import open_session as open_session
from .base import Backend, Precision, Predictor, graph_of, quiet_solver
from .split import Run, by_onnxruntime, tune, tuned


class OnnxRuntime(Backend):
    """One file that engines everywhere read."""

    name, file, extra = "onnxruntime", "model.onnx", "onnx"
    requires = ("onnx", "onnxscript", "onnxruntime")
    precisions, devices = ("fp32", "int8"), ("cpu",)

    def write(self, model: Convnet, example: Tensor, precision: Precision, folder: Path) -> None:
        """As the base class says."""
        write_onnx(model, example, folder / self.file)
        threads, images = torch.get_num_threads(), example.contiguous().numpy()
        tune(lambda part: self._run(folder, threads, None if part == len(images) else part), images, threads, folder)

    def _run(self, folder: Path, threads: int, part: int | None) -> Run:
        return by_onnxruntime(lambda count: open_session(folder / self.file, count), threads, part)

    def open(self, folder: Path, example: Tensor, precision: Precision) -> Predictor:
        """As the base class says."""
        threads = torch.get_num_threads()
        part = tuned(folder, threads).get(len(example))
        run = self._run(folder, threads, None if part == len(example) else part)

        def scores(x: Tensor) -> Tensor:
            return torch.from_numpy(run(x.contiguous().numpy()))

        return scores

    def quantize(self, written: Path, folder: Path, images: Tensor, weights: Mapping[str, Tensor],
                 keep: Collection[str]) -> None:
        """By ONNX Runtime: static, as pairs of QuantizeLinear and DequantizeLinear; weights symmetric per channel."""
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        shaped = folder / f"shaped-{self.file}"
        quant_pre_process(written / self.file, shaped, skip_optimization=True, skip_symbolic_shape=True)
        graph = onnx.load(str(shaped)).graph
        constants = {each.name: each for each in graph.initializer}
        nodes = places(weights, [(node.name, onnx.numpy_helper.to_array(constants[name])) for node in graph.node
                                 if node.op_type in WEIGHTED for name in node.input[:2] if name in constants])
        logging.getLogger().addFilter(_quiet)
        try:
            with redirect_stdout(io.StringIO()):
                quantize_static(str(shaped), str(folder / self.file), _reader(images), quant_format=QuantFormat.QDQ,
                                per_channel=True, weight_type=QuantType.QInt8,
                                activation_type=QuantType.QUInt8, reduce_range=_saturates(),
                                nodes_to_exclude=[nodes[layer] for layer in keep if layer in nodes])
        finally:
            logging.getLogger().removeFilter(_quiet)
            shaped.unlink()


WEIGHTED = ("Conv", "Gemm", "MatMul")


def _reader(images: Tensor) -> Any:
    """A calibration reader: gives ONNX Runtime the images, eight at a time."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):        # type: ignore[misc]    # the engine is untyped
        batches = iter([images[i : i + 8].numpy() for i in range(0, len(images), 8)])

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"image": batch}

    return Reader()


def _quiet(record: logging.LogRecord) -> bool:
    """ONNX Runtime advises its own pre-processing, part of which is left out on purpose."""
    return "pre-processing" not in record.getMessage()


def _saturates() -> bool:
    """True if sums of two products overflow 16 bits: x86 without VNNI.

    Weights then have 7 bits, as ONNX Runtime advises.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return sys.platform != "linux" or "vnni" not in Path("/proc/cpuinfo").read_text(encoding="utf-8")


def write_onnx(model: Convnet, example: Tensor, path: Path) -> None:
    """The rewritten network: input `image` (batch, C, H, W), output `scores`, any batch, weights inside the file; where
    it scores pixels, any size that it accepts.
    """
    two = example[:1].repeat(2, 1, 1, 1)        # torch.export takes a batch of one for a constant
    dimensions = {0: "batch", 2: "height", 3: "width"} if isinstance(model, Segmenter) else {0: "batch"}
    with torch.no_grad(), quiet_solver():
        torch.onnx.export(graph_of(model), (two,), str(path), input_names=["image"], output_names=["scores"],
                          dynamo=True, dynamic_shapes=(dimensions,), external_data=False, verbose=False)
