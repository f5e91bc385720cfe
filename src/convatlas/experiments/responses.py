"""He et al. 2016, "Deep Residual Learning", Figure 7: residual functions respond weakly.

The paper measures the standard deviation of each 3×3 convolution's response, after BatchNorm and before the addition
and the ReLU, on CIFAR-10. Residual networks respond less than their plain counterparts, so that what blocks learn is
closer to zero than a whole new map is; and the more layers there are, the less each of them changes.

Quick: 20 and 56 layers, plain and residual (option A), with 8, 16 and 32 maps, trained on 2 000 training images of
fashion-small at 14×14 pixels for 20 epochs, batches of 64, the paper's crops, mirror images, rate, momentum and decay;
measured on the 1 000 test images, over all channels and positions. Five seeds. The figure is the mean deviation over
the layers, the stem left out, which all four share. It holds for a depth where the residual network's is less, and for
the two depths where that of 56 layers is.

What the quick form cannot show: BatchNorm begins with a deviation of one everywhere, from which 620 steps move its
factors a part of the way that 64 000 do. The sign of the difference is the claim, and no size of it.
"""

from typing import TYPE_CHECKING

from ..inspect.curves import PALETTE
from .machinery.pictures import HIGH, axes_of, figure, titled
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol, Results
from .machinery.small import small
from .machinery.trial import Arm, Figures, Trial, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N = {20: 3, 56: 9}      # layers: blocks per stage
UNIT = "of the mean standard deviation"


def responses() -> Experiment:
    return Experiment(
        title="Do the blocks of a residual network change little?",
        paper="He et al. 2016, Figure 7",
        claims=(
            Claim("Layers of the residual network of 20 layers respond less than those of the plain one",
                  lambda seed: _mean(seed, "plain-20") - _mean(seed, "residual-20"), UNIT),
            Claim("Layers of the residual network of 56 layers respond less than those of the plain one",
                  lambda seed: _mean(seed, "plain-56") - _mean(seed, "residual-56"), UNIT),
            Claim("In a residual network of 56 layers each responds less than in one of 20",
                  lambda seed: _mean(seed, "residual-20") - _mean(seed, "residual-56"), UNIT),
        ),
        picture=figure_7,
        quick=Protocol(
            arms=tuple(Arm(f"{word}-{depth}", {"model.fields": {"n": N[depth], "shortcut": option}})
                       for word, option in (("plain", "none"), ("residual", "A")) for depth in N),
            minutes=7,
            base=small("resnet20_cifar", {"width": 0.5}, 20),
            images=Images("fashion-small", train=2000, test=1000),
        ),
        measure=measure,
    )


def measure(trial: Trial) -> Figures:
    """`final`, `response`, the mean over the layers behind the stem, and `response/1` …, of each of them."""
    from ..inspect.residuals import residuals  # a plan needs no torch

    network = trial.network()
    source, transform = trial.images(network)
    found = residuals(network, source.val, transform)
    behind = [float(std) for name, std in zip(found.layers, found.std, strict=True) if not name.startswith("stem")]
    return {**final(trial), "response": sum(behind) / len(behind),
            **{f"response/{i}": std for i, std in enumerate(behind, 1)}}


def _mean(seed: BySeed, arm: str) -> float:
    return seed[arm]["response"]


def figure_7(results: Results) -> "Figure":
    """Deviations in the order of the layers above, and from the strongest to the weakest below; means over seeds."""
    with figure(680, 2 * HIGH - 60) as drawn:
        panels = [axes_of(drawn, 62, 52 + (HIGH - 60) * i, 480, HIGH - 130) for i in (1, 0)]
        for i, arm in enumerate(results.arms):
            measured = results.series(arm, "response")
            style = "-" if arm.startswith("residual") else (0, (4, 2))
            for axes, values in zip(panels, (measured, sorted(measured, reverse=True)), strict=True):
                axes.plot(range(1, len(values) + 1), values, linestyle=style, linewidth=1.6,
                          color=PALETTE[i % len(PALETTE)], label=arm)
        titled(panels[0], "How strongly layers respond", "layer, in the order of the network", "standard deviation")
        titled(panels[1], "", "layers, the strongest first", "standard deviation")
        for axes in panels:
            axes.set_ylim(bottom=0)
        panels[0].legend(frameon=False, fontsize=9.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return drawn
