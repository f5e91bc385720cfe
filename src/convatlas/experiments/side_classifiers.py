"""Szegedy et al. 2015, section 5, and 2016, section 4: side classifiers help a deep network to learn.

GoogLeNet trains two small classifiers on the maps of 4a and 4d, their losses added with weight 0.3, and throws them
away afterwards: to drive the gradient into the lower layers. The lecture says that they help slightly. The authors'
later paper finds no faster start, a slightly better end, and calls them regularisers.

Here GoogLeNet's nine modules at an eighth of their widths behind one 3×3 convolution and a pooling, without BatchNorm
and response normalisation, weights and biases as the release begins them, once with its two side classifiers at their
full size, once without. 2 000 of the embedded Fashion-MNIST images, 28×28 and grey, standardised, 12 epochs in batches
of 16, no augmentation. Ours: AdamW with rate 0.001 along a cosine, the same for both, for by plain gradient descent 22
layers without BatchNorm have hardly begun after so few steps; no dropout but the side classifiers' own. Five seeds.

That they help in the end holds where the whole interval of the test error saved (all 2 000 test images, after the last
epoch) lies above zero; that they help early where the interval of the training error saved after the third epoch does
(of the network's own classifier, the mean over the epoch).
"""

from typing import TYPE_CHECKING

from ..run import Data, Model, Optim, Preprocess, Run, Schedule, Train
from .machinery.pictures import curves
from .machinery.plan import Claim, Experiment, Images, Protocol, Results
from .machinery.trial import Arm, Figures, Trial, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE = [   # opens      1×1  3×3 reduce, 3×3  5×5 reduce, 5×5  proj
    ["3a", "pool",       64,   96, 128,        16, 32,          32],
    ["3b", "",           128, 128, 192,        32, 96,          64],
    ["4a", "pool",       192,  96, 208,        16, 48,          64],
    ["4b", "stage",      160, 112, 224,        24, 64,          64],
    ["4c", "",           128, 128, 256,        24, 64,          64],
    ["4d", "",           112, 144, 288,        32, 64,          64],
    ["4e", "stage",      256, 160, 320,        32, 128,         128],
    ["5a", "pool",       256, 160, 320,        32, 128,         128],
    ["5b", "",           384, 192, 384,        48, 128,         128],
]
WITH, WITHOUT = "two side classifiers", "none"
EARLY = 3       # epochs


def side_classifiers() -> Experiment:
    return Experiment(
        title="Do side classifiers help?",
        paper="Szegedy et al. 2015, section 5",
        claims=(
            Claim("Side classifiers help in the end",
                  lambda seed: seed[WITHOUT]["test_error"] - seed[WITH]["test_error"], "points of test error saved"),
            Claim("Side classifiers help early: after three epochs",
                  lambda seed: seed[WITHOUT]["early_error"] - seed[WITH]["early_error"],
                  "points of training error saved"),
        ),
        measure=_measure,
        picture=_picture,
        quick=Protocol(
            arms=(Arm(WITH, {}), Arm(WITHOUT, {"model.fields": {"aux": False}})),
            minutes=8,
            base=Run(
                model=Model(name="googlenet", fields={
                    "in_chans": 1, "image_size": 28, "stem": "cifar", "width": 0.125, "table": TABLE, "lrn": False,
                    "drop_rate": 0.0}),
                data=Data(batch_size=16),
                preprocess=Preprocess(fit="channel", crop_pct=1.0),
                optim=Optim(name="adamw", lr=1e-3, weight_decay=2e-4),
                schedule=Schedule(name="cosine"),
                train=Train(epochs=12),
            ),
            images=Images("fashion-small", train=2000, test=2000),
        ),
    )


def _measure(trial: Trial) -> Figures:
    early = trial.rows[min(EARLY, len(trial.rows)) - 1]
    return {**final(trial), "early_error": 100 * (1 - early["train_top1"])}


def _picture(results: Results) -> "Figure":
    return curves(results, title="With and without side classifiers")
