"""Simonyan & Zisserman 2015, sections 2.3 and 4.1: several 3×3 convolutions are better than one large kernel.

The paper's argument: three 3×3 convolutions see what one 7×7 sees, rectify three times, and have 27 weights in the
place of 49 per pair of maps. Its experiment: net B with every pair of 3×3 replaced by one 5×5 has a top-1 error 7 %
higher.

Here three of VGG's blocks (16, 32 and 64 maps, a quarter of the first three's, each ended by pooling) and fully
connected layers of 64 units, once with one 7×7 per block, once with three 3×3; and the paper's own pair, one 5×5
against two 3×3. Without BatchNorm, as published; weights begin as Glorot & Bengio have them, which the paper names as
good enough. 2 000 of the embedded Fashion-MNIST images, 28×28 and grey, standardised, 15 epochs in batches of 16,
momentum 0.9, decay 5·10⁻⁴, no augmentation. Ours: no dropout, and a rate that falls along a cosine from the best of
0.003, 0.006, 0.012 and 0.025 for each network after six epochs on a fifth of the training images, held out. Five seeds;
the figure is the test error (all 2 000 test images) after the last epoch.

The claims hold where the whole interval of the error saved lies above zero; the weights are counted. Kernels are
compared at equal widths, as in the paper, so that the networks of 3×3 are deeper. The paper's 27 against 49 is of
blocks that keep their maps; where a block doubles them, as here, it is 45 against 49.
"""

from typing import TYPE_CHECKING

from ..run import Data, Model, Optim, Preprocess, Run, Schedule, Train
from .machinery.pictures import dots
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol, Results
from .machinery.trial import Arm, Figures, Trial, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLOCKS = 3
KERNELS = {"one 7×7": [7], "three 3×3": [3, 3, 3], "one 5×5": [5], "two 3×3": [3, 3]}     # of each block


def small_kernels() -> Experiment:
    return Experiment(
        title="Are several small kernels better than a large one?",
        paper="Simonyan & Zisserman 2015, sections 2.3 and 4.1",
        claims=(
            Claim("Three 3×3 convolutions are better than one 7×7",
                  lambda seed: _saved(seed, "one 7×7", "three 3×3"), "points of test error saved"),
            Claim("Two 3×3 convolutions are better than one 5×5",
                  lambda seed: _saved(seed, "one 5×5", "two 3×3"), "points of test error saved"),
            Claim("Three 3×3 have fewer weights than one 7×7",
                  lambda seed: _fewer(seed, "one 7×7", "three 3×3"), "% fewer weights in convolutions",
                  by_chance=False),
        ),
        measure=_measure,
        picture=_picture,
        quick=Protocol(
            arms=tuple(Arm(name, {"model.fields": {"table": [kernels] * BLOCKS}}) for name, kernels in KERNELS.items()),
            minutes=6,
            base=Run(
                model=Model(name="vgg16", fields={
                    "in_chans": 1, "image_size": 28, "width": 0.25, "fc": 64, "grid": 3, "drop_rate": 0.0}),
                data=Data(batch_size=16),
                preprocess=Preprocess(fit="channel", crop_pct=1.0),
                optim=Optim(name="sgd", lr=0.01, momentum=0.9, weight_decay=5e-4),
                schedule=Schedule(name="cosine"),
                train=Train(epochs=15),
            ),
            images=Images("fashion-small", train=2000, test=2000),
            rates=(0.003, 0.006, 0.012, 0.025),
            tuning_epochs=6,
        ),
    )


def _measure(trial: Trial) -> Figures:
    from torch import nn  # a plan needs no torch

    return {**final(trial), "conv_weights": sum(each.weight.numel() for each in trial.network().modules()
                                                if isinstance(each, nn.Conv2d))}


def _saved(seed: BySeed, worse: str, better: str) -> float:
    return seed[worse]["test_error"] - seed[better]["test_error"]


def _fewer(seed: BySeed, more: str, fewer: str) -> float:
    return 100 * (1 - seed[fewer]["conv_weights"] / seed[more]["conv_weights"])


def _picture(results: Results) -> "Figure":
    return dots(results, "test_error", "test error, %", title="Kernels of each of three blocks")
