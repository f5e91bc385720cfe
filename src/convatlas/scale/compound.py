"""Compound scaling: d = α^φ, w = β^φ, r = γ^φ (Tan & Le 2019, eq. 3), and the points that a budget reaches.

The paper demands α·β²·γ² ≈ 2, so that φ counts doublings of the multiply-adds. Rounding breaks that: layers are rounded
up, channels to multiples. So a budget is met by measuring points, not by the formula: φ is continuous, and the image
size, the finest dimension, takes up what rounding leaves.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import isfinite, log
from pathlib import Path
from typing import Literal

from .. import bounded
from ..errors import ConvatlasError
from ..files import check_format, put
from ..net.model import Spec, pair
from ..net.registry import segments
from ..net.segmenter import Segmenter
from . import cost
from .cost import Latency
from .rule import scaled

Dimension = Literal["depth", "width", "resolution"]
Measure = Callable[[Spec], float]
FORMAT = 1                      # of a search folder's coefficients.json
FILE = "coefficients.json"
FURTHEST = 16.0                 # φ beyond which nothing is looked for, either way
TRIES, RESIZED = 8, 3           # measurements of latency: at most so many, and so many with another image size
WITHIN = 0.02                   # deviation from a budget that counts as met
FINEST = 0.005                  # difference of φ, below which no other network is to be had
STEP, ASIDE = 0.04, 12          # steps of φ, and how many either way, to other layers and channels
STRETCH = 0.25                  # share by which an image's side may depart from the rule's to meet a budget
CLOSE = 0.05                    # the same where networks are compared: smaller images are no part of what is


@dataclass(frozen=True)
class Coefficients:
    """α, β and γ: by what depth, width and resolution grow with each φ."""

    alpha: float
    beta: float
    gamma: float

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("beta", self.beta), ("gamma", self.gamma)):
            if not (isfinite(value) and value >= 1):
                raise ConvatlasError(f"{name} = {value!r} is refused: a dimension does not shrink as a network grows, "
                                     "so it is at least 1")
        if self.product == 1:
            raise ConvatlasError("alpha = beta = gamma = 1 is refused: nothing grows")

    def at(self, phi: float) -> tuple[float, float, float]:
        """Multipliers of depth, width and resolution."""
        return self.alpha ** phi, self.beta ** phi, self.gamma ** phi

    @property
    def product(self) -> float:
        """α·β²·γ², by which multiply-adds grow with each φ where nothing is rounded."""
        return self.alpha * self.beta ** 2 * self.gamma ** 2


PAPER = Coefficients(1.2, 1.1, 1.15)        # found on EfficientNet-B0, section 3.3; their product is 1.92
ALONE: dict[Dimension, Coefficients] = {"depth": Coefficients(2, 1, 1), "width": Coefficients(1, 2 ** 0.5, 1),
                                        "resolution": Coefficients(1, 1, 2 ** 0.5)}


@dataclass(frozen=True)
class Point:
    """One scaled network: its specification, the φ and the multipliers it stands for, and the image size that the rule
    alone would give.
    """

    coefficients: Coefficients
    phi: float
    spec: Spec
    size: tuple[int, int]

    @property
    def multipliers(self) -> tuple[float, float, float]:
        """Of depth, width and resolution, before rounding."""
        return self.coefficients.at(self.phi)

    @property
    def adjusted(self) -> bool:
        """True if the image size is not the rule's."""
        return pair(self.spec.image_size) != self.size

    @property
    def departure(self) -> float:
        """Share by which the image's height is above the rule's; negative below."""
        return pair(self.spec.image_size)[0] / self.size[0] - 1


@dataclass(frozen=True)
class Reached:
    """The nearest point to a budget, and what was found there."""

    point: Point
    budget: float
    found: float

    @property
    def deviation(self) -> float:
        """Share by which it is above the budget; negative below."""
        return self.found / self.budget - 1


def point(spec: Spec, coefficients: Coefficients = PAPER, phi: float = 1.0) -> Point:
    """The network at φ of the rule: layers, channels and image sides rounded to what can be built."""
    depth, width, resolution = coefficients.at(phi)
    deep = scaled(spec, depth=depth, width=width)
    sides = _sides(deep, resolution)
    return Point(coefficients, phi, _with_size(deep, sides), sides)


def reach(spec: Spec, budget: float, measure: Measure = cost.macs, coefficients: Coefficients = PAPER, *,
          adjust: bool = True, within: float = WITHIN, close: float = STRETCH) -> Reached:
    """The point nearest to a budget of multiply-adds, or of another `measure` that does not fall as networks grow.

    With `adjust` the image size departs from the rule's where rounding leaves more than `within` of the budget, at this
    φ or one nearby: of points that meet it by a share of the side of at most `close`, the one whose size departs least.
    Where none does, the point is taken whose deviation and departure are the least together. Raises ConvatlasError for
    a budget that no φ reaches.
    """
    at = partial(point, spec, coefficients)
    low, high = _bracket(lambda phi: measure(at(phi).spec), budget, coefficients, measure(spec))
    while high - low > FINEST and at(low).spec != at(high).spec:
        middle = (low + high) / 2
        low, high = (middle, high) if measure(at(middle).spec) < budget else (low, middle)

    def rank(each: Reached) -> tuple[bool, float]:
        departure, off = abs(log(1 + each.point.departure)), abs(log(1 + each.deviation))
        missed = abs(each.deviation) > within or departure > close
        return missed, departure + off * missed

    found = [Reached(each, budget, measure(each.spec)) for each in (at(low), at(high))]
    ways = {-1: low, 1: high}                   # to lower and to higher cost, while something may be found there
    for i in range(ASIDE + 1 if adjust else 0):
        for sign, phi in list(ways.items()):
            missed, best = min(map(rank, found))
            if not missed:
                return min(found, key=rank)
            here = Reached(at(phi + sign * i * STEP), budget, measure(at(phi + sign * i * STEP).spec))
            # the side that makes up for it departs by half as much
            if abs(log(1 + here.deviation)) / 2 > max(best, close):
                del ways[sign]
                continue
            found.append(here)
            if resized := _resized(here.point, budget, measure):
                found.append(resized)
    return min(found, key=rank)


def alone(spec: Spec, dimension: Dimension, budget: float, measure: Measure = cost.macs, *, adjust: bool = False,
          within: float = WITHIN) -> Reached:
    """The point nearest to a budget with one dimension scaled and the others as they are.

    With `adjust` the image size takes up what rounding leaves, as in `reach`.
    """
    return reach(spec, budget, measure, ALONE[dimension], adjust=adjust, within=within)


def reach_latency(spec: Spec, budget: float, timed: Callable[[Spec], Latency], coefficients: Coefficients = PAPER, *,
                  tries: int = TRIES) -> tuple[Reached, Latency]:
    """The point nearest to a budget of seconds, and its latency as `timed` measures it, at most `tries` times.

    The first that is steady and whose interval holds the budget; else φ is drawn closer between points below and above
    it, then the image size. Latency does not rise with every size, so that the nearest measured may miss the budget.
    """
    _check(budget)
    tried: list[tuple[Point, Latency]] = []
    phi, low, high = 0.0, None, None
    while len(tried) < tries:
        here = point(spec, coefficients, phi)
        took = timed(here.spec)
        tried.append((here, took))
        if took.meets(budget):
            return Reached(here, budget, took.seconds), took
        seen = phi, log(took.seconds / budget)
        low, high = (seen, high) if seen[1] < 0 else (low, seen)
        if low is not None and high is not None:
            if high[0] - low[0] < 4 * FINEST:
                break
            share = min(0.9, max(0.1, -low[1] / (high[1] - low[1])))
            phi = low[0] + share * (high[0] - low[0])
        else:               # as if latency grew like multiply-adds, and a little further
            phi += max(-2.0, min(2.0, -1.2 * seen[1] / log(coefficients.product)))
        if abs(phi) > FURTHEST:
            break
    here, took = min(tried, key=lambda each: abs(log(each[1].seconds / budget)))
    for _ in range(RESIZED):
        resized = _with_size(here.spec, _sides(here.spec, (budget / took.seconds) ** 0.5))
        if resized == here.spec or abs(log(pair(resized.image_size)[0] / here.size[0])) > STRETCH:
            break
        here, took = replace(here, spec=resized), timed(resized)
        tried.append((here, took))
        if took.meets(budget):
            break
    here, took = min(tried, key=lambda each: (not each[1].meets(budget), abs(log(each[1].seconds / budget))))
    return Reached(here, budget, took.seconds), took


@dataclass(frozen=True)
class Growth:
    """Factors on the multiply-adds, of each dimension on its own and of all three: by the rule, and as counted."""

    depth: tuple[float, float]
    width: tuple[float, float]
    resolution: tuple[float, float]
    together: tuple[float, float]

    @property
    def deviation(self) -> float:
        """Share by which the network costs more than the rule has it."""
        return self.together[1] / self.together[0] - 1


def growth(spec: Spec, at: Point) -> Growth:
    """Factors by which `at`, scaled from `spec`, costs more: where rounding breaks α·β²·γ²."""
    depth, width, resolution = at.multipliers
    base = cost.macs(spec)
    counted = [cost.macs(each) / base for each in (
        scaled(spec, depth=depth), scaled(spec, width=width), scaled(spec, image_size=at.spec.image_size), at.spec)]
    rule = (depth, width ** 2, resolution ** 2, depth * width ** 2 * resolution ** 2)
    return Growth(*zip(rule, counted, strict=True))


def keep(folder: Path, coefficients: Coefficients) -> None:
    """Write the coefficients that a search has chosen into its folder, for `kept`."""
    put(folder / FILE, json.dumps({"format": FORMAT, "alpha": coefficients.alpha, "beta": coefficients.beta,
                                   "gamma": coefficients.gamma}) + "\n")


def kept(folder: Path) -> Coefficients:
    """The coefficients that a search has left in its folder; ConvatlasError where it has not."""
    path = folder / FILE
    try:
        tree = bounded.read_json(path)
        check_format(tree.get("format"), FORMAT, str(path))
        return Coefficients(float(tree["alpha"]), float(tree["beta"]), float(tree["gamma"]))
    except FileNotFoundError:
        raise ConvatlasError(f"{str(folder)!r} has no {FILE}: a search that has ended leaves one; "
                             "`convatlas scale search` goes on with one that has not") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConvatlasError(f"{str(path)!r} holds no coefficients ({error}): search again, or give --alpha, --beta "
                             "and --gamma") from error


# -- finding -----------------------------------------------------------------------------------------------------------


def _bracket(measured: Callable[[float], float], budget: float, coefficients: Coefficients,
             base: float) -> tuple[float, float]:
    """Two φ between which the budget lies."""
    _check(budget)
    guess = max(-FURTHEST, min(FURTHEST, log(budget / base) / log(coefficients.product)))
    step = 0.5 if measured(guess) < budget else -0.5
    here = guess
    while abs(here) <= FURTHEST + 1:
        there = here + step
        if (measured(there) < budget) != (step > 0):
            return min(here, there), max(here, there)
        here, step = there, step * 1.5
    raise ConvatlasError(f"no φ from {-FURTHEST:g} to {FURTHEST:g} reaches {budget:.4g}: at {here:.1f} it is "
                         f"{measured(here):.4g}; give another budget, or other coefficients")


def _check(budget: float) -> None:
    if not (isfinite(budget) and budget > 0):
        raise ConvatlasError(f"a budget of {budget:g} is refused: it must be more than 0")


def _resized(at: Point, budget: float, measure: Measure) -> Reached | None:
    """The point with the image size that comes nearest to the budget; of equal ones the larger. None where no size of
    those near the rule's has another cost.
    """
    sizes = list(_near(at))
    costs: dict[int, float] = {}

    def found(i: int) -> float:
        if i not in costs:
            costs[i] = measure(_with_size(at.spec, sizes[i]))
        return costs[i]

    if len(sizes) < 2 or found(0) == found(len(sizes) - 1):
        return None
    low, high = 0, len(sizes) - 1           # low costs at most the budget, high more, where there are such
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if found(middle) <= budget else (low, middle)
    best = min((low, high), key=lambda i: abs(found(i) / budget - 1))
    return Reached(replace(at, spec=_with_size(at.spec, sizes[best])), budget, found(best))


def _near(at: Point) -> Iterator[tuple[int, int]]:
    """Image sizes around the rule's, in its proportions, from small to large."""
    high, wide = at.size
    step, least = _grid(at.spec)
    far = max(1, round(high * STRETCH / step)) * step
    for side in range(high - far, high + far + 1, step):
        if side >= least:
            yield side, wide if side == high else _whole(side * wide / high, step, least)


def _sides(spec: Spec, resolution: float) -> tuple[int, int]:
    """The sides nearest to `resolution` times those of the specification that its network accepts."""
    if resolution == 1:
        return pair(spec.image_size)
    high, wide = (_whole(side * resolution, *_grid(spec)) for side in pair(spec.image_size))
    return high, wide


def _whole(side: float, step: int, least: int) -> int:
    """The nearest of least, least + step, least + 2·step, …"""
    return least + max(0, round((side - least) / step)) * step


@lru_cache(maxsize=256)
def _grid(spec: Spec) -> tuple[int, int]:
    """(step, least) of the sides that the network accepts: most take any, a U-Net without padding every sixteenth."""
    net = cost.net(spec) if segments(spec) else None
    return (net.step, net.least_side or net.step) if isinstance(net, Segmenter) else (1, 1)


def _with_size(spec: Spec, sides: tuple[int, int]) -> Spec:
    """The specification for images of these sides, a square one by one number."""
    if sides == pair(spec.image_size):
        return spec
    return scaled(spec, image_size=sides[0] if sides[0] == sides[1] else sides)
