"""EfficientNet-B1 to B7 as published, beside the rule with the paper's own coefficients, and where they depart from it.

The rule says how the paper's networks came about, and gives none of them: the released table has depth, width, image
size and dropout in round numbers, with no φ.
"""

from dataclasses import dataclass
from math import log, nan

from ..arch.efficientnet import EfficientNet
from ..net.model import pair
from ..net.registry import variant
from . import cost
from .compound import PAPER, Coefficients, Point, point

NAMES = tuple(f"efficientnet_b{number}" for number in range(1, 8))


@dataclass(frozen=True)
class Published:
    """One released network and the rule's at the φ that fits it best."""

    name: str
    spec: EfficientNet
    phis: tuple[float, float, float]        # of its depth, its width, its image size; nan where the coefficient is 1
    phi: float                              # the nearest to all three, by least squares of their logarithms
    rule: Point

    @property
    def macs(self) -> tuple[int, int]:
        """Multiply-adds, as released and by the rule."""
        return cost.macs(self.spec), cost.macs(self.rule.spec)

    @property
    def growth(self) -> float:
        """Factor of its multiply-adds over EfficientNet-B0's."""
        return cost.macs(self.spec) / cost.macs(_of("efficientnet_b0"))


def published(coefficients: Coefficients = PAPER) -> list[Published]:
    """The table of the authors' code (`efficientnet_builder.py`), row by row, with what the rule gives."""
    return [_compared(name, coefficients) for name in NAMES]


def _compared(name: str, coefficients: Coefficients) -> Published:
    base, spec = _of("efficientnet_b0"), _of(name)
    grown = (spec.depth, spec.width, pair(spec.image_size)[0] / pair(base.image_size)[0])
    by = coefficients.at(1)
    logs = [(log(found), log(each)) for found, each in zip(grown, by, strict=True)]
    phis = [found / each if each else nan for found, each in logs]
    phi = sum(found * each for found, each in logs) / sum(each * each for _, each in logs)
    return Published(name, spec, (phis[0], phis[1], phis[2]), phi, point(base, coefficients, phi))


def _of(name: str) -> EfficientNet:
    spec = variant(name).spec
    assert isinstance(spec, EfficientNet)
    return spec
