"""Simonyan & Zisserman 2015, Table 3: VGG from 11 to 19 layers; error falls with depth until it saturates.

The paper trains five networks, A (11 weight layers), B (13), C (16, the added ones 1×1), D (16, all 3×3) and E (19), on
ImageNet: top-1 errors of 29.6, 28.7, 28.1, 27.0 and 27.3 % at one scale. Depth helps, and so do added layers that see
their neighbourhood; at 19 layers it has saturated.

Here the same five at an eighth of their widths (8 to 64 maps) and fully connected layers of 64 units, on 2 000 of the
embedded Fashion-MNIST images, their 28×28 pixels in a black frame of 32×32, so that the last of five poolings leaves
one pixel. The paper began B to E from A's trained layers, for plain deep networks did not get going: here BatchNorm
stands behind every convolution instead (the field's VGG), so that depth and not the beginning is compared, and weights
begin as Glorot & Bengio have them. 15 epochs in batches of 16, momentum 0.9, decay 5·10⁻⁴, no augmentation, no dropout;
the rate falls along a cosine from the best of 0.003, 0.01 and 0.03 for each network after four epochs on a fifth of the
training images, held out. Five seeds; the figure is the test error (all 2 000 test images) after the last epoch.

"Better" holds where the whole interval of the error saved lies above zero, "no worse" where it lies above minus one
point. Two thousand small images of ten kinds are far from ImageNet, and need far less depth: the quick form can show
whether depth helps here, not whether it helped there.
"""

from typing import TYPE_CHECKING

from ..run import Data, Model, Optim, Preprocess, Run, Schedule, Train
from .machinery.pictures import against
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol, Results
from .machinery.trial import Arm, Figures, Trial, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NETS = {"A": ("vgg11", 11), "B": ("vgg13", 13), "C": ("vgg16_c", 16), "D": ("vgg16", 16), "E": ("vgg19", 19)}


def depth() -> Experiment:
    return Experiment(
        title="Does error fall with depth?",
        paper="Simonyan & Zisserman 2015, Table 3",
        claims=(
            Claim("Net D, of 16 layers, is better than net A, of 11", lambda seed: _saved(seed, "A", "D"),
                  "points of test error saved"),
            Claim("Net D is better than net C, whose added layers are 1×1", lambda seed: _saved(seed, "C", "D"),
                  "points of test error saved"),
            Claim("Net E, of 19 layers, is at most one point worse than net D", lambda seed: _saved(seed, "D", "E"),
                  "points of test error saved", above=-1),
        ),
        measure=_measure,
        picture=_picture,
        quick=Protocol(
            arms=tuple(Arm(name, {"model.name": variant}) for name, (variant, _) in NETS.items()),
            minutes=8,
            base=Run(
                model=Model(fields={"in_chans": 1, "image_size": 32, "width": 0.125, "fc": 64, "grid": 1,
                                    "drop_rate": 0.0, "batch_norm": True, "init": "glorot"}),
                data=Data(batch_size=16),
                preprocess=Preprocess(fit="channel", crop_pct=32 / 28),
                optim=Optim(name="sgd", lr=0.03, momentum=0.9, weight_decay=5e-4),
                schedule=Schedule(name="cosine"),
                train=Train(epochs=15),
            ),
            images=Images("fashion-small", train=2000, test=2000),
            rates=(0.003, 0.01, 0.03),
            tuning_epochs=4,
        ),
    )


def _measure(trial: Trial) -> Figures:
    return {**final(trial), "layers": NETS[trial.arm.name][1]}


def _saved(seed: BySeed, worse: str, better: str) -> float:
    return seed[worse]["test_error"] - seed[better]["test_error"]


def _picture(results: Results) -> "Figure":
    return against(results, "layers", "test_error", ("weight layers", "test error, %"), title="VGG from A to E",
                   log=False)
