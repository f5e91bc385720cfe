"""The steps of a network in bf16: convolutions and linear layers have their weights so, and multiply with what is
rounded to it; sums and maps are floats, and other steps as in fp32.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .work import Floats, Halves, UnsupportedError, Work


def rounded(values: Floats) -> Halves:
    """The nearest bf16, half to even, as their bits; what is below the least normal number becomes 0."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    nearest = (bits + (0x7fff + (bits >> 16 & 1)).astype(np.uint32)) >> 16
    found = np.where(bits & 0x7f800000 == 0, bits >> 16 & 0x8000, nearest)
    halves: Halves = np.where(bits & 0x7fffffff > 0x7f800000, bits >> 16 | 0x40, found).astype(np.uint16)
    return halves


def in_bf16(works: Sequence[Work]) -> list[Work]:
    """The steps, those in bf16 that can be; an UnsupportedError where none can."""
    found = [replace(work, kind="bconv", weight=rounded(work.weight)) if _can(work) and work.weight is not None
             else work for work in works]
    if all(work.kind != "bconv" for work in found):
        raise UnsupportedError("native multiplies in bf16 in convolutions and linear layers, and this network has none "
                               "that it could: take fp32")
    return found


def _can(work: Work) -> bool:
    """True for a step whose form in bf16 is there."""
    return work.kind == "conv" and not work.small_groups and (work.groups == 1 or work.source.c // work.groups % 2 == 0)
