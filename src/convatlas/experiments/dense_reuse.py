"""Huang et al. 2017, "Densely Connected Convolutional Networks", Figures 4 and 5: maps that all later layers read.

In the paper DenseNet-BC needs about a third of a residual network's parameters for its error on CIFAR-10 (Figure 4),
for layers need not learn again what earlier ones have found. The weights show it (Figure 5): layers spread them over
many earlier layers of their block, also over the first ones.

Quick: DenseNet-BC with blocks of 3 layers of 6 maps and of 4 layers of 8 maps (18 500 and 46 400 parameters), beside
pre-activated ResNets of 20 layers that begin with 6, 8 and 12 maps (38 000, 68 000 and 152 000), on 2 500 training
images of fashion-small at 14×14 pixels, 12 epochs, batches of 64, crops of images padded by two, mirror images, the
paper's Nesterov momentum, weight decay 10⁻⁴ and rate of 0.1 (divided by ten after half and three quarters of the
epochs), the same for all. Five seeds; the figure is the test error after the last epoch, on 2 000 images.

It holds where the larger DenseNet loses at most one point against the ResNet with 3.3 times its parameters; where it is
better than the ResNet of 38 000, which comes nearest to it from below; and where its layers, and those behind its
blocks, give to maps from further back than the layer just before them at least half of the mean absolute weight that
they give to that one's.

What the quick form cannot show: blocks of four layers have no far past; and weights begin alike for all sources, so
that an even spread says only that training keeps it.
"""

from typing import TYPE_CHECKING

from ..inspect.curves import PALETTE
from .machinery.pictures import HIGH, axes_of, figure, titled
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol, Results
from .machinery.small import small
from .machinery.trial import Arm, Figures, Trial, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALL_DENSE, DENSE = "DenseNet, 3 × 6", "DenseNet, 4 × 8"
RESNETS = {"ResNet, 6 maps": 0.375, "ResNet, 8 maps": 0.5, "ResNet, 12 maps": 0.75}
POINTS = "points of test error"


def dense_reuse() -> Experiment:
    return Experiment(
        title="Do layers that all later ones read save parameters?",
        paper="Huang et al. 2017, Figures 4 and 5",
        claims=(
            Claim("A DenseNet is as good as a ResNet with 3.3 times its parameters, to one point",
                  lambda seed: _error(seed, "ResNet, 12 maps") - _error(seed, DENSE), POINTS, above=-1.0),
            Claim("It is better than a ResNet with about as many",
                  lambda seed: _error(seed, "ResNet, 6 maps") - _error(seed, DENSE), POINTS),
            Claim("Layers read those far back with at least half the weight that they give to the one before",
                  lambda seed: seed[DENSE]["reach"], "of its mean absolute weight", above=0.5),
        ),
        picture=picture,
        quick=Protocol(
            arms=(
                Arm(SMALL_DENSE, _dense(3, 6)),
                Arm(DENSE, _dense(4, 8)),
                *(Arm(name, {"model.fields": {"n": 3, "width": width}}) for name, width in RESNETS.items()),
            ),
            minutes=6,
            base=small("preact_resnet110_cifar", {}, 12).change("optim.nesterov", True),
            images=Images("fashion-small", train=2500, test=2000),
        ),
        measure=measure,
    )


def _dense(layers: int, growth: int) -> dict[str, object]:
    return {"model.name": "densenet_bc_100_12_cifar",
            "model.fields": {"layers": layers, "growth": growth, "stem_channels": 2 * growth}}


def measure(trial: Trial) -> Figures:
    """`final` and `params`; of a DenseNet `reach`, the weight of maps two or more places back by that of the last ones,
    and `weight/block/source/target`, mean absolute weights; 0 and none of a ResNet.
    """
    from ..inspect.dense_weights import dense_weights  # a plan needs no torch

    network = trial.network()
    figures = {**final(trial), "params": sum(each.numel() for each in network.parameters())}
    if "layers" not in trial.arm.changes["model.fields"]:
        return {**figures, "reach": 0.0}
    blocks = [block.weights.tolist() for block in dense_weights(network)]
    read = [(target - source, weights[source][target]) for weights in blocks for source in range(len(weights))
            for target in range(source, len(weights[source]))]
    before = [weight for distance, weight in read if distance == 0]
    far = [weight for distance, weight in read if distance >= 1]
    return {**figures, "reach": sum(far) / len(far) / (sum(before) / len(before)),
            **{f"weight/{b}/{source}/{target}": weight for b, weights in enumerate(blocks)
               for source, row in enumerate(weights) for target, weight in enumerate(row) if weight == weight}}


def _error(seed: BySeed, arm: str) -> float:
    return seed[arm]["test_error"]


def picture(results: Results) -> "Figure":
    """Left errors against parameters, right the larger DenseNet's weights by the layer that is read, as Figure 5."""
    with figure(980, HIGH + 10) as drawn:
        axes = axes_of(drawn, 66, 56, 330, HIGH - 110)
        for i, word in enumerate(("DenseNet", "ResNet")):
            points = sorted((results.of(arm, "params")[0], results.of(arm, "test_error")) for arm in results.arms
                            if arm.startswith(word))
            means = [sum(errors) / len(errors) for _, errors in points]
            axes.plot([params for params, _ in points], means, "o-", color=PALETTE[i], linewidth=1.5, label=word)
            for params, errors in points:
                axes.plot([params] * 2, [min(errors), max(errors)], color=PALETTE[i], linewidth=1.1)
        axes.set_xscale("log")
        axes.legend(frameon=False, fontsize=9.5)
        titled(axes, "Error and parameters", "parameters", "test error, %")
        for b in range(3):
            places, weights = _weights(results, b)
            side = 1 + max((max(place) for place in places), default=0)
            shares = [[float("nan")] * side for _ in range(side)]
            for (source, target), weight in zip(places, weights, strict=True):
                most = max(other for (_, reader), other in zip(places, weights, strict=True) if reader == target)
                shares[source][target] = weight / (most or 1.0)
            block = axes_of(drawn, 452 + 178 * b, 96, 140, 140)
            block.imshow(shares, cmap="viridis", vmin=0, vmax=1, extent=(0.5, side + 0.5, side - 0.5, -0.5))
            block.grid(visible=False)
            titled(block, f"block {b + 1}", "reading layer", "layer that is read" if b == 0 else "")
        return drawn


def _weights(results: Results, block: int) -> tuple[list[tuple[int, int]], list[float]]:
    """The (source, target) pairs of a block of the larger DenseNet, and their weights, means over the seeds."""
    found: dict[tuple[int, int], list[float]] = {}
    for by_arm in results.paired:
        for name, weight in by_arm[DENSE].items():
            if name.startswith(f"weight/{block}/"):
                source, target = map(int, name.split("/")[2:])
                found.setdefault((source, target), []).append(weight)
    return list(found), [sum(each) / len(each) for each in found.values()]
