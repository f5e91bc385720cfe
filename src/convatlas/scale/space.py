"""A search space over the rows of EfficientNet's table, as MnasNet's (Tan et al., "MnasNet: Platform-Aware Neural
Architecture Search for Mobile", CVPR 2019, section 4.1).

Each row of MBConv has five decisions of its own: kernel 3 or 5, expansion 3 or 6, squeeze-and-excitation or none, a
quarter fewer or more channels than at the start, a layer fewer or more. Departs: MnasNet also lets a row be plain or
depthwise convolutions, and begins at MobileNetV2; here the start is EfficientNet-B0 with strides that suit the user's
pictures, brought to the wanted cost by the compound rule in depth and width.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import ceil, prod
from random import Random
from typing import NamedTuple

from ..arch.efficientnet import TABLE_1, EfficientNet, Row
from ..errors import ConvatlasError
from ..net.model import by, pair
from ..parts import round_channels
from ..tasks.fit import MAPS
from .compound import PAPER

KERNELS, EXPANSIONS = (3, 5), (3, 6)
DEEPEST, SHALLOWEST = 8.0, -40.0        # φ that are looked at; width below 1.1⁻⁴⁰ = 0.02 is 8 channels everywhere
WIDEN = 2.0                             # times the rule's width, at most, where layers come whole
STEPS = 10                              # halvings of these ranges: finer than widths of multiples of 8 can tell
HALVINGS = 5                            # of B0

Table = tuple[Row, ...]
Decisions = Mapping[str, int]           # `5.kernel` → 3: row 5 of the table, as the paper counts its stages
Costs = Callable[[EfficientNet], float]


class Decision(NamedTuple):
    """One decision of a space: a row (an index of the table), a column, and its values."""

    row: int
    column: str
    values: tuple[int, ...]

    @property
    def name(self) -> str:
        """`5.kernel`: the stage as the paper counts it, from 1, and the column."""
        return f"{self.row + 1}.{self.column}"


@dataclass(frozen=True)
class Space:
    """The networks around a start, whose table has its width and depth multiplied in (`flat`)."""

    start: EfficientNet

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """All decisions in the order of rows; those with one value are none."""
        return tuple(Decision(index, column, values)
                     for index, row in enumerate(self.start.table[1:-1], 1)
                     for column, values in _columns(row) if len(values) > 1)

    @property
    def size(self) -> int:
        """Number of networks."""
        return prod(len(each.values) for each in self.decisions)

    def spec(self, decided: Decisions) -> EfficientNet:
        """The network of so many decisions; what is not decided stays as at the start."""
        rows = [row._asdict() for row in self.start.table]
        for each in self.decisions:
            if each.name in decided:
                rows[each.row][each.column] = decided[each.name]
        return replace(self.start, table=tuple(Row(**{**row, "se": bool(row["se"])}) for row in rows))

    def decided(self, spec: EfficientNet) -> dict[str, int]:
        """The decisions that give a network of this space."""
        return {each.name: int(getattr(spec.table[each.row], each.column)) for each in self.decisions}

    def drawn(self, dice: Random) -> dict[str, int]:
        """A network at random, every value of each decision as likely as the others."""
        return {each.name: dice.choice(each.values) for each in self.decisions}

    def mutated(self, parent: Decisions, dice: Random) -> dict[str, int]:
        """A child that differs from its parent in one decision."""
        one = dice.choice(self.decisions)
        return {**parent, one.name: dice.choice([value for value in one.values if value != parent[one.name]])}


def _columns(row: Row) -> Iterator[tuple[str, tuple[int, ...]]]:
    narrow, wide = round_channels(0.75 * row.channels), round_channels(1.25 * row.channels)
    yield "expand", EXPANSIONS if row.expand > 1 else (row.expand,)     # MBConv1 has nothing to expand
    yield "kernel", KERNELS
    yield "channels", tuple(sorted({max(8, min(narrow, row.channels - 8)), row.channels, max(wide, row.channels + 8)}))
    yield "layers", tuple(sorted({max(1, row.layers - 1), row.layers, row.layers + 1}))
    yield "se", (0, 1)


def rows_for(halvings: int) -> Table:
    """Table 1 with so many halvings of the picture in place of five: the maps are the paper's from where they are small
    enough, so that the first of its strides go.

    A resolution is that of a picture of 224 pixels, as in the paper's table; a row's stride is its own over the next
    one's.
    """
    widest = TABLE_1[-1].resolution * 2 ** halvings
    return tuple(row._replace(resolution=min(row.resolution, widest)) for row in TABLE_1)


def most_halvings(side: int) -> int:
    """Halvings of a picture with a short side of so many pixels that leave a last map of 2×2, at most B0's."""
    return next(count for count in range(HALVINGS, -1, -1) if not count or -(-side // 2 ** count) >= MAPS)


def flat(spec: EfficientNet) -> EfficientNet:
    """The same network with its multipliers in the table: `width` and `depth` are 1."""
    begin, *middle, end = (row._replace(channels=round_channels(row.channels * spec.width)) for row in spec.table)
    layers = (row._replace(layers=ceil(row.layers * spec.depth)) for row in middle)
    return replace(spec, table=(begin, *layers, end), width=1.0, depth=1.0)


def around(spec: EfficientNet, wanted: float, cost: Costs) -> Space:
    """The space whose start costs about as much as is wanted, and not more.

    `spec` says the picture size, channels and classes. Depth and width of the start are those of the compound rule,
    1.2^φ and 1.1^φ, with the largest φ that is not too dear; pictures are halved as often as brings φ nearest to 0, B0
    itself, and leaves a last map of 2×2 places. As layers come whole, width then takes up what they leave. A budget
    that even the smallest start exceeds, or the largest does not reach, is a ConvatlasError.
    """
    def at(halvings: int, depth: float, width: float) -> EfficientNet:
        return flat(replace(spec, table=rows_for(halvings), depth=depth, width=width))

    def fits(halvings: int, phi: float) -> bool:
        return cost(at(halvings, *PAPER.at(phi)[:2])) <= wanted

    most, size = most_halvings(min(pair(spec.image_size))), by(pair(spec.image_size))
    if not fits(most, SHALLOWEST):
        least = cost(at(most, *PAPER.at(SHALLOWEST)[:2]))
        raise ConvatlasError(f"the smallest start of a search at {size} pixels costs {least:.4g}, more than the "
                             f"{wanted:.4g} that are wanted: allow more, or name a smaller --image-size")
    if fits(0, DEEPEST):
        raise ConvatlasError(f"the largest start of a search at {size} pixels costs less than the {wanted:.4g} that "
                             "are wanted: name a larger --image-size")
    found = {halvings: _largest(SHALLOWEST, DEEPEST, partial(fits, halvings)) for halvings in range(most + 1)
             if fits(halvings, SHALLOWEST)}
    halvings = min(found, key=lambda each: abs(found[each]))
    depth, width, _ = PAPER.at(found[halvings])
    return Space(at(halvings, depth, _largest(width, WIDEN * width,
                                              lambda width: cost(at(halvings, depth, width)) <= wanted)))


def _largest(low: float, high: float, fits: Callable[[float], bool]) -> float:
    """The largest number between these that fits, nearly; `low` does."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
