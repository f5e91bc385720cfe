"""Account of a machine: its means of running networks, and what it lacks."""

import time
from collections.abc import Callable
from typing import Any

import torch

from ..files import cache_dir
from .backends import BACKENDS
from .machine import OPERATIONS, about, matrix_product, versions
from .native.build import state

COPIED = 2 ** 27        # bytes of the array whose copying is timed, more than most caches hold
SECONDS = 0.5           # of each measurement, at least
PACKAGES = ("torch", "torchvision", "onnxruntime", "onnx", "onnxscript", "openvino", "nncf", "executorch", "timm")


def examined() -> dict[str, Any]:
    """The machine, its kernels, engines, caches and measured rates; a field is None or empty where there is nothing.

    `matrix` is in float32 operations per second, `bandwidth` in bytes per second that are read or written.
    """
    here = torch.empty(COPIED, dtype=torch.uint8).fill_(1)
    there = torch.empty_like(here)
    return {
        "machine": about(("convatlas",)), "kernels": state(), "matrix": OPERATIONS / _fastest(matrix_product()),
        "bandwidth": 2 * COPIED / _fastest(lambda: there.copy_(here)),
        "backends": {name: backend.missing() for name, backend in BACKENDS.items()}, "packages": versions(PACKAGES),
        "caches": [{"path": str(path), "bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file())}
                   for path in (cache_dir(), *(cache_dir() / name for name in ("native", "deploy"))) if path.is_dir()],
        "cache": str(cache_dir()),
    }


def _fastest(call: Callable[[], Any]) -> float:
    """Seconds of the fastest of several calls: others' work on the machine only makes them slower."""
    call()
    found: list[float] = []
    began = time.perf_counter()
    while len(found) < 3 or time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)
