"""Candidates of a search: ways to share a doubling of the multiply-adds among depth, width and resolution.

With a, b and c the shares of depth, width and resolution, α = 2^a, β = 2^(b/2) and γ = 2^(c/2) have α·β²·γ² = 2 where
a + b + c = 1. So candidates lie on a triangle whose corners are one dimension alone; a lattice covers it evenly. Each
stands for the network that costs 2^φ times as much as the one that is scaled, as near as can be built.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from math import inf, log2
from typing import Literal

from ..net.model import Spec
from . import cost
from .compound import ALONE, CLOSE, Coefficients, Dimension, Reached, reach, reach_latency
from .rule import scaled

EQUAL = 0.01        # deviation from equal cost that is looked for; what is reached is shown
COARSEST = 3        # steps along a side of the triangle: with fewer, none scales all three
FINEST = 12         # steps beyond which few new networks are found
DIMENSIONS: tuple[Dimension, ...] = ("depth", "width", "resolution")

ROUNDS, SECONDS = 4, 0.25       # of a measurement of latency, of which a search makes a hundred

Equal = Literal["macs", "latency"]
At = Callable[[Coefficients], Reached]      # the network that coefficients lead to at some cost
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


def equally(spec: Spec, phi: float, equal: Equal = "macs") -> At:
    """The network that coefficients lead to at 2^φ times the cost of `spec`: multiply-adds, as near as can be built, or
    the latency of the deployed network, measured here, within its interval where a network is found there.
    """
    if equal == "macs":
        return partial(reach, spec, 2 ** phi * cost.macs(spec), _counted(spec), within=EQUAL, close=CLOSE)
    timed = _timer()
    budget = 2 ** phi * timed(spec).seconds
    return lambda rule: reach_latency(spec, budget, timed, rule)[0]


def candidates(count: int, at: At, tell: Tell = lambda text: None, within: float = inf, *,
               beside: Iterable[Spec] = ()) -> list[Candidate]:
    """So many candidates, no two the same network and none of them one of `beside`, each `at` the same cost.

    The coarsest lattice that has as many points is tried first, finer ones where networks coincide by rounding. Those
    that miss the cost by more than `within`, or whose images depart from the rule's by more than 5 %, come last, for
    want of others among twice as many. Fewer come back where even the finest lattice has no more.
    """
    equal, apart, tried = list[Candidate](), list[Candidate](), set[Coefficients]()
    known = set(map(cost.shapes, beside))
    for point in _points(count):
        rule = coefficients(point)
        if len(equal) == count or len(equal) + len(apart) >= 2 * count:
            break
        if rule in tried:
            continue
        tried.add(rule)
        each = Candidate(rule, at(rule))
        if (shapes := cost.shapes(each.spec)) not in known:
            known.add(shapes)
            missed = abs(each.reached.deviation) > within or abs(each.reached.point.departure) > CLOSE
            (apart if missed else equal).append(each)
            tell(f"candidate {len(equal) + len(apart)}: {each.name}, {100 * each.reached.deviation:+.1f} % of the cost")
    return [*equal, *sorted(apart, key=lambda each: abs(each.reached.deviation) + abs(each.reached.point.departure))
            ][:count]


def rivals(at: At) -> dict[Dimension, Candidate]:
    """The networks with one dimension scaled alone, at the same cost."""
    return {name: Candidate(ALONE[name], at(ALONE[name])) for name in DIMENSIONS}


def _counted(base: Spec) -> Callable[[Spec], float]:
    """Multiply-adds, counted once of networks scaled from `base` that rounding makes the same, as most are."""
    known: dict[tuple[object, ...], int] = {}

    def counted(spec: Spec) -> float:
        same = spec.image_size, *cost.shapes(scaled(spec, image_size=base.image_size))
        if same not in known:
            known[same] = cost.macs(spec)
        return known[same]
    return counted


def _timer() -> Callable[[Spec], cost.Latency]:
    """The measurement of latency by one backend: the fastest for the first network."""
    backend = ["auto"]

    def timed(spec: Spec) -> cost.Latency:
        took = cost.latency(spec, 1, backend[0], rounds=ROUNDS, seconds=SECONDS)
        backend[0] = took.backend
        return took
    return timed


def _points(count: int) -> Iterator[tuple[float, float, float]]:
    fewest = next(steps for steps in range(COARSEST, FINEST * 100) if len(shares(steps)) >= count)
    for steps in range(fewest, max(fewest, FINEST) + 1):
        yield from shares(steps)
