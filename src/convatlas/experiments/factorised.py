"""Szegedy et al. 2016, section 3.2: n×n convolutions as 1×n and n×1.

Inception-v3 replaces n×n convolutions by 1×n and n×1, one behind the other: 2n weights in the place of n² per pair of
maps, and the same pixels seen. The paper finds that it works well on grids of 12 to 20 pixels, not early in a network,
and takes n = 7 on a grid of 17×17.

Here two of Inception-v3's modules for that grid (6b and 6c, Figure 6) at an eighth of their widths, behind one 3×3
convolution, on images of 17×17: 1 600 of the embedded Fashion-MNIST images, scaled down from 28×28, grey, standardised.
One network is factorised as published, the other has every 7×7 whole. 10 epochs in batches of 16, no augmentation;
momentum 0.9, decay 5·10⁻⁴, rate 0.03 along a cosine, the same for both, which BatchNorm allows; its means move by a
tenth with each step, for the release's decay is one for months. Six seeds; the figure is the test error (all 2 000 test
images) after the last epoch.

"Without loss" holds where the whole interval of the error saved lies above minus one point. Weights of the replaced
convolutions are counted in the networks, those between them (128 and 160 maps, an eighth of it) included.
"""

from typing import TYPE_CHECKING

from .machinery.pictures import dots
from .machinery.plan import Claim, Experiment, Images, Protocol, Results
from .machinery.small import small_inception
from .machinery.trial import Arm, Figures, Trial, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHOLE, FACTORS = "7×7", "1×7 and 7×1"


def factorised() -> Experiment:
    return Experiment(
        title="Can 1×7 and 7×1 replace 7×7?",
        paper="Szegedy et al. 2016, section 3.2 and Figure 6",
        claims=(
            Claim("1×7 and 7×1 are at most one point worse than 7×7",
                  lambda seed: seed[WHOLE]["test_error"] - seed[FACTORS]["test_error"], "points of test error saved",
                  above=-1),
            Claim("They have a third of the weights, or fewer",
                  lambda seed: seed[WHOLE]["path_weights"] / seed[FACTORS]["path_weights"],
                  "times as many weights in 7×7", above=3, by_chance=False),
        ),
        measure=_measure,
        picture=_picture,
        quick=Protocol(
            arms=(Arm(WHOLE, {"model.fields": {"factorized": False}}), Arm(FACTORS, {})),
            minutes=8,
            base=small_inception("inception_v3", {"image_size": 17, "modules": ["6b", "6c"], "norm_momentum": 0.1}),
            images=Images("fashion-small", train=1600, test=2000),
            seeds=6,
        ),
    )


def _measure(trial: Trial) -> Figures:
    """Errors; `path_weights` of all convolutions of seven pixels; `weights` of the whole network."""
    from torch import nn  # a plan needs no torch

    network = trial.network()
    return {**final(trial),
            "path_weights": sum(each.weight.numel() for each in network.modules()
                                if isinstance(each, nn.Conv2d) and 7 in each.kernel_size),
            "weights": sum(each.numel() for each in network.parameters())}


def _picture(results: Results) -> "Figure":
    return dots(results, "test_error", "test error, %", title="Seven pixels each way, whole or in two factors")
