"""He et al. 2016, "Deep Residual Learning", Table 3: shortcuts of kind A, B and C, and none.

Where a block changes the number of maps, its shortcut pads with zeros (A), or projects by a 1×1 convolution (B); C
projects everywhere. The paper trains 34 layers on ImageNet: all three are considerably better than the plain network
(25.0, 24.5 and 24.2 % top-1 error against 28.5 %), and differ so little that projections are not essential.

Quick: 32 layers with 8, 16 and 32 maps on 2 500 training images of fashion-small at 14×14 pixels, 12 epochs, batches of
64, the paper's crops, mirror images, momentum, decay and fall of the rate. The rate of the residual networks is the
paper's, 0.1; it is not tuned, and the plain network, which may want a smaller one, is also trained with 0.03 and judged
by the better of the two. Five seeds; the figure is the test error after the last epoch, on 2 000 images. A shortcut
matters where the network with A, which adds no parameter, is better than the plain one; projections are not essential
where A loses at most one point against C.

What the quick form cannot show: that B and C differ by the tenths of a point that they do on ImageNet.
"""

from .machinery.pictures import dots
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol
from .machinery.small import small
from .machinery.trial import Arm

PLAIN, PLAIN_SLOW = "plain", "plain, a rate of 0.03"
A, B, C = "A: zeros for new maps", "B: projects where shapes change", "C: projects everywhere"


def shortcuts() -> Experiment:
    return Experiment(
        title="Does it matter what shortcuts are made of?",
        paper="He et al. 2016, Table 3",
        claims=(
            Claim("Shortcuts without parameters (A) make the plain network better",
                  lambda seed: min(_error(seed, PLAIN), _error(seed, PLAIN_SLOW)) - _error(seed, A),
                  "points of test error"),
            Claim("They are as good as projections everywhere (C), to one point",
                  lambda seed: _error(seed, C) - _error(seed, A), "points of test error", above=-1.0),
        ),
        picture=lambda results: dots(results, "test_error", "test error, %", title="What shortcuts are made of"),
        quick=Protocol(
            arms=(
                Arm(PLAIN, {"model.fields": {"shortcut": "none"}}),
                Arm(PLAIN_SLOW, {"model.fields": {"shortcut": "none"}, "optim.lr": 0.03}),
                Arm(A, {"model.fields": {"shortcut": "A"}}),
                Arm(B, {"model.fields": {"shortcut": "B"}}),
                Arm(C, {"model.fields": {"shortcut": "C"}}),
            ),
            minutes=6,
            base=small("resnet32_cifar", {"width": 0.5}, 12),
            images=Images("fashion-small", train=2500, test=2000),
        ),
    )


def _error(seed: BySeed, arm: str) -> float:
    return seed[arm]["test_error"]
