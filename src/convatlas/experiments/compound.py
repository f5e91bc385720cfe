"""Tan & Le 2019, "EfficientNet", Figures 3 and 8 and Table 3: one dimension scaled, or all three together.

The paper makes EfficientNet-B0 deeper, wider or gives it larger images: each helps, and each less with every doubling
of the multiply-adds (Figure 3). All three together help more at the same cost (Figure 8); so they do for MobileNets and
ResNet-50 (Table 3). Depth grows with 1.2^φ, width with 1.1^φ, resolution with 1.15^φ.

Quick: ResNet-14, n = 2 in He et al.'s form for CIFAR, of half the width, on fashion-small at half its 28 pixels, so
that four times the multiply-adds is all that resolution has to give. It learns from 3 000 training images in 12 epochs,
in batches of 64, crops of images padded by a seventh, mirror images, and has that paper's momentum, weight decay and
rate of 0.1, divided by ten after half and three quarters of the epochs, the same for all. Beside it, at some twice and
at some four times its multiply-adds, it is deeper alone, wider alone, with larger images alone, and all three. Eight
seeds; the figure is the test error after the last epoch, on 2 000 images.

A ResNet because its channels need no rounding to multiples of eight, so that costs can be made equal: with 28 pixels it
takes 3.65 times the multiply-adds, and so do its rivals, from none to two per cent more than the network scaled in all
three. There d = 1.5, w = 1.2 and r = 1.29 stand for the paper's 1.42, 1.20 and 1.31 (φ = 1.92). Near twice, rounding
leaves them from 1.86 to 2.12 times, so nothing is claimed of who is best there. The paper's ratio, not one found here:
it was fixed before anyone saw these images, and it is the ratio that the paper carries over to other networks. One's
own is found by `convatlas scale search`, which holds out a part of the training images for it.

It holds where all three together are better than each rival at the larger cost, and better than the network as it is;
where one dimension alone takes away less error per doubling on the second step than on the first, on average over the
three; and where no rival is cheaper.

What the quick form cannot show: networks whose images have more detail than 28 pixels, and factors of ten and more.
Standard: the same from 16 pixels on, on 4 000 training images of CIFAR-10, or on `--data`; there the wider network has
2.5 per cent more multiply-adds than the one scaled in all three, the deeper one 5.4.
"""

from math import log2
from typing import TYPE_CHECKING

from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol, Results
from .machinery.small import small
from .machinery.trial import Arm, Figures, Trial, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASE = "as it is"
DEPTH, WIDTH, RESOLUTION, TOGETHER = "depth", "width", "resolution", "all three"
ALONE = (DEPTH, WIDTH, RESOLUTION)
STEPS = ("2×", "4×")        # about: how many times the multiply-adds
POINTS = "points of test error"


def compound() -> Experiment:
    base = small("resnet20_cifar", {"n": 2, "width": 0.5}, 12)
    color = base.change("model.fields", {**base.model.fields, "in_chans": 3, "image_size": 16})
    return Experiment(
        title="Scale depth, width and resolution together, or one of them?",
        paper="Tan & Le 2019, Figures 3 and 8, Table 3",
        claims=(
            *(Claim(f"All three together are better than {name} alone at the same cost, some four times the network's",
                    lambda seed, name=name: _error(seed, name, 1) - _error(seed, TOGETHER, 1),      # type: ignore[misc]
                    POINTS) for name in ALONE),
            Claim("All three together make the network better",
                  lambda seed: seed[BASE]["test_error"] - _error(seed, TOGETHER, 1), POINTS),
            Claim("One dimension alone gains less from the second doubling than from the first",
                  lambda seed: sum(_gain(seed, name, 0) - _gain(seed, name, 1) for name in ALONE) / len(ALONE),
                  f"{POINTS} per doubling"),
            Claim("No rival there has fewer multiply-adds than all three together",
                  lambda seed: 100 * (min(_macs(seed, name, 1) for name in ALONE) / _macs(seed, TOGETHER, 1) - 1),
                  "per cent of them", by_chance=False),
        ),
        picture=picture,
        quick=Protocol(
            arms=_arms((4, 7), (0.71875, 0.9625), (20, 28), ((3, 0.53125, 16), (3, 0.6, 18)), 14),
            minutes=25, base=base, seeds=8, images=Images("fashion-small", train=3000, test=2000)),
        standard=Protocol(
            arms=_arms((4, 8), (0.71875, 1.02), (22, 32), ((3, 0.5, 17), (3, 0.65625, 20)), 16),
            minutes=60, base=color, seeds=8, images=Images("cifar10", train=4000, test=2000)),
        measure=measure,
    )


def _arms(blocks: tuple[int, int], widths: tuple[float, float], sides: tuple[int, int],
          together: tuple[tuple[int, float, int], tuple[int, float, int]], side: int) -> tuple[Arm, ...]:
    """The arms of both steps: blocks per stage, width and image side; crops are padded by a seventh of the side."""
    def arm(name: str, step: str, n: int = 2, width: float = 0.5, image_size: int = side) -> Arm:
        return Arm(f"{name} {step}", {"model.fields": {"n": n, "width": width, "image_size": image_size},
                                      "augment.padding": round(image_size / 7)})

    return (Arm(BASE, {"augment.padding": round(side / 7)}), *(each for i, step in enumerate(STEPS) for each in (
        arm(DEPTH, step, n=blocks[i]), arm(WIDTH, step, width=widths[i]), arm(RESOLUTION, step, image_size=sides[i]),
        arm(TOGETHER, step, *together[i]))))


def measure(trial: Trial) -> Figures:
    """`final`, and the `macs`, `params` and `memory_mb` of the network: multiply-adds, parameters, and the peak of
    predicting a batch of 64.
    """
    from ..inspect.memory import prediction  # a plan needs no torch
    from ..net.layers import macs, params  # a plan needs no torch

    network = trial.network()
    return {**final(trial), "macs": macs(network), "params": params(network),
            "memory_mb": prediction(network, 64) / 1e6}


def _error(seed: BySeed, name: str, step: int) -> float:
    return seed[f"{name} {STEPS[step]}"]["test_error"]


def _macs(seed: BySeed, name: str, step: int) -> float:
    return seed[f"{name} {STEPS[step]}"]["macs"]


def _gain(seed: BySeed, name: str, step: int) -> float:
    """Points of test error that a doubling takes away on the way to that step."""
    before = seed[f"{name} {STEPS[step - 1]}"] if step else seed[BASE]
    after = seed[f"{name} {STEPS[step]}"]
    return (before["test_error"] - after["test_error"]) / log2(after["macs"] / before["macs"])


def picture(results: Results) -> "Figure":
    """Accuracy against multiply-adds as in Figures 3 and 8, from the network as it is along each way to scale it."""
    from ..draw.graphs import Mark, tradeoff  # a plan needs no torch

    def mark(arm: str) -> Mark:
        macs = results.of(arm, "macs")
        return Mark(sum(macs) / len(macs), [100 - error for error in results.of(arm, "test_error")])

    return tradeoff({name: [mark(BASE), *(mark(f"{name} {step}") for step in STEPS)] for name in (*ALONE, TOGETHER)},
                    "Depth, width, resolution, and all three", names=("multiply-adds", "test images that are right, %"))
