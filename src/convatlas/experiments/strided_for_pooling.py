"""Springenberg et al. 2015, Tables 1 to 3: max-pooling can be replaced by a strided convolution without loss.

The paper takes three plain networks for CIFAR-10 (A with 5×5 kernels, B with 1×1 behind them, C with 3×3 only) and
makes three others of each: Strided-CNN leaves the pooling out and gives the convolution before it its stride; All-CNN
puts a convolution of stride 2 in the pooling's place; ConvPool-CNN puts a convolution of stride 1 before the pooling,
so that it has as many weights as All-CNN. Without augmentation the errors of base, Strided-CNN, ConvPool-CNN and
All-CNN are 12.47, 13.46, 10.21 and 10.30 % (A), 10.20, 10.98, 9.33 and 9.10 % (B), 9.74, 10.19, 9.31 and 9.08 % (C):
pooling is not what matters.

Here the same twelve networks with a quarter of the kernels (their initial deviations doubled, so that sums keep their
size) on 2 000 of the embedded Fashion-MNIST images, 28×28 and grey, standardised; 12 epochs in batches of 16, weight
decay 0.001, no augmentation. Ours: AdamW in the place of momentum, a cosine in the place of three steps, and no
dropout, for networks this narrow have nothing to spare in twelve epochs. As in the paper each network has the best of
several rates: of 0.0007, 0.0015 and 0.003 after three epochs on a fifth of the training images, held out. Five seeds;
the figure is the test error (all 2 000 test images) after the last epoch, averaged over A, B and C.

"Without loss" holds where the whole interval of the error saved lies above minus one point. That Strided-CNN is worse
than its base holds where the interval lies above zero. Twelve epochs cannot show what is left of the differences after
the paper's 350. The standard form, on CIFAR-10: the four networks of C, 5 000 training and 2 000 test images, 15
epochs. In full: the recipe as it stands but for its augmentation, on CIFAR-10.

Ours, too: no ReLU behind the maps of the classes, which the paper's tables have. Two plans before had it. The first had
momentum 0.9, rates of 0.005 to 0.02 and ten epochs: all three claims were too small to tell (−1.59 [−4.14, 0.96], 2.52
[−14.7, 19.8] and 6.01 [−0.16, 12.2] points), half of the trainings ended with training errors of 20 to 50 %. The second
had AdamW, as here, and was no better (6.63 [−25.9, 39.1], −2.25 [−23.8, 19.3], −5.6 [−19.5, 8.3]). A look into its
networks showed why: in networks this narrow that ReLU had died for some classes, up to all ten, whose scores were 0 for
every image; each costs ten points of error. Now it is left out, and nothing else was changed.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from ..recipes.allcnn import allcnn
from ..run import Data, Model, Optim, Preprocess, Run, Schedule, Train
from .machinery.pictures import dots
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol, Results
from .machinery.trial import Arm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {"base": "allcnn_base", "Strided-CNN": "strided_cnn", "ConvPool-CNN": "convpool_cnn", "All-CNN": "all_cnn"}
MODELS = "ABC"
ARMS = {(kind, model): Arm(f"{model}: {kind}", {"model.name": f"{name}_{model.lower()}"})
        for model in MODELS for kind, name in KINDS.items()}


def strided_for_pooling() -> Experiment:
    quick = Protocol(
        arms=tuple(ARMS.values()),
        minutes=20,
        base=Run(
            model=Model(fields={"in_chans": 1, "image_size": 28, "width": 0.25, "input_drop_rate": 0.0,
                                "drop_rate": 0.0, "rectified_scores": False}),
            data=Data(batch_size=16),
            preprocess=Preprocess(fit="channel", crop_pct=1.0),
            optim=Optim(name="adamw", lr=1e-3, weight_decay=1e-3),
            schedule=Schedule(name="cosine"),
            train=Train(epochs=12),
        ),
        images=Images("fashion-small", train=2000, test=2000),
        rates=(0.0007, 0.0015, 0.003),
        tuning_epochs=3,
    )
    assert quick.base is not None
    return Experiment(
        title="Can max-pooling be replaced by strided convolutions without loss?",
        paper="Springenberg et al. 2015, Table 3",
        claims=(
            Claim("All-CNN, with convolutions in the place of pooling, is at most one point worse than its base",
                  lambda seed: _saved(seed, "base", "All-CNN"), "points of test error saved", above=-1),
            Claim("All-CNN is at most one point worse than ConvPool-CNN, which has as many weights and pools",
                  lambda seed: _saved(seed, "ConvPool-CNN", "All-CNN"), "points of test error saved", above=-1),
            Claim("Strided-CNN, with nothing in the place of pooling, is worse than its base",
                  lambda seed: _saved(seed, "Strided-CNN", "base"), "points of test error saved"),
        ),
        picture=_picture,
        quick=quick,
        standard=replace(
            quick,
            arms=tuple(arm for (_, model), arm in ARMS.items() if model == "C"),
            minutes=25,
            base=quick.base.change("model.fields.in_chans", 3, "model.fields.image_size", 32, "train.epochs", 15),
            images=Images("cifar10", train=5000, test=2000),
        ),
        full=replace(
            quick,
            minutes=2000,
            base=_published(),
            images=Images("cifar10"),
            rates=(0.01, 0.05, 0.1, 0.25),
            tuning_epochs=None,
        ),
    )


def _published() -> Run:
    """The recipe without augmentation, as in Table 3."""
    return allcnn().change("augment.crop", "centre", "augment.padding", 0, "augment.flip", 0.0)


def _saved(seed: BySeed, worse: str, better: str) -> float:
    """Points of test error by which one kind is better than another, averaged over the models that there are."""
    saved = [seed[ARMS[worse, model].name]["test_error"] - seed[ARMS[better, model].name]["test_error"]
             for model in MODELS if ARMS[better, model].name in seed]
    return sum(saved) / len(saved)


def _picture(results: Results) -> "Figure":
    return dots(results, "test_error", "test error, %", title="What is in the place of pooling")
