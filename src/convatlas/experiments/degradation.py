"""He et al. 2016, "Deep Residual Learning", Figures 1 and 6: deeper plain networks train worse, residual ones do not.

The paper trains plain networks of 20, 32, 44 and 56 layers on CIFAR-10 and finds that the deeper ones have a higher
error on the training images as well as on the others: not overfitting, but a failure of the solver, for a deeper
network could copy a shallower one. The same networks with parameter-free shortcuts (option A) overcome it: deeper is
better, at 3.6 to 13 % training error less than their plain counterparts.

Quick: 20, 32 and 56 layers, plain and residual, of half the paper's width (8, 16 and 32 maps) on 2 000 training images
of fashion-small at 14×14 pixels, 20 epochs, batches of 64, the paper's crops, mirror images, momentum and decay, its
rate divided by ten after half and three quarters of the epochs. The rate itself is chosen for each of the six networks
out of 0.01, 0.03 and 0.1 (the paper's) by its error on 400 of the training images held out, so that no plain network
fails by its rate. Five seeds. The figure is the training error of the last epoch, in training mode and with
augmentation, as the paper draws it. Degradation holds where plain-56 trains worse than plain-20; it is overcome where
residual-56 trains at most one point worse than residual-20; the shortcuts are what does it where residual-56 trains
better than plain-56.

What the quick form cannot show: 640 steps are a hundredth of the paper's 64 000, so that it tells how easily these
networks are trained, not where they would end; and it has no depth of 110 or 1202. Standard: 20 and 56 layers at half
width on 4 000 training images of CIFAR-10, 15 epochs at the paper's rate, or `--data` in its place. Full: all eight
networks as published.
"""

from typing import TYPE_CHECKING

from ..inspect.curves import PALETTE
from ..recipes.resnet_cifar import resnet_cifar
from .machinery.pictures import HIGH, axes_of, figure, titled
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol, Results
from .machinery.small import small
from .machinery.trial import Arm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N = {20: 3, 32: 5, 44: 7, 56: 9}        # layers: blocks per stage
POINTS = "points of training error"


def degradation() -> Experiment:
    quick = small("resnet20_cifar", {"width": 0.5}, 20)
    return Experiment(
        title="Do deeper plain networks train worse, and residual ones not?",
        paper="He et al. 2016, Figures 1 and 6",
        claims=(
            Claim("A plain network of 56 layers trains worse than one of 20",
                  lambda seed: _error(seed, "plain-56") - _error(seed, "plain-20"), POINTS),
            Claim("A residual network of 56 layers trains no worse than one of 20 (by at most one point)",
                  lambda seed: _error(seed, "residual-20") - _error(seed, "residual-56"), POINTS, above=-1.0),
            Claim("At 56 layers the residual network trains better than the plain one",
                  lambda seed: _error(seed, "plain-56") - _error(seed, "residual-56"), POINTS),
        ),
        picture=figure_6,
        quick=Protocol(
            arms=_arms(20, 32, 56),
            minutes=13,
            base=quick,
            images=Images("fashion-small", train=2000, test=1000),
            rates=(0.01, 0.03, 0.1),
        ),
        standard=Protocol(
            arms=_arms(20, 56),
            minutes=45,
            base=resnet_cifar().change("model.fields", {"width": 0.5}, "data.batch_size", 64, "train.epochs", 15,
                                       "schedule.steps", ((7.5, 0.1), (11.25, 0.01))),
            images=Images("cifar10", train=4000, test=1000),
        ),
        full=Protocol(arms=_arms(20, 32, 44, 56), minutes=20_000, base=resnet_cifar(), images=Images("cifar10")),
    )


def _arms(*depths: int) -> tuple[Arm, ...]:
    """The networks of these depths, plain and residual."""
    return tuple(Arm(f"{word}-{depth}", {"model.fields": {"n": N[depth], "shortcut": option}})
                 for word, option in (("plain", "none"), ("residual", "A")) for depth in depths)


def _error(seed: BySeed, arm: str) -> float:
    return seed[arm]["train_error"]


def figure_6(results: Results) -> "Figure":
    """Plain networks left, residual ones right: dashed the training error, full the test error, means over seeds."""
    with figure(760, HIGH) as drawn:
        panels = [axes_of(drawn, 62 + 340 * i, 52, 272, HIGH - 100) for i in range(2)]
        highest = 0.0
        for axes, word in zip(panels, ("plain", "residual"), strict=True):
            for i, arm in enumerate(arm for arm in results.arms if arm.startswith(word)):
                lines = [by_arm[arm] for by_arm in results.rows.values() if arm in by_arm]
                for column, style in (("train_top1", (0, (4, 2))), ("val_top1", "-")):
                    at = [[100 * (1 - row[column]) for row in rows] for rows in zip(*lines, strict=False)]
                    means = [sum(errors) / len(errors) for errors in at]
                    highest = max(highest, *means)
                    axes.plot(range(1, len(means) + 1), means, linestyle=style, linewidth=1.5,
                              color=PALETTE[i % len(PALETTE)], label=arm if style == "-" else None)
            titled(axes, word, "epoch", "error, % (dashed: training, full: test)" if word == "plain" else "")
            axes.legend(frameon=False, fontsize=9.5, loc="upper right")
        for axes in panels:
            axes.set_ylim(0, highest * 1.05)
        return drawn
