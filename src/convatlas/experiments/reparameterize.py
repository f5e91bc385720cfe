"""RepVGG (Ding et al. 2021), sections 3.2 and 3.3, Table 6: trained with branches, merged into plain 3×3 convolutions.

On ImageNet the paper's RepVGG-B0 reaches 75.14 % with an identity and a 1×1 branch beside each 3×3 convolution, 74.79
without the 1×1, 73.15 without the identity, and 72.39 with neither, though all four are the same plain stack of 3×3
convolutions once their branches are merged; the merged network is faster than the one that was trained.

Scaled down to 14 layers of 8 to 64 channels (one at 28 pixels, then stages of 2, 4, 6 and 1 at 14, 7, 4 and 2) on 2 000
training and 2 000 test images of Fashion-MNIST (28×28, grey): 12 epochs, batches of 50, momentum 0.9, decay 10⁻⁴, a
cosine; the rate is chosen for each of the four by the same trials (0.03, 0.1, 0.3; a fifth of the training images held
out). Five seeds; the error is that after the last epoch.

Holds: the merged network gives the class that the trained one gives for 99.9 % of the test images or more; it takes
less time (medians of turns of both with batches of 100, on one thread); training with both branches gives a smaller
test error than training with none, and than training without the identity. Standard: the same on 10 000 images of
CIFAR-10, 32×32, in colour. At 14 layers a plain stack with BatchNorm still learns well, so the errors may lie too close
to tell.
"""

import statistics
import time
from dataclasses import replace

import torch

from ..net.card import Folded
from ..net.fold import fold
from ..net.model import Convnet
from ..run import Data, Model, Optim, Preprocess, Run, Schedule, Train
from .machinery.pictures import dots
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol
from .machinery.seen import seen
from .machinery.trial import Arm, Figures, Trial, final

BOTH, NO_POINT, NO_SKIP, NEITHER = ("3×3, 1×1 and identity", "3×3 and identity", "3×3 and 1×1", "3×3 alone")
TURNS, IMAGES = 11, 100


def reparameterize() -> Experiment:
    quick = Protocol(
        arms=(
            Arm(BOTH, {}),
            Arm(NO_POINT, {"model.fields": {"point": False}}),
            Arm(NO_SKIP, {"model.fields": {"skip": False}}),
            Arm(NEITHER, {"model.fields": {"point": False, "skip": False}}),
        ),
        minutes=12,
        base=Run(
            model=Model(name="repvgg_a0", fields={"layers": [2, 4, 6, 1], "a": 0.125, "b": 0.125, "stem": "cifar",
                                                  "in_chans": 1, "image_size": 28}),
            data=Data(batch_size=50),
            preprocess=Preprocess(mean=(0.5,), std=(0.5,), crop_pct=1.0),
            optim=Optim(name="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4),
            schedule=Schedule(name="cosine"),
            train=Train(epochs=12),
        ),
        images=Images("fashion-small", train=2000),
        rates=(0.03, 0.1, 0.3),
    )
    assert quick.base is not None
    return Experiment(
        title="Do branches that are merged away help training?",
        paper="Ding et al. 2021, Table 6",
        claims=(
            Claim("the merged network gives the classes that the trained one gives",
                  lambda seed: seed[BOTH]["same_class"], "% of the test images", above=99.9, by_chance=False),
            Claim("the merged network takes less time than the one with branches",
                  lambda seed: seed[BOTH]["faster"], "times as fast", above=1),
            Claim("trained with both branches the plain stack errs less than trained without",
                  lambda seed: _less(seed, NEITHER), "points of test error"),
            Claim("trained with both branches it errs less than trained without the identity",
                  lambda seed: _less(seed, NO_SKIP), "points of test error"),
        ),
        measure=merged,
        picture=lambda results: dots(results, "test_error", "test error, %",
                                     title="The same plain stack, trained with these branches"),
        quick=quick,
        standard=replace(
            quick, images=Images("cifar10", train=10_000), minutes=90,
            base=quick.base.change("model.fields.in_chans", 3, "model.fields.image_size", 32)),
    )


def _less(seed: BySeed, other: str) -> float:
    return seed[other]["test_error"] - seed[BOTH]["test_error"]


def merged(trial: Trial) -> Figures:
    """Differences that merging makes: `same_class` in per cent of the test images, `difference` of the scores relative
    to the largest, `faster` (times), parameters and layers before and after.
    """
    network = trial.network().eval()
    plain = fold(network).eval()
    images, _ = seen(trial, "val")
    with torch.inference_mode():
        same = torch.cat([network(x).argmax(1) == plain(x).argmax(1) for x in torch.split(images, IMAGES)])
        times = [(_seconds(network, images[:IMAGES]), _seconds(plain, images[:IMAGES])) for _ in range(TURNS)]
    before, after = (statistics.median(each) for each in zip(*times, strict=True))
    done = plain.card.folded
    assert isinstance(done, Folded)
    return {**final(trial), "same_class": float(100 * same.double().mean()), "difference": done.relative,
            "faster": before / after, "params_trained": done.params[0], "params_merged": done.params[1]}


def _seconds(network: Convnet, images: torch.Tensor) -> float:
    began = time.perf_counter()
    network(images)
    return time.perf_counter() - began
