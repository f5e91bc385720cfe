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
from ..net.segmenter import Segmenter
from . import cost
from .rule import scaled

Dimension = Literal["depth", "width", "resolution"]
Measure = Callable[[Spec], float]
FORMAT = 1                      # of a search folder's coefficients.json
FILE = "coefficients.json"
FURTHEST = 16.0                 # φ beyond which nothing is looked for, either way
WITHIN = 0.02                   # deviation from a budget that counts as met
STRETCH = 0.25                  # share by which an image's side may depart from the rule's to meet a budget


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
          adjust: bool = True, within: float = WITHIN) -> Reached:
    """The point nearest to a budget of multiply-adds, or of another `measure` that does not fall as networks grow.

    With `adjust` the image size departs from the rule's, by a quarter at most, where rounding leaves more than `within`
    of the budget; of two such points the one whose size departs less. Raises ConvatlasError for a budget that no φ
    reaches.
    """
    at = partial(point, spec, coefficients)
    low, high = _bracket(lambda phi: measure(at(phi).spec), budget, coefficients, measure(spec))
    while high - low > 1e-3 and at(low).spec != at(high).spec:
        middle = (low + high) / 2
        low, high = (middle, high) if measure(at(middle).spec) < budget else (low, middle)
    points = [at(low), at(high)]
    found = [Reached(each, budget, measure(each.spec)) for each in points]
    if adjust and min(abs(each.deviation) for each in found) > within:
        found += [better for each in points if (better := _resized(each, budget, measure))]
    met = [each for each in found if abs(each.deviation) <= within]
    return min(met, key=_departure) if met else min(found, key=lambda each: abs(each.deviation))


def alone(spec: Spec, dimension: Dimension, budget: float, measure: Measure = cost.macs, *, adjust: bool = False,
          within: float = WITHIN) -> Reached:
    """The point nearest to a budget with one dimension scaled and the others as they are.

    With `adjust` the image size takes up what rounding leaves, as in `reach`.
    """
    return reach(spec, budget, measure, ALONE[dimension], adjust=adjust, within=within)


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
    """Two φ between which the budget lies, a step of a half or one wide."""
    if not (isfinite(budget) and budget > 0):
        raise ConvatlasError(f"a budget of {budget:g} is refused: it must be more than 0")
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
    low, high = 0, len(sizes) - 1           # costs[low] < budget <= costs[high], where any is
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if found(middle) <= budget else (low, middle)
    best = min((low, high), key=lambda i: abs(found(i) / budget - 1))
    return Reached(replace(at, spec=_with_size(at.spec, sizes[best])), budget, found(best))


def _departure(reached: Reached) -> float:
    """Factor by which the image's height departs from the rule's, as a logarithm without sign."""
    return abs(log(pair(reached.point.spec.image_size)[0] / reached.point.size[0]))


def _near(at: Point) -> Iterator[tuple[int, int]]:
    """Image sizes around the rule's, in its proportions, from small to large."""
    high, wide = at.size
    step = _grid(at.spec)[0]
    reach_ = max(step, round(high * STRETCH / step) * step)
    for side in range(max(step, high - reach_), high + reach_ + 1, step):
        yield side, wide if side == high else _whole(side * wide / high, *_grid(at.spec))


def _sides(spec: Spec, resolution: float) -> tuple[int, int]:
    """The sides nearest to `resolution` times those of the specification that its network accepts."""
    if resolution == 1:
        return pair(spec.image_size)
    high, wide = (_whole(side * resolution, *_grid(spec)) for side in pair(spec.image_size))
    return high, wide


def _whole(side: float, step: int, rest: int) -> int:
    """The nearest of rest, rest + step, rest + 2·step, … from 1 on."""
    return max(round((side - rest) / step) * step + rest, rest or step)


@lru_cache(maxsize=256)
def _grid(spec: Spec) -> tuple[int, int]:
    """(step, rest) of the sides that the network accepts: most take any, a U-Net without padding every sixteenth."""
    net = cost.net(spec)
    return (net.step, net.rest) if isinstance(net, Segmenter) else (1, 0)


def _with_size(spec: Spec, sides: tuple[int, int]) -> Spec:
    """The specification for images of these sides, a square one by one number."""
    if sides == pair(spec.image_size):
        return spec
    return scaled(spec, image_size=sides[0] if sides[0] == sides[1] else sides)
