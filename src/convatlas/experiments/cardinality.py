"""Xie et al. 2017, "Aggregated Residual Transformations", Tables 3 and 7: more paths at equal parameters.

The paper splits the 3×3 convolution of each bottleneck into groups, as many parallel paths, and widens it so that the
parameters stay: from one path of 64 channels to 32 of 4 the error on ImageNet falls from 23.9 to 22.2 % (ResNet-50 and
ResNeXt-50). On CIFAR-10 paths help more than width does, too.

Quick: 20 layers, bottlenecks that give 32, 64 and 128 maps (an eighth of the paper's), with one path of 16 channels,
two of 10 and eight of 4, whose parameters differ by 6 % (the last two have fewer than the first), on 2 000 training
images of fashion-small at 14×14 pixels, 12 epochs, batches of 64, crops of images padded by two, mirror images, and the
paper's Nesterov momentum, weight decay 5·10⁻⁴ and rate of 0.1 (divided by ten after half and three quarters of the
epochs), the same for all. Five seeds; the figure is the test error after the last epoch, on 2 000 images. It holds
where eight paths have less of it than one.

What the quick form cannot show: differences below a point; and paths of four channels may be too thin to stand for the
paper's, whose thinnest on CIFAR have 64.
"""

from .machinery.pictures import dots
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol
from .machinery.small import small
from .machinery.trial import Arm, Figures, Trial, final

ONE, TWO, EIGHT = "1 × 16d", "2 × 10d", "8 × 4d"


def cardinality() -> Experiment:
    return Experiment(
        title="Are many thin paths better than one wide one?",
        paper="Xie et al. 2017, Tables 3 and 7",
        claims=(Claim("With no more parameters eight paths are better than one",
                      lambda seed: _error(seed, ONE) - _error(seed, EIGHT), "points of test error"),),
        picture=lambda results: dots(results, "test_error", "test error, %", title="Paths × channels of each"),
        quick=Protocol(
            arms=tuple(Arm(name, {"model.fields": {"groups": groups, "width": width}})
                       for name, groups, width in ((ONE, 1, 16), (TWO, 2, 10), (EIGHT, 8, 4))),
            minutes=6,
            base=small("resnext29_8x64d_cifar", {"blocks": 2, "planes": 8}, 12).change(
                "optim.nesterov", True, "optim.weight_decay", 5e-4),
            images=Images("fashion-small", train=2000, test=2000),
        ),
        measure=measure,
    )


def measure(trial: Trial) -> Figures:
    """`final` and `params`."""
    return {**final(trial), "params": sum(each.numel() for each in trial.network().parameters())}


def _error(seed: BySeed, arm: str) -> float:
    return seed[arm]["test_error"]
