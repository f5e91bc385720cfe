"""Szegedy et al. 2015, sections 3 to 5: kernels of several sizes side by side, and few parameters.

GoogLeNet's modules look with 1×1, 3×3, 5×5 and pooling at once, each large kernel behind a 1×1 that makes it
affordable. So the network is deep and wide with few weights. The paper compares whole networks only; this experiment
takes the module itself.

Five modules of Table 1 (3a, 3b, 4a, 4b, 5a), the pooling paths and 5×5 kernels included, at an eighth of their widths
with BatchNorm, behind one 3×3 convolution and a pooling; beside them the same network with one 3×3 convolution in the
place of each module, once as wide as the module's output, and once so narrow (47 % of that) that the networks have
equally many weights, within 2 %. 2 000 of the embedded Fashion-MNIST images, 28×28 and grey, standardised, 12 epochs in
batches of 16, no augmentation; momentum 0.9, decay 5·10⁻⁴; the rate falls along a cosine from the best of 0.01, 0.03
and 0.1 for each network after three epochs on a fifth of the training images, held out. Six seeds; the figure is the
test error (all 2 000 test images) after the last epoch.

That parallel paths are better with as many weights holds where the whole interval of the error saved lies above zero;
that they lose nothing to the single path of the same width where it lies above minus one point. Weights are counted.
The single path costs the fewest operations in practice, and the modules are deeper, two layers in the place of one: the
quick form cannot tell several sizes from that depth.
"""

from typing import TYPE_CHECKING, Any

from ..run import Data, Model, Optim, Preprocess, Run, Schedule, Train
from .machinery.pictures import dots
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol, Results
from .machinery.trial import Arm, Figures, Trial, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE: list[list[Any]] = [   # opens 1×1  3×3 reduce, 3×3  5×5 reduce, 5×5  proj
    ["3a", 3,       64,   96, 128,        16, 32,          32],
    ["3b", 0,       128, 128, 192,        32, 96,          64],
    ["4a", 3,       192,  96, 208,        16, 48,          64],
    ["4b", 0,       160, 112, 224,        24, 64,          64],
    ["5a", 2,       256, 160, 320,        32, 128,         128],
]
PARALLEL, WIDE, NARROW = "parallel paths", "3×3 alone, as wide", "3×3 alone, as many weights"
SHARE = 0.47        # of the maps, with which the weights are as many


def single(share: float) -> list[list[Any]]:
    """The table with one 3×3 convolution per module, of that share of its maps."""
    return [[name, opens, 0, 0, round(share * (point + three + five + proj)), 0, 0, 0]
            for name, opens, point, _, three, _, five, proj in TABLE]


def parallel_paths() -> Experiment:
    return Experiment(
        title="Are kernels of several sizes side by side better than one size?",
        paper="Szegedy et al. 2015, Table 1 and Figure 2",
        claims=(
            Claim("With as many weights, parallel paths are better than 3×3 alone",
                  lambda seed: _saved(seed, NARROW), "points of test error saved"),
            Claim("Parallel paths are at most one point worse than 3×3 alone, as wide",
                  lambda seed: _saved(seed, WIDE), "points of test error saved", above=-1),
            Claim("They have a third of its weights, or fewer",
                  lambda seed: seed[WIDE]["weights"] / seed[PARALLEL]["weights"], "times as many weights with 3×3",
                  above=3, by_chance=False),
        ),
        measure=_measure,
        picture=_picture,
        quick=Protocol(
            arms=(Arm(PARALLEL, {"model.fields": {"table": TABLE}}),
                  Arm(WIDE, {"model.fields": {"table": single(1)}}),
                  Arm(NARROW, {"model.fields": {"table": single(SHARE)}})),
            minutes=8,
            base=Run(
                model=Model(name="googlenet_bn", fields={
                    "in_chans": 1, "image_size": 28, "stem": "cifar", "width": 0.125, "aux": False, "drop_rate": 0.0,
                    "five": "5x5"}),
                data=Data(batch_size=16),
                preprocess=Preprocess(fit="channel", crop_pct=1.0),
                optim=Optim(name="sgd", lr=0.03, momentum=0.9, weight_decay=5e-4),
                schedule=Schedule(name="cosine"),
                train=Train(epochs=12),
            ),
            images=Images("fashion-small", train=2000, test=2000),
            rates=(0.01, 0.03, 0.1),
            tuning_epochs=3,
            seeds=6,
        ),
    )


def _measure(trial: Trial) -> Figures:
    return {**final(trial), "weights": sum(each.numel() for each in trial.network().parameters())}


def _saved(seed: BySeed, arm: str) -> float:
    return seed[arm]["test_error"] - seed[PARALLEL]["test_error"]


def _picture(results: Results) -> "Figure":
    return dots(results, "test_error", "test error, %", title="Kernels of several sizes, or of one")
