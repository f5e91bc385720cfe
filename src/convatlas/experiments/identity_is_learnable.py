"""He et al. 2016, "Deep Residual Learning", section 1: a deeper network can be as good, by layers that copy.

The paper argues that degradation is the solver's failure: a deeper network exists that is no worse, the shallower one
with layers added that copy their input, yet solvers do not find one that good. If the best that layers can do is to
copy, it should be easier to push a residual to zero than to fit a copy by a stack of nonlinear layers. The paper
computes neither; both can be.

Quick: plain networks of 20 and 56 layers with 8, 16 and 32 maps are trained on 2 000 training images of fashion-small
at 14×14 pixels for 20 epochs, batches of 64, the paper's crops, mirror images, momentum and decay, with the rate out of
0.01, 0.03 and 0.1 that is best on 400 of the images held out. Then 36 layers that copy are put behind the blocks of the
trained networks, two 3×3 convolutions with a one in the middle and an open BatchNorm each: ReLU leaves alone what it
has rectified before. Training errors here are those of the finished network on the training images, without
augmentation.

Beside it, stacks of two 3×3 convolutions each, 1 and 9 blocks of 8 maps with their usual first weights, learn to copy
maps that a random convolution with ReLU makes of the training images: 200 steps of batches of 32, the rate out of
0.01, 0.03 and 0.1 that ends best, with shortcuts and without, after which their mean squared error is told as a
share of the maps' variance.

It holds where the deepened network's scores are those of the shallow one to a thousandth and plain-56, trained, has a
higher training error than it; and where a stack of nine blocks copies better with shortcuts. Five seeds.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..inspect.curves import PALETTE
from .machinery.pictures import HIGH, axes_of, figure, titled
from .machinery.plan import Claim, Experiment, Images, Protocol, Results
from .machinery.small import small
from .machinery.trial import Arm, Figures, Trial, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from ..net.model import Convnet
    from ..parts import Option

COPIES = 6                      # blocks of two layers put behind each of the three stages
STACKS = (1, 9)                 # blocks
MAPS, STEPS, BATCH = 8, 200, 32
RATES = (0.01, 0.03, 0.1)
OPTIONS: Mapping[str, "Option"] = {"plain": "none", "residual": "A"}
SAME = 1e-3                     # largest difference of two scores that are called the same


def identity_is_learnable() -> Experiment:
    return Experiment(
        title="Could a deeper network be as good, and do solvers find it?",
        paper="He et al. 2016, section 1",
        claims=(
            Claim("A trained network of 20 layers, 36 that copy put in, gives the same scores, to a thousandth",
                  lambda seed: SAME - seed["plain-20"]["difference"], "of a score", by_chance=False),
            Claim("Trained from the beginning, a plain network of 56 layers has more training error than that one",
                  lambda seed: seed["plain-56"]["error"] - seed["plain-20"]["deepened_error"],
                  "points of training error"),
            Claim("A stack of nine blocks learns to copy better with shortcuts than without",
                  lambda seed: seed["plain-20"]["plain copy/9"] - seed["plain-20"]["residual copy/9"],
                  "of the variance"),
        ),
        picture=picture,
        quick=Protocol(
            arms=(Arm("plain-20", {"model.fields": {"n": 3}}), Arm("plain-56", {"model.fields": {"n": 9}})),
            minutes=7,
            base=small("plain20_cifar", {"width": 0.5}, 20),
            images=Images("fashion-small", train=2000, test=1000),
            rates=(0.01, 0.03, 0.1),
        ),
        measure=measure,
    )


def measure(trial: Trial) -> Figures:
    """`final`; `error`, on the training images, of the network, and `deepened_error`, of that with copies; their
    scores' largest `difference`; with the first arm, for they need no trained network, `plain copy/1` …, of stacks of
    so many blocks, and `residual copy/1` ….
    """
    import torch  # a plan needs none

    network = trial.network().eval()
    source, transform = trial.images(network)
    images = torch.stack([transform(source.train.read(i)) for i in range(len(source.train))])
    with torch.no_grad():
        scores = network(images)
        deepened = deepen(network)(images)
    labels = source.train.labels[: len(images)]
    return {
        **final(trial),
        "error": 100 * (scores.argmax(1) != labels).float().mean().item(),
        "deepened_error": 100 * (deepened.argmax(1) != labels).float().mean().item(),
        "difference": (scores - deepened).abs().max().item(),
        **({f"{word} copy/{blocks}": copied(images, option, blocks, trial.seed)
            for word, option in OPTIONS.items() for blocks in STACKS} if trial.arm.name == "plain-20" else {}),
    }


def deepen(network: "Convnet") -> "Convnet":
    """The network with blocks that copy behind the blocks of each stage; changes it."""
    from torch import nn  # a plan needs none

    for i, stage in enumerate(network.stages):
        maps = [module for module in stage.modules() if isinstance(module, nn.BatchNorm2d)][-1].num_features
        network.stages[i] = nn.Sequential(stage, *(copying(maps) for _ in range(COPIES)))
    return network


def copying(maps: int) -> "nn.Module":
    """A plain block of two 3×3 convolutions that gives back maps without negative values."""
    import torch  # a plan needs none
    from torch import nn

    from ..arch.resnet_cifar import ResNetCifar  # of torch

    block = ResNetCifar(1, "none").block(maps, maps, 1, 0.0).eval()
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            with torch.no_grad():
                module.running_var.fill_(1 - module.eps)        # so that it divides by one
    return block


def copied(images: "Tensor", option: "Option", blocks: int, seed: int) -> float:
    """The error that a stack of `blocks` is left with when it has learned to copy, at the best of the rates."""
    return min(_copied(images, option, blocks, seed, rate) for rate in RATES)


def _copied(images: "Tensor", option: "Option", blocks: int, seed: int, rate: float) -> float:
    import torch  # a plan needs none
    from torch import nn

    from ..arch.resnet_cifar import ResNetCifar  # of torch
    from ..parts import he_normal_  # of torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first: nn.Module = nn.Conv2d(images.shape[1], MAPS, 3, padding=1)
        stack = nn.Sequential(*(ResNetCifar(1, option).block(MAPS, MAPS, 1, 0.0) for _ in range(blocks)))
        he_normal_(nn.ModuleList([first, stack]))
        with torch.no_grad():
            maps = first(images).relu()
        optimizer = torch.optim.SGD(stack.parameters(), rate, momentum=0.9)
        for _ in range(STEPS):
            batch = maps[torch.randint(len(maps), (BATCH,))]
            loss = (stack(batch) - batch).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            left = (stack.eval()(maps) - maps).square().mean() / maps.var()
    return left.item() if left.isfinite() else float("inf")


def picture(results: Results) -> "Figure":
    """Left the training errors of the networks and of what copies made of them, right how well stacks learn to copy."""
    with figure(760, HIGH) as drawn:
        left, right = axes_of(drawn, 150, 56, 230, HIGH - 110), axes_of(drawn, 476, 56, 230, HIGH - 110)
        rows = [("plain-20", "plain-20", "error"), ("with 36 that copy", "plain-20", "deepened_error"),
                ("plain-56", "plain-56", "error")]
        for i, (_, arm, name) in enumerate(reversed(rows)):
            values = results.of(arm, name)
            left.plot(values, [i] * len(values), "o", color=PALETTE[0], alpha=0.45, markersize=6, markeredgewidth=0)
            left.plot([sum(values) / len(values)] * 2, [i - 0.3, i + 0.3], color=PALETTE[0], linewidth=1.8)
        left.set_yticks(range(len(rows)), [name for name, _, _ in reversed(rows)])
        left.set_ylim(-0.6, len(rows) - 0.4)
        titled(left, "A deeper network that is as good", "training error, %")
        for i, word in enumerate(OPTIONS):
            errors = results.series("plain-20", f"{word} copy")
            right.plot(range(len(errors)), errors, "o-", color=PALETTE[i], linewidth=1.6, markersize=5, label=word)
        right.set_xticks(range(len(STACKS)), [str(blocks) for blocks in STACKS])
        right.set_yscale("log")
        right.legend(frameon=False, fontsize=9.5)
        titled(right, "Stacks that learn to copy", "blocks", "error left, of the variance")
        return drawn
