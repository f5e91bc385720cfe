"""Candidates of a search: ways to share a doubling of the multiply-adds among depth, width and resolution.

With a, b and c the shares of depth, width and resolution, α = 2^a, β = 2^(b/2) and γ = 2^(c/2) have α·β²·γ² = 2 where
a + b + c = 1. So candidates lie on a triangle whose corners are one dimension alone; a lattice covers it evenly. Each
stands for the network that has 2^φ times the multiply-adds of the one that is scaled, as near as can be built.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import log2

from ..net.model import Spec
from . import cost
from .compound import ALONE, Coefficients, Dimension, Measure, Reached, alone, reach

EQUAL = 0.01        # deviation from equal cost that is looked for; what is reached is shown
COARSEST = 3        # steps along a side of the triangle: with fewer, none scales all three
FINEST = 12         # steps beyond which few new networks are found
DIMENSIONS: tuple[Dimension, ...] = ("depth", "width", "resolution")

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Candidate:
    """Coefficients, and the network that they lead to at a cost."""

    coefficients: Coefficients
    reached: Reached

    @property
    def name(self) -> str:
        """`1.19 1.19 1.19`: α, β and γ."""
        return f"{self.coefficients.alpha:.3f} {self.coefficients.beta:.3f} {self.coefficients.gamma:.3f}"

    @property
    def spec(self) -> Spec:
        """The network's specification."""
        return self.reached.point.spec


def shares(steps: int) -> list[tuple[float, float, float]]:
    """The lattice of shares of depth, width and resolution with so many steps along a side, without its corners; the
    most even first.
    """
    found = [(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]
    inner = [each for each in found if max(each) < steps]
    return [(i / steps, j / steps, k / steps)
            for i, j, k in sorted(inner, key=lambda each: (sum(part * part for part in each), each))]


def coefficients(share: tuple[float, float, float]) -> Coefficients:
    """α, β and γ of shares: each grows the multiply-adds by 2^share."""
    depth, width, resolution = share
    return Coefficients(2 ** depth, 2 ** (width / 2), 2 ** (resolution / 2))


def shares_of(found: Coefficients) -> tuple[float, float, float]:
    """The shares of depth, width and resolution in the growth of coefficients; they add up to 1."""
    whole = log2(found.product)
    return log2(found.alpha) / whole, 2 * log2(found.beta) / whole, 2 * log2(found.gamma) / whole


def candidates(spec: Spec, count: int, phi: float = 1.0, measure: Measure = cost.macs,
               tell: Tell = lambda text: None) -> list[Candidate]:
    """So many candidates, no two the same network, each at 2^φ times the cost of `spec`.

    The coarsest lattice that has as many points is tried first, finer ones where networks coincide by rounding. Fewer
    come back where even the finest has no more.
    """
    budget, found, tried = 2 ** phi * measure(spec), list[Candidate](), set[Coefficients]()
    for point in _points(count):
        rule = coefficients(point)
        if len(found) == count:
            break
        if rule in tried:
            continue
        tried.add(rule)
        each = Candidate(rule, reach(spec, budget, measure, rule, within=EQUAL))
        if each.spec not in [other.spec for other in found]:
            found.append(each)
            tell(f"{len(found)} of {count} candidates: {each.name}, {100 * each.reached.deviation:+.1f} % of the cost")
    return found


def rivals(spec: Spec, phi: float = 1.0, measure: Measure = cost.macs) -> dict[Dimension, Candidate]:
    """The networks with one dimension scaled alone, at the same cost as near as can be built."""
    budget = 2 ** phi * measure(spec)
    return {name: Candidate(ALONE[name], alone(spec, name, budget, measure, adjust=True, within=EQUAL))
            for name in DIMENSIONS}


def _points(count: int) -> Iterator[tuple[float, float, float]]:
    fewest = next(steps for steps in range(COARSEST, FINEST * 100) if len(shares(steps)) >= count)
    for steps in range(fewest, max(fewest, FINEST) + 1):
        yield from shares(steps)
