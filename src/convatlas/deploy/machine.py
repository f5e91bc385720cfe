"""The machine: its peak rate of matrix arithmetic, as measured, and what it is called."""

import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .graph.pack import MKLDNN, can_pack

SIDE = 2048                             # of the two square matrices
OPERATIONS = 2 * SIDE ** 3              # multiplications and additions of their product


def matrix_product() -> Callable[[], Tensor]:
    """A product of two square float32 matrices, OPERATIONS in all, by the fastest way that torch has on the CPU.

    That is oneDNN with the second matrix in its own order: torch.mm may take the path of an older instruction set.
    """
    dice = torch.Generator().manual_seed(0)
    left, right = (torch.randn(SIDE, SIDE, generator=dice) for _ in range(2))
    if not can_pack():
        return lambda: left @ right
    packed = MKLDNN._reorder_linear_weight(right, SIDE)

    def product() -> Tensor:
        out: Tensor = MKLDNN._linear_pointwise.default(left, packed, None, "none", [], "")
        return out

    return product


def about(packages: Sequence[str] = ("convatlas", "torch", "timm", "torchvision", "onnxruntime",
                                     "openvino")) -> dict[str, Any]:
    """Processor, cores, system and the versions that a measurement depends on."""
    return {"processor": processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
            "instructions": torch.backends.cpu.get_cpu_capability(), "system": f"{platform.system()} "
            f"{platform.machine()}", "python": platform.python_version(), **versions(packages)}


def processor() -> str:
    """The CPU's name, as far as the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
                platform.processor())


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Package → version, of those that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
