"""The steps of a network in bf16: convolutions and linear layers have their weights so, and multiply with what is
rounded to it; sums and maps are floats, and other steps as in fp32.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import Network
from .work import Halves, UnsupportedError, Work

#   kernel, and `gather` of kernels/bfloat16.h: how it multiplies
WAYS = {("tconv", 0): "by tiles (AMX)", ("bconv", 1): "by pairs (AVX512-BF16)", ("bconv", 0): "as floats"}
OTHERS = {"winograd4": "by Winograd's algorithm", "winograd2": "by Winograd's algorithm", "depthwise": "depthwise",
          "conv": "in small groups", "transposed": "transposed"}


@dataclass(frozen=True)
class Bf16:
    """Account of a network in bf16: its convolutions and linear layers, by what they multiply in, for the batch that it
    is fast for.
    """

    backend: str
    layers: int
    bf16: dict[str, int]                # how the products are computed → layers
    fp32: dict[str, tuple[str, ...]]    # those left in fp32, by the reason; of Winograd's only the weights are bf16

    def __str__(self) -> str:
        ways = ", ".join(f"{count} {way}" for way, count in self.bf16.items())
        lines = [f"bf16 by {self.backend}: {sum(self.bf16.values())} of {self.layers} layers multiply in bf16"
                 + (f" ({ways})" if ways else "") + "; sums, maps and all other steps are fp32"]
        lines += [f"in fp32, {why}: {', '.join(names)}" for why, names in self.fp32.items()]
        return "\n".join(lines)


def rounded(values: NDArray[Any]) -> Halves:
    """The nearest bf16 of floats, half to even, as their bits; what is below the least normal number becomes 0."""
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


def account(network: Network, images: int) -> Bf16:
    """Account of the network when it answers so many images: which layers multiply in bf16, and how."""
    ways: Counter[str] = Counter()
    others: dict[str, tuple[str, ...]] = {}
    for work, (kind, _, gather, _) in network.kernels(images):
        if (kind, gather) in WAYS:
            ways[WAYS[kind, gather]] += 1
        elif kind in OTHERS:
            others[OTHERS[kind]] = (*others.get(OTHERS[kind], ()), work.name)
    return Bf16("native", ways.total() + sum(map(len, others.values())), dict(ways), others)
