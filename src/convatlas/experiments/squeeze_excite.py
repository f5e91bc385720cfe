"""Hu et al. 2018, "Squeeze-and-Excitation Networks", Table 2 and Figure 5: gates on channels, on and off.

The paper adds gates, a factor per channel and image out of the mean of every channel, to ResNets, ResNeXts and
Inception networks on ImageNet: each gets better (ResNet-50 from 24.80 to 23.29 % top-1 error, BN-Inception from 25.38
to 24.23 %). The factors of the early layers hardly depend on the class that is seen; those of later ones do.

Quick: ResNet-20 with 8, 16 and 32 maps, and four of GoogLeNet's modules (3a, 3b, 4b, 5a) with BatchNorm, an eighth as
wide, each with gates and without, on 3 000 training images of fashion-small at 14×14 pixels, 12 epochs, batches of 64,
He et al.'s crops, mirror images, momentum and decay, rates of 0.1 for the ResNet and 0.05 for Inception, the same on
and off. A gate squeezes four channels to one, not sixteen, which would leave one of so few. Eight seeds, for a point is
what there is to see; the figure is the test error after the last epoch, on 2 000 images. The gates help where their
networks have less.

Of the ResNet's gates, measured on the test images: the standard deviation between the ten classes' mean factors, a
mean over the channels of a layer, as the eye compares the lines in Figure 5. Gates become class dependent where that
of the last layer is larger than that of the first. What share of all their variance lies between classes is told
beside it.

What the quick form cannot show: the point of difference that it would take on ImageNet may be less here, where networks
of 20 layers end near what so few images allow. Standard: the same four networks with 32×32 pixels on 5 000 training
images of CIFAR-10, ten epochs, or on `--data`, with five seeds.
"""

from typing import TYPE_CHECKING

from ..inspect.curves import PALETTE
from ..recipes.resnet_cifar import resnet_cifar
from .machinery.pictures import axes_of, figure, titled
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol, Results
from .machinery.small import small
from .machinery.trial import Arm, Figures, Trial, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESNET, SE_RESNET, INCEPTION, SE_INCEPTION = "ResNet-20", "SE-ResNet-20", "Inception", "SE-Inception"
GATES = {"excite": {"reduction": 4}}
MODULES = [     # of Table 1: name, pool before it, 1×1, 3×3 reduce, 3×3, "5×5" reduce, "5×5", pool proj
    ["3a", 0, 64, 96, 128, 16, 32, 32],
    ["3b", 0, 128, 128, 192, 32, 96, 64],
    ["4b", 3, 160, 112, 224, 24, 64, 64],
    ["5a", 2, 256, 160, 320, 32, 128, 128],
]
INCEPTION_FIELDS = {"table": MODULES, "width": 0.125, "stem": "cifar", "aux": False, "drop_rate": 0.0}
POINTS = "points of test error"


def squeeze_excite() -> Experiment:
    as_inception = {"model.name": "googlenet_bn", "optim.lr": 0.05}
    arms = (Arm(RESNET, {}), Arm(SE_RESNET, {"model.fields": GATES}),
            Arm(INCEPTION, {**as_inception, "model.fields": INCEPTION_FIELDS}),
            Arm(SE_INCEPTION, {**as_inception, "model.fields": INCEPTION_FIELDS | GATES}))
    return Experiment(
        title="Do gates on channels help, and what do they depend on?",
        paper="Hu et al. 2018, Table 2 and Figure 5",
        claims=(
            Claim("ResNet-20 is better with gates", lambda seed: _gain(seed, RESNET, SE_RESNET), POINTS),
            Claim("An Inception network is better with gates", lambda seed: _gain(seed, INCEPTION, SE_INCEPTION),
                  POINTS),
            Claim("The gates of the last layer depend on the class more than those of the first",
                  lambda seed: seed[SE_RESNET]["last_spread"] - seed[SE_RESNET]["first_spread"],
                  "of a factor, between classes"),
        ),
        picture=picture,
        quick=Protocol(
            arms=arms,
            minutes=13,
            base=small("resnet20_cifar", {"width": 0.5}, 12),
            images=Images("fashion-small", train=3000, test=2000),
            seeds=8,
        ),
        standard=Protocol(
            arms=arms,
            minutes=40,
            base=resnet_cifar().change("model.fields", {"width": 0.5, "image_size": 32}, "data.batch_size", 64,
                                       "train.epochs", 10, "schedule.steps", ((5, 0.1), (7.5, 0.01))),
            images=Images("cifar10", train=5000, test=2000),
        ),
        measure=measure,
    )


def measure(trial: Trial) -> Figures:
    """`final`; where there are gates `spread/1` …, between the classes' means of each layer, and `share/1` …, of the
    variance between classes; `first_spread`, `last_spread`, `last_share` of the layers at the ends, 0 without gates.
    """
    from ..inspect.gates import gates  # a plan needs no torch

    if "excite" not in trial.arm.changes.get("model.fields", {}):
        return {**final(trial), "first_spread": 0.0, "last_spread": 0.0, "last_share": 0.0}
    network = trial.network()
    source, transform = trial.images(network)
    found = gates(network, source.val, source.classes, transform)
    spreads = [layer.mean.std(0, correction=0).mean().item() for layer in found]
    shares = [(layer.mean.var(0, correction=0).sum() / layer.all_std.square().sum().clamp(min=1e-12)).item()
              for layer in found]
    return {**final(trial), "first_spread": spreads[0], "last_spread": spreads[-1], "last_share": shares[-1],
            **{f"spread/{i}": spread for i, spread in enumerate(spreads, 1)},
            **{f"share/{i}": share for i, share in enumerate(shares, 1)}}


def _gain(seed: BySeed, without: str, with_gates: str) -> float:
    return seed[without]["test_error"] - seed[with_gates]["test_error"]


def picture(results: Results) -> "Figure":
    """Above the test errors, a dot per seed; below what the gates of each layer depend on, means over the seeds."""
    with figure(700, 430) as drawn:
        errors = axes_of(drawn, 110, 262, 500, 120)
        for i, arm in enumerate(reversed(results.arms)):
            values = results.of(arm, "test_error")
            mean = sum(values) / len(values)
            errors.plot(values, [i] * len(values), "o", color=PALETTE[0], alpha=0.4, markersize=6, markeredgewidth=0)
            errors.plot([mean] * 2, [i - 0.32, i + 0.32], color=PALETTE[0], linewidth=1.8)
            errors.annotate(f"{mean:.2f}", (1.02, i), xycoords=("axes fraction", "data"), fontsize=10, va="center")
        errors.set_yticks(range(len(results.arms)), results.arms[::-1])
        errors.set_ylim(-0.6, len(results.arms) - 0.4)
        titled(errors, "Gates on and off", "test error, %")
        for i, (name, label) in enumerate((("spread", "deviation, of a factor"), ("share", "share of the variance"))):
            axes = axes_of(drawn, 70 + 320 * i, 52, 260, 120)
            for j, arm in enumerate(arm for arm in results.arms if results.series(arm, name)):
                values = results.series(arm, name)
                axes.plot(range(1, len(values) + 1), values, "o-", color=PALETTE[j], linewidth=1.4, markersize=4,
                          label=arm)
            axes.set_ylim(bottom=0)
            titled(axes, "What lies between classes" if i == 0 else "", "layer with gates", label)
            if i == 0 and axes.lines:
                axes.legend(frameon=False, fontsize=9)
        return drawn
