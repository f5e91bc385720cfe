"""Cost of a specification: parameters, multiply-adds and memory follow from shapes, latency is measured."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from typing import NamedTuple

import torch

from ..deploy.bench.sides import settled, turn
from ..deploy.choose import optimize
from ..inspect.memory import prediction
from ..net import layers
from ..net.meta import blank
from ..net.model import Convnet, Spec, pair

ROUNDS, SECONDS = 6, 0.5            # turns of a measurement, and the length of each
UNSTEADY, AGAIN = 1.25, 2           # slowest round over fastest that is still an interval; times to measure again
BACKENDS = ("eager", "native", "onnxruntime", "openvino")       # of auto; torch.compile takes minutes for each network


class Cost(NamedTuple):
    """Figures that follow from a network's shapes."""

    params: int         # trainable
    macs: int           # multiply-adds for one image of the specification's size
    memory: int         # bytes at the peak of predicting a batch: weights, images and the most that lives at once


@dataclass(frozen=True)
class Latency:
    """Seconds of one call of the deployed network, the median over the rounds of each round's median.

    The interval is from the fastest to the slowest round: of six, it holds the true median with 97 % confidence.
    """

    seconds: float
    low: float
    high: float
    backend: str        # what ran it
    batch: int

    @property
    def steady(self) -> bool:
        """True unless the interval is too wide to say much."""
        return self.high <= UNSTEADY * self.low

    def meets(self, seconds: float) -> bool:
        """True if so many seconds lie within the interval, and that says something."""
        return self.steady and self.low <= seconds <= self.high


def cost(spec: Spec, batch: int = 1) -> Cost:
    """Parameters, multiply-adds and memory of `spec`, a tenth of a second or a few after its first use.

    Raises ConvatlasError for images that are too small for it.
    """
    return Cost(params(spec), macs(spec), memory(spec, batch))


@lru_cache(maxsize=4096)
def params(spec: Spec) -> int:
    """Trainable parameters."""
    return layers.params(net(spec))


@lru_cache(maxsize=4096)
def macs(spec: Spec) -> int:
    """Multiply-adds for one image of the specification's size, as `convatlas info` counts them."""
    net(spec).check_image_size()
    return layers.macs(net(spec))


@lru_cache(maxsize=4096)
def memory(spec: Spec, batch: int = 1) -> int:
    """Peak bytes of predicting a batch, as `convatlas inspect summary` counts them."""
    return prediction(net(spec), batch)


@lru_cache(maxsize=4096)
def shapes(spec: Spec) -> tuple[object, ...]:
    """Image size and the names and shapes of all weights: the same for two specifications of the same network, whose
    widths round to the same channels.
    """
    return pair(spec.image_size), *((name, tuple(value.shape)) for name, value in net(spec).named_parameters())


def latency(spec: Spec, batch: int = 1, backend: str = "auto", *, rounds: int = ROUNDS, seconds: float = SECONDS,
            tell: Callable[[str], None] = lambda _: None) -> Latency:
    """The time that a batch takes on this machine, deployed; weights are drawn, and do not matter to it.

    `backend` auto takes the fastest of BACKENDS for this network. `rounds` turns of `seconds` each are measured; again,
    up to AGAIN times, where other work on the machine made them unsteady.
    """
    torch.manual_seed(0)
    model = settled(spec.build())
    example = torch.randn(batch, spec.in_chans, *pair(spec.image_size), generator=torch.Generator().manual_seed(1))
    tell(f"{by(spec)}: deployed")
    made = optimize(model, example, backend, candidates=BACKENDS, seconds=1.0)
    tell(f"{by(spec)}: measured, by {made.report.chosen}")
    for _ in range(1 + AGAIN):
        found = [median(turn(made, example, seconds)) for _ in range(rounds)]
        took = Latency(median(found), min(found), max(found), made.report.chosen, batch)
        if took.steady:
            break
    return took


def by(spec: Spec) -> str:
    """The specification's class and image size, in words."""
    high, wide = pair(spec.image_size)
    return f"{type(spec).__name__} on {high}×{wide}"


@lru_cache(maxsize=4)
def net(spec: Spec) -> Convnet:
    """The specification's network on the meta device, for what follows from shapes; not to be changed."""
    return blank(spec.build)
