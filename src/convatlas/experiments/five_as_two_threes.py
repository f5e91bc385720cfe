"""Szegedy et al. 2016, section 3.1, and Ioffe & Szegedy 2015: two 3×3 convolutions in the place of one 5×5.

Inception-v2 replaces GoogLeNet's 5×5 convolutions by two of 3×3, one behind the other, which see the same 5×5 pixels
with 18 weights in the place of 25 per pair of maps. So it is where as many maps go in as come out. In GoogLeNet the 1×1
before a 5×5 makes fewer than the 5×5 does, and there the two cost more: BN-Inception has a quarter more weights.

Here five of GoogLeNet's modules with BatchNorm (3a, 3b, 4a, 4b, 5a) at an eighth of their widths, behind one 3×3
convolution and a pooling. So that the replaced kernels do the work, the 3×3 path is left out, the 5×5 path makes its
maps, too, and the 1×1 before it makes as many. One network has 5×5, the other two 3×3; all else is equal. 1 600 of the
embedded Fashion-MNIST images, 28×28 and grey, standardised, 10 epochs in batches of 16, no augmentation; momentum 0.9,
decay 5·10⁻⁴, rate 0.03 along a cosine, the same for both, which BatchNorm allows. Eight seeds; the figure is the test
error (all 2 000 test images) after the last epoch.

"Without loss" holds where the whole interval of the error saved lies above minus one point. Receptive field and weights
of the replaced convolutions are counted in the networks: 5 pixels each, and a share of 18/25. The quick form cannot
show what a deeper network would make of the second rectification.
"""

from typing import TYPE_CHECKING

from .machinery.pictures import dots
from .machinery.plan import Claim, Experiment, Images, Protocol, Results
from .machinery.small import small_inception
from .machinery.trial import Arm, Figures, Trial, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE = [   # opens 1×1    3×3    5×5 reduce, 5×5  proj
    ["3a", 3,       64,    0, 0,  160, 160,        32],
    ["3b", 0,       128,   0, 0,  288, 288,        64],
    ["4a", 3,       192,   0, 0,  256, 256,        64],
    ["4b", 0,       160,   0, 0,  288, 288,        64],
    ["5a", 2,       256,   0, 0,  448, 448,        128],
]
FIVE, TWO = "one 5×5", "two 3×3"


def five_as_two_threes() -> Experiment:
    return Experiment(
        title="Can two 3×3 convolutions replace one of 5×5?",
        paper="Szegedy et al. 2016, section 3.1",
        claims=(
            Claim("Two 3×3 are at most one point worse than one 5×5",
                  lambda seed: seed[FIVE]["test_error"] - seed[TWO]["test_error"], "points of test error saved",
                  above=-1),
            Claim("They see as many pixels", lambda seed: seed[TWO]["field"] - seed[FIVE]["field"],
                  "pixels more on each side", by_chance=False),
            Claim("They have 28 % fewer weights, where as many maps go in as come out",
                  lambda seed: 100 * (1 - seed[TWO]["path_weights"] / seed[FIVE]["path_weights"]), "% fewer weights",
                  above=28 - 1e-9, by_chance=False),
        ),
        measure=_measure,
        picture=_picture,
        quick=Protocol(
            arms=(Arm(FIVE, {"model.fields": {"five": "5x5"}}), Arm(TWO, {"model.fields": {"five": "two_3x3"}})),
            minutes=8,
            base=small_inception("googlenet_bn", {"image_size": 28, "table": TABLE}),
            images=Images("fashion-small", train=1600, test=2000),
            seeds=8,
        ),
    )


def _measure(trial: Trial) -> Figures:
    """Errors; `path_weights` of the convolutions between the 1×1 and the join, all modules together; `field`, the side
    of what one of their outputs sees; `weights` of the whole network.
    """
    from torch import nn  # a plan needs no torch

    network = trial.network()
    convs = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)
             and ".five." in name and ".reduce." not in name]
    first = convs[0][0].split(".five.")[0]
    field = 1 + sum(module.kernel_size[0] - 1 for name, module in convs if name.startswith(f"{first}."))
    return {**final(trial), "path_weights": sum(module.weight.numel() for _, module in convs), "field": field,
            "weights": sum(each.numel() for each in network.parameters())}


def _picture(results: Results) -> "Figure":
    return dots(results, "test_error", "test error, %", title="The same receptive field, with 18 weights or 25")
