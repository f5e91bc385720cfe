"""The engines that run a network, by name."""

from ...errors import ConvatlasError, nearest
from .aot import Aot
from .base import Backend as Backend
from .base import Precision as Precision
from .base import Predictor as Predictor
from .base import exported as exported
from .compiled import Compiled
from .eager import Eager
from .native import Native
from .onnx_runtime import OnnxRuntime
from .open_vino import OpenVino
from .wasm import Wasm

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (
    Eager(), Native(), Compiled(), Aot(), OnnxRuntime(), OpenVino(), Wasm())}


def backend_of(name: str) -> Backend:
    """The backend of that name; an unknown one is a ConvatlasError."""
    if name not in BACKENDS:
        raise ConvatlasError(f"backend {name!r} is unknown: there are auto, "
                             f"{', '.join(BACKENDS)}{nearest(name, BACKENDS)}")
    return BACKENDS[name]
