"""Howard et al. 2017, "MobileNets", Tables 4 to 7: separable convolutions, thin networks, small images.

The paper cuts each 3×3 convolution in two, one filter per channel and a 1×1 over the channels, for 1/N + 1/D_K² of the
multiply-adds, and loses 1.1 points on ImageNet (Table 4: 71.7 to 70.6 % right). At equal cost a thin network is better
than a shallow one (Table 5: 68.4 against 65.3 %). Width and resolution multipliers trade accuracy for cost smoothly.

Quick: MobileNet of a quarter of the width, whose first convolution does not stride, on 2 000 training images of
fashion-small at their 28×28 pixels, ten epochs, batches of 64, crops of images padded by four, mirror images, plain
momentum and decay as in He et al. 2016, a rate of 0.1 divided by ten after half and three quarters of the epochs, the
same for all; BatchNorm averages over some ten steps, for there are 320. Full convolutions in the place of separable
ones; half the width; three quarters of it; a shallow network without four of the six layers in the middle (Table 5:
without five), which costs as much as that; images of 20 and of 14 pixels. Five seeds; the figure is the test error
after the last epoch, on 2 000 images.

The formula must hold for each layer, to rounding. Separable convolutions lose little where they lose at most 1.5 points
against full ones, which have eight times the weights; thin beats shallow where its error is less.

What the quick form cannot show: the tenths of a point that the paper's multipliers differ by. Standard: the same with
32×32 pixels on 4 000 training images of CIFAR-10, or on `--data`; the smaller images have 24 and 16 pixels.
"""

from typing import TYPE_CHECKING

from .machinery.pictures import against
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol, Results
from .machinery.small import small
from .machinery.trial import Arm, Figures, Trial, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEPARABLE, FULL, SHALLOW = "separable", "full convolutions", "shallow"
THIN, HALF = "three quarters as wide", "half as wide"
TABLE_5 = [[64, 1, 1], [128, 2, 2], [256, 2, 2], [512, 2, 2], [1024, 2, 2]]    # channels, layers, stride
WIDTH = 0.25
POINTS = "points of test error"


def separable() -> Experiment:
    base = small("mobilenet_v1", {"width": WIDTH, "stem": "cifar", "norm_momentum": 0.1, "image_size": 28}, 10)
    base = base.change("augment.padding", 4)
    return Experiment(
        title="What do separable convolutions cost, and what do they lose?",
        paper="Howard et al. 2017, Tables 4 to 7",
        claims=(
            Claim("A separable convolution takes 1/N + 1/D_K² of a full one's multiply-adds, in each layer",
                  lambda seed: 1e-9 - seed[SEPARABLE]["deviation"], "of the share", by_chance=False),
            Claim("Separable convolutions lose at most 1.5 points against full ones",
                  lambda seed: _error(seed, FULL) - _error(seed, SEPARABLE), POINTS, above=-1.5),
            Claim("A thin network is better than a shallow one that costs as much",
                  lambda seed: _error(seed, SHALLOW) - _error(seed, THIN), POINTS),
        ),
        picture=picture,
        quick=Protocol(arms=_arms(20, 14), minutes=8, base=base,
                       images=Images("fashion-small", train=2000, test=2000)),
        standard=Protocol(arms=_arms(24, 16), minutes=20,
                          base=base.change("model.fields", {**base.model.fields, "in_chans": 3, "image_size": 32}),
                          images=Images("cifar10", train=4000, test=2000)),
        measure=measure,
    )


def _arms(*sides: int) -> tuple[Arm, ...]:
    return (
        Arm(FULL, {"model.fields": {"separable": False}}),
        Arm(SEPARABLE, {}),
        Arm(SHALLOW, {"model.fields": {"table": TABLE_5}}),
        Arm(THIN, {"model.fields": {"width": 0.75 * WIDTH}}),
        Arm(HALF, {"model.fields": {"width": 0.5 * WIDTH}}),
        *(Arm(f"{side} pixels", {"model.fields": {"image_size": side}}) for side in sides),
    )


def measure(trial: Trial) -> Figures:
    """`final`, `macs` and `params` of the network, and the largest `deviation` of a layer's share of the multiply-adds
    from 1/N + 1/D_K².
    """
    from ..net.layers import layer_table  # a plan needs no torch
    from ..net.registry import build, plain  # a plan needs no torch

    network = trial.network()
    rows = layer_table(network)
    fields = plain(network.spec)
    costs = [{row.name: row.macs for row in layer_table(build(network.name, {**fields, "separable": separable}))}
             for separable in (True, False)]
    deviations = []
    for name, module in build(network.name, {**fields, "separable": False}).named_modules():
        if name.endswith(".full.conv"):
            stem = name.removesuffix("full.conv")
            share = (costs[0][f"{stem}depthwise.conv"] + costs[0][f"{stem}pointwise.conv"]) / costs[1][name]
            deviations.append(abs(share - 1 / len(module.weight) - 1 / 9))
    return {**final(trial), "macs": sum(row.macs for row in rows), "params": sum(row.params for row in rows),
            "deviation": max(deviations)}


def _error(seed: BySeed, arm: str) -> float:
    return seed[arm]["test_error"]


def picture(results: Results) -> "Figure":
    """Error against multiply-adds, those joined that have the same layers in other widths, or for other images."""
    def family(arm: str) -> str:
        return "resolution" if arm.endswith("pixels") else {FULL: FULL, SHALLOW: SHALLOW}.get(arm, "width")

    return against(results, "macs", "test_error", ("multiply-adds", "test error, %"),
                   title="Accuracy and cost of MobileNets", families=family)
