"""Sandler et al. 2018, "MobileNetV2", Figure 6: bottlenecks without an activation, and shortcuts between them.

The paper's blocks end in a thin layer without an activation, for ReLU destroys what a thin layer carries, and shortcuts
join these thin layers. On ImageNet, linear bottlenecks are about a point better than rectified ones (Figure 6a), and
shortcuts between bottlenecks better than none (6b).

Quick: MobileNetV2 of a quarter of the width, which leaves 8 and 16 maps in a bottleneck, its table cut to four rows of
eight blocks, with a first convolution that does not stride, on 2 000 training images of fashion-small at 14×14 pixels,
12 epochs, batches of 64, crops of images padded by two, mirror images, He et al.'s momentum and weight decay, a rate of
0.1 divided by ten after half and three quarters of the epochs, the same for all, no dropout; BatchNorm averages over
some ten steps, for there are 384. Five seeds; the figure is the test error after the last epoch, on 2 000 images. It
holds where linear bottlenecks have less of it than those with ReLU6, and shortcuts less than none.

What the quick form cannot show: shortcuts between the expanded layers, Figure 6b's third curve, which the specification
does not express; and a network of eight blocks needs shortcuts less than one of seventeen.
"""

from .machinery.pictures import curves
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol
from .machinery.small import small
from .machinery.trial import Arm

LINEAR, RECTIFIED, APART = "linear, with shortcuts", "ReLU6 behind the bottleneck", "without shortcuts"
TABLE_2 = [[1, 16, 1, 1], [6, 24, 2, 1], [6, 32, 3, 2], [6, 64, 2, 2]]      # t, c, n, s
POINTS = "points of test error"


def linear_bottleneck() -> Experiment:
    return Experiment(
        title="Does an activation hurt where a network is thin?",
        paper="Sandler et al. 2018, Figure 6",
        claims=(
            Claim("Linear bottlenecks are better than rectified ones",
                  lambda seed: _error(seed, RECTIFIED) - _error(seed, LINEAR), POINTS),
            Claim("Shortcuts between bottlenecks are better than none",
                  lambda seed: _error(seed, APART) - _error(seed, LINEAR), POINTS),
        ),
        picture=lambda results: curves(results, title="Bottlenecks"),
        quick=Protocol(
            arms=(
                Arm(LINEAR, {}),
                Arm(RECTIFIED, {"model.fields": {"linear": False}}),
                Arm(APART, {"model.fields": {"residual": False}}),
            ),
            minutes=6,
            base=small("mobilenet_v2", {"table": TABLE_2, "width": 0.25, "stem": "cifar", "norm_momentum": 0.1,
                                        "drop_rate": 0.0}, 12),
            images=Images("fashion-small", train=2000, test=2000),
        ),
    )


def _error(seed: BySeed, arm: str) -> float:
    return seed[arm]["test_error"]
