"""Zagoruyko & Komodakis 2016, "Wide Residual Networks", Tables 4 and 5: few wide layers against many thin ones.

The paper widens pre-activated residual networks by k and makes them shallower. With as many parameters wide networks
learn as well as thin ones that are far deeper, and train several times faster, for they do more in parallel: WRN-40-4
is better than the thin network of 1001 layers with as many parameters and trains eight times as fast.

Quick: 40 layers of 8, 16 and 32 maps, 16 of 14, 28 and 56, and 10 of 20, 40 and 80: 142 000, 134 000 and 121 000
parameters, on 3 000 training images of fashion-small at 14×14 pixels, 12 epochs, batches of 64, crops of images padded
by two, mirror images, and the paper's Nesterov momentum, weight decay 5·10⁻⁴ and rate of 0.1 (divided by ten after half
and three quarters of the epochs), the same for all. Five seeds; figures are the test error after the last epoch, on 2
000 images, and the processor's time for a training step, per image, on one thread: the fastest of eight steps.

It holds where 16 layers lose at most one point against 40, and where their step takes less time.

What the quick form cannot show: on one thread little is gained by parallel work, so that the gain in speed is less than
a GPU's. Full: WRN-40-4 and WRN-16-8 on CIFAR-10 as published (8.9 and 11.0 million parameters, 4.97 and 4.81 % error).
"""

import time

from ..recipes.wide_resnet_cifar import wide_resnet_cifar
from .machinery.pictures import against
from .machinery.plan import Claim, Experiment, Images, Protocol
from .machinery.small import small
from .machinery.trial import Arm, Figures, Trial, final

STEPS, BATCH = 8, 64        # that are timed, and images in each
DEEP, WIDE, WIDEST = "40 layers", "16 layers", "10 layers"


def wide_or_deep() -> Experiment:
    return Experiment(
        title="Few wide layers, or many thin ones?",
        paper="Zagoruyko & Komodakis 2016, Tables 4 and 5",
        claims=(
            Claim("With no more parameters 16 wide layers are as good as 40 thin ones, to one point",
                  lambda seed: seed[DEEP]["test_error"] - seed[WIDE]["test_error"], "points of test error", above=-1.0),
            Claim("The wide network trains faster",
                  lambda seed: 100 * (seed[DEEP]["step_ms"] / seed[WIDE]["step_ms"] - 1), "per cent of its time"),
        ),
        picture=lambda results: against(results, "step_ms", "test_error", ("ms per image of a training step",
                                        "test error, %"), title="Wide and deep, with as many parameters", log=False),
        quick=Protocol(
            arms=(
                Arm(DEEP, {"model.fields": {"depth": 40, "width": 0.5}}),
                Arm(WIDE, {"model.fields": {"depth": 16, "width": 0.875}}),
                Arm(WIDEST, {"model.fields": {"depth": 10, "width": 1.25}}),
            ),
            minutes=4,
            base=small("wide_resnet40_1_cifar", {}, 12).change("optim.nesterov", True, "optim.weight_decay", 5e-4),
            images=Images("fashion-small", train=3000, test=2000),
        ),
        full=Protocol(
            arms=(
                Arm(DEEP, {"model.fields": {"depth": 40, "widen": 4}}),
                Arm(WIDE, {"model.fields": {"depth": 16, "widen": 8}}),
            ),
            minutes=60_000, base=wide_resnet_cifar(), images=Images("cifar10"),
        ),
        measure=measure,
    )


def measure(trial: Trial) -> Figures:
    """`final`, `params`, and `step_ms`, per image of a training step."""
    import torch  # a plan needs none
    from torch.nn.functional import cross_entropy

    network = trial.network().train()
    images = torch.randn(BATCH, network.in_chans, *network.image_size)
    labels = torch.arange(BATCH) % network.num_classes
    took = []
    for _ in range(STEPS):
        began = time.process_time()
        cross_entropy(network(images), labels).backward()       # type: ignore[no-untyped-call]
        took.append(time.process_time() - began)
    return {**final(trial), "params": sum(each.numel() for each in network.parameters()),
            "step_ms": 1000 * min(took) / BATCH}
