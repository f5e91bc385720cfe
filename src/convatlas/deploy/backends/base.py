"""Backends: leave a network in a folder, and open it there as a callable."""

import logging
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ...errors import ConvatlasError, installing
from ...net.model import Convnet
from ...net.segmenter import Segmenter
from ..graph.rewrite import rewrite
from ..native.bfloat16 import Bf16

Precision = Literal["fp32", "bf16", "fp16", "int8"]
Tell = Callable[[str], None]
Predictor = Callable[[Tensor], Tensor]          # images (N, C, H, W) in float32 to what the network gives, in float32

NETWORK = "model.safetensors"   # in a deployed folder of a network that scores pixels: itself, folded
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def quiet(text: str) -> None:
    """Tells nobody."""


def floating(x: Tensor) -> Tensor:
    """The images; a ConvatlasError for whole numbers, such as a picture's bytes, which engines would take for values.
    """
    if not x.is_floating_point():
        raise ConvatlasError(f"the network takes floating-point images, not {x.dtype}: use convatlas.transforms(model)")
    return x


class Backend(ABC):
    """One way to run a network.

    `requires` are the packages it imports, `extra` the extra of convatlas that brings them; `int8_requires` and
    `int8_extra` what quantising needs besides. A backend with int8 among its `precisions` has `quantise`.
    """

    name: str
    file: str                                   # what `write` leaves in the folder
    requires: tuple[str, ...] = ()
    extra: str = ""
    int8_requires: tuple[str, ...] = ()
    int8_extra: str = ""
    precisions: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
    devices: tuple[str, ...] = ("cpu", "cuda")

    def missing(self) -> str | None:
        """Installation advice for what is not there, or None."""
        return _absent(self.name, self.requires, self.extra)

    def refusal(self, example: Tensor, precision: Precision) -> str | None:
        """The reason why this backend cannot run at this precision where the example lies, or None."""
        device = example.device.type
        if precision not in get_args(Precision):
            return f"precision {precision!r} is unknown: there are {', '.join(get_args(Precision))}"
        if precision == "int8" and "int8" not in self.precisions:
            return f"{self.name} has no int8: native, onnxruntime and openvino have, on the CPU"
        if device not in self.devices:
            return (f"{self.name} runs on {' and '.join(self.devices)}, not on {device}: move network and example "
                    "with .to('cpu')")
        if precision == "fp16" and device == "cpu":
            return ("fp16 is for GPUs: CPUs have no arithmetic for it, and would be slower than in fp32; take bf16 or "
                    "fp32")
        if precision not in self.precisions:
            return f"{self.name} has no {precision}: it runs in {', '.join(self.precisions)}"
        int8 = _absent(f"{self.name} in int8", self.int8_requires, self.int8_extra) if precision == "int8" else None
        return self.missing() or int8

    def check(self, example: Tensor, precision: Precision) -> None:
        """A ConvatlasError, if `refusal` has one."""
        if reason := self.refusal(example, precision):
            raise ConvatlasError(reason)

    def build(self, model: Convnet, example: Tensor, precision: Precision, folder: Path, tell: Tell = quiet
              ) -> tuple[Predictor, int | None]:
        """The network as a callable, and the bytes that it left in the empty `folder`; None where the backend needs no
        file to be fast.

        What takes long says through `tell` how far it is.
        """
        self.write(model, example, precision, folder)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        return self.open(folder, example, precision), size

    def account(self, predictor: Predictor, example: Tensor) -> Bf16 | None:
        """Account of what a predictor that `build` gave computes in bf16, where its engine tells; or None."""
        return None

    @abstractmethod
    def write(self, model: Convnet, example: Tensor, precision: Precision, folder: Path) -> None:
        """Leave in `folder` what `open` reads; any batch is accepted there."""

    @abstractmethod
    def open(self, folder: Path, example: Tensor, precision: Precision) -> Predictor:
        """The callable; `example` has the shape that it is optimised for. It keeps nothing open in `folder`."""

    def quantize(self, written: Path, folder: Path, images: Tensor, weights: Mapping[str, Tensor],
                 keep: Collection[str]) -> None:
        """Leave in `folder` the int8 form of what `write` left in `written`, in fp32; `open` reads it.

        `images` (n, C, h, w) calibrate it; `weights` are those of the network's layers, of which those in `keep` stay
        in fp32.
        """
        raise ConvatlasError(f"{self.name} has no int8: native, onnxruntime and openvino have, on the CPU")


def _absent(what: str, packages: tuple[str, ...], extra: str) -> str | None:
    absent = [package for package in packages if find_spec(package) is None]
    return f"{what} needs {' and '.join(absent)}: {installing(extra)}" if absent else None


def no_compiler(name: str) -> str | None:
    """Installation advice for the C++ compiler that torch's compiler would call, or None where it is there."""
    wanted = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    return (None if shutil.which(wanted)
            else f"{name} needs a C++ compiler: install {wanted}, or name another in the environment variable CXX")


def exported(model: Convnet, example: Tensor) -> torch.export.ExportedProgram:
    """The rewritten network as one graph that takes any batch of images of the example's size; one that scores pixels
    takes those of any size that it accepts.
    """
    two = example[:1].repeat(2, 1, 1, 1)        # torch.export takes a batch of one for a constant
    any_batch: dict[int, Any] = {0: torch.export.Dim("batch")}
    any_size = dict.fromkeys((2, 3), torch.export.Dim.DYNAMIC)
    dimensions = any_batch | any_size if isinstance(model, Segmenter) else any_batch
    with torch.no_grad(), quiet_solver():
        return torch.export.export(graph_of(model), (two,), dynamic_shapes=(dimensions,))


def graph_of(model: Convnet) -> nn.Module:
    """The rewritten network; one whose images' sides are bound refuses others in a graph too, where a format can."""
    return _Bound(model).eval() if isinstance(model, Segmenter) and model.step > 1 else rewrite(model)


class _Bound(nn.Module):
    """A rewritten segmenter; under torch.export its own check of an image's sides is not seen."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.net, self.step, self.rest = rewrite(model), model.step, model.rest

    def forward(self, image: Tensor) -> Tensor:
        for side in image.shape[2:]:            # which torch.export turns into a guard
            if side % self.step != self.rest:
                raise ValueError(side)
        scores: Tensor = self.net(image)
        return scores


@contextmanager
def quiet_solver() -> Iterator[None]:
    """torch.export writes a traceback for each inequality of sizes that its solver leaves to be asked at run time."""
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


SMALL = 7               # sides of depthwise kernels up to which a GPU is faster channels last


def order_of(model: nn.Module, device: torch.device) -> torch.memory_format:
    """Memory format: channels last; but on a GPU, where depthwise kernels are large, one channel after the other.

    cuDNN's 31×31 kernels take ten times as long channels last (H100, bfloat16), the 7×7 ones a quarter of the time.
    """
    large = any(isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1
                and max(layer.kernel_size) > SMALL for layer in model.modules())
    return torch.contiguous_format if large and device.type == "cuda" else torch.channels_last


def in_precision(net: nn.Module, precision: Precision, order: torch.memory_format = torch.channels_last) -> Predictor:
    """`net`, whose tensors are of that precision and order already, with float32 at both ends."""
    dtype = DTYPES[precision]

    def scores(x: Tensor) -> Tensor:
        with torch.inference_mode():
            out: Tensor = net(x.to(dtype=dtype, memory_format=order))
            return out.float()

    return scores
