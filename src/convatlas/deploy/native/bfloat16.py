"""The steps of a network in bf16: convolutions and linear layers have their weights so, and multiply with what is
rounded to it; so are the maps that only they and max-pools read. Sums are floats, and other steps as in fp32.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import Network
from .work import Buffer, Halves, Map, UnsupportedError, Work

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
    maps: int                           # of those between steps, how many are bf16
    fp32: dict[str, tuple[str, ...]]    # those left in fp32, by the reason; of Winograd's only the weights are bf16

    def __str__(self) -> str:
        ways = ", ".join(f"{count} {way}" for way, count in self.bf16.items())
        lines = [f"bf16 by {self.backend}: {sum(self.bf16.values())} of {self.layers} layers multiply in bf16"
                 + (f" ({ways})" if ways else "")
                 + f"; {self.maps} maps between them are bf16, sums and all other steps fp32"]
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
    return _with_halves(found)


def _with_halves(works: Sequence[Work]) -> list[Work]:
    """The steps, with each map in bf16 whose writers and readers all know it: a max-pool has both maps so or none."""
    floats: set[Buffer] = set()                 # that stay so
    for work in works:
        known = work.kind in ("bconv", "maxpool")
        for found in (work.source, work.result, work.other):
            if found is not None and found.buffer is not None and (
                    not known or found.channel % 2 or found.stride % 2
                    or (found is work.source and work.before is not None)):
                floats.add(found.buffer.root)
    pools = [{work.source.buffer.root, work.result.buffer.root} for work in works
             if work.kind == "maxpool" and work.source.buffer is not None and work.result.buffer is not None]
    while mixed := [pool for pool in pools if floats & pool and pool - floats]:
        floats = floats.union(*mixed)
    made: dict[Buffer, Buffer] = {}

    def half(buffer: Buffer) -> Buffer:
        if buffer.root in floats:
            return buffer
        if buffer not in made:
            made[buffer] = replace(buffer, of=None if buffer.of is None else half(buffer.of), wide=2)
        return made[buffer]

    def seen(found: Map) -> Map:
        return found if found.buffer is None else replace(found, buffer=half(found.buffer))

    return [replace(work, source=seen(work.source), result=seen(work.result),
                    other=None if work.other is None else seen(work.other)) for work in works]


def _can(work: Work) -> bool:
    """True for a step whose form in bf16 is there."""
    return work.kind == "conv" and not work.small_groups and (work.groups == 1 or work.source.c // work.groups % 2 == 0)


def account(network: Network, images: int) -> Bf16:
    """Account of the network when it answers so many images: which layers multiply in bf16, and how."""
    ways: Counter[str] = Counter()
    others: dict[str, tuple[str, ...]] = {}
    maps = {work.result.buffer.root for work in network.works
            if work.result.buffer is not None and work.result.wide == 2}
    for work, (kind, _, gather, _) in network.kernels(images):
        if (kind, gather) in WAYS:
            ways[WAYS[kind, gather]] += 1
        elif kind in OTHERS:
            others[OTHERS[kind]] = (*others.get(OTHERS[kind], ()), work.name)
    return Bf16("native", ways.total() + sum(map(len, others.values())), dict(ways), len(maps),
                others)
