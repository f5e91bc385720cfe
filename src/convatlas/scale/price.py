"""Price of a network in a search: multiply-adds, which follow from shapes, or latency, which is predicted.

A search cannot measure while its own trials compute beside it. So some networks of the space are measured before it
begins, and a sum over a network's parts is fitted to them: time per multiply-add, per number written, per block, per
gate, and once. Wu et al. (FBNet, CVPR 2019) and Cai et al. (ProxylessNAS, ICLR 2019) add up measured operations in the
same way. What the search ends with is measured again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from random import Random
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..arch.efficientnet import EfficientNet
from ..draw.numbers import short
from ..errors import ConvatlasError
from ..net.model import Spec, pair
from . import cost
from .space import Space, around, flat

Unit = Literal["macs", "latency"]
Tell = Callable[[str], None]

MEASURED = 16           # networks that a latency is fitted to
ROUNDS, SECONDS = 3, 0.2
STEPS = 6               # networks that are looked at to bring one to a latency
NEAR = 0.03             # share by which it may miss it
VAGUE = 0.1             # share from which a prediction that misses by it is warned of


@dataclass(frozen=True)
class Price:
    """The price of networks: multiply-adds for an image, or seconds of one call of the deployed network."""

    unit: Unit
    seconds: tuple[float, ...] = ()     # of latency: per part, in the order of `parts`
    error: float = 0.0                  # median share by which a network that was not fitted is missed
    backend: str = ""                   # that was measured

    def __call__(self, spec: Spec) -> float:
        """Multiply-adds, or seconds."""
        assert isinstance(spec, EfficientNet)
        return macs(spec) if self.unit == "macs" else float(np.dot(self.seconds, parts(spec)))

    def words(self, spec: Spec) -> str:
        """`4.97M multiply-adds`, `5.02 ms`."""
        return said(self.unit, self(spec))


def checked(price: Price, specs: Mapping[str, EfficientNet], tell: Tell) -> dict[str, cost.Latency]:
    """The latencies of networks that a search ends with, measured while nothing else of it runs, and told; nothing
    where prices are multiply-adds.
    """
    found = {} if price.unit == "macs" else {name: cost.latency(spec, backend=price.backend)
                                             for name, spec in specs.items()}
    for name, each in found.items():
        tell(f"{name}: {1000 * each.seconds:.3g} ms ({1000 * each.low:.3g} to {1000 * each.high:.3g}) measured, "
             f"{price.words(specs[name])} predicted")
    return found


def said(unit: Unit, price: float) -> str:
    """A price in words."""
    return f"{short(price)} multiply-adds" if unit == "macs" else f"{1000 * price:.3g} ms"


def parts(spec: EfficientNet) -> tuple[float, ...]:
    """1, multiply-adds, numbers that convolutions write, blocks, gates: what a latency is a sum over.

    Counted from the table, in microseconds where `cost.macs` takes tenths of a second: a search looks at thousands.
    """
    begin, *middle, end = flat(spec).table
    strides = [here.resolution // there.resolution for here, there in pairwise(spec.table)]
    sides = [-(-side // strides[0]) for side in pair(spec.image_size)]
    cin, places = begin.channels, prod(sides)
    macs, writes = begin.kernel ** 2 * spec.in_chans * cin * places, cin * places
    blocks = gates = 0
    for row, stride in zip(middle, strides[1:], strict=True):
        for layer in range(row.layers):
            mid, before = row.expand * cin, places
            sides = sides if layer else [-(-side // stride) for side in sides]
            places = prod(sides)
            squeezed = max(1, int(cin * spec.se_ratio)) if spec.se_ratio and row.se else 0
            expanded = mid * before * (mid != cin)
            macs += cin * expanded + mid * places * (row.kernel ** 2 + row.channels) + 2 * mid * squeezed
            writes += expanded + (mid + row.channels) * places
            blocks, gates, cin = blocks + 1, gates + (squeezed > 0), row.channels
    macs += end.kernel ** 2 * cin * end.channels * places + end.channels * spec.num_classes
    return 1.0, float(macs), float(writes + end.channels * places), float(blocks), float(gates)


def macs(spec: EfficientNet) -> float:
    """Multiply-adds for one image."""
    return parts(spec)[1]


def priced(spec: EfficientNet, wanted: float, unit: Unit, tell: Tell) -> tuple[Space, Price]:
    """The space around a start of that price (`space.around`), and what prices its networks."""
    if unit == "macs":
        price = Price("macs")
        return around(spec, wanted, price), price
    measured: list[tuple[EfficientNet, float]] = []
    first = cost.latency(around(spec, macs(spec) / 4, macs).start, rounds=ROUNDS, seconds=SECONDS)
    tell(f"Latencies are those of {first.backend}, the fastest here.")

    def seconds(network: EfficientNet) -> float:
        found = cost.latency(network, backend=first.backend, rounds=ROUNDS, seconds=SECONDS).seconds
        measured.append((network, found))
        return found

    near = at_latency(lambda wanted: around(spec, wanted, macs).start, wanted, macs(spec) / 4, seconds)
    space, dice = Space(near), Random(0)
    while len(measured) < MEASURED:
        seconds(space.spec(space.drawn(dice)))
    price = fitted(measured, first.backend)
    tell(f"Latencies are predicted from those of {len(measured)} networks, and miss one that they do not know by "
         f"{100 * price.error:.1f} % (median)" + (f", more than {100 * VAGUE:.0f} %: is the machine busy?"
                                                  if price.error > VAGUE else "."))
    return around(spec, wanted, price), price


def at_latency(made: Callable[[float], EfficientNet], wanted: float, guess: float,
               seconds: Callable[[EfficientNet], float]) -> EfficientNet:
    """Of the networks that are made for so many multiply-adds, the one whose latency comes nearest, not far above."""
    tried, budget = list[tuple[float, EfficientNet]](), guess
    for _ in range(STEPS):
        try:
            network = made(budget)
        except ConvatlasError:          # less than the smallest has
            if not tried:
                raise
            budget = (budget + macs(tried[-1][1])) / 2
            continue
        found = seconds(network)
        tried.append((found, network))
        if abs(found / wanted - 1) <= NEAR:
            break
        budget = macs(network) * wanted / found
    below = [each for each in tried if each[0] <= wanted * (1 + NEAR)]
    if not below:
        least = min(found for found, _ in tried)
        raise ConvatlasError(f"no network of this space is as fast as {1000 * wanted:.3g} ms here: the fastest that "
                             f"was measured takes {1000 * least:.3g} ms; allow more, or name a smaller --image-size")
    return max(below, key=lambda each: each[0])[1]


def fitted(measured: Sequence[tuple[EfficientNet, float]], backend: str) -> Price:
    """The price that fits these latencies, in shares of each; its error is what each is missed by without it."""
    rows = np.array([np.array(parts(spec)) / seconds for spec, seconds in measured])
    missed = [abs(float(rows[i] @ _least(np.delete(rows, i, 0))) - 1) for i in range(len(rows))]
    return Price("latency", tuple(float(each) for each in _least(rows)), median(missed), backend)


def _least(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights, none negative, whose sums over the rows come nearest to 1."""
    from scipy.optimize import nnls

    scale = rows.max(0)
    scale[scale == 0] = 1
    weights, _ = nnls(rows / scale, np.ones(len(rows)))
    return np.asarray(weights / scale)
