"""U-Net (Ronneberger, Fischer & Brox 2015), Figure 1: with its connections across, and without them.

The paper hands the map of each level of the contracting path across to the expanding path, so that what is there is
combined with where it is; it never takes them away, and shows no figure for them. The lecture: shortcuts combine lower
and higher-level features.

Scaled down to a padded U-Net of 8, 16, 32 and 64 channels (BatchNorm, no dropout) on patches of 96 pixels of the 64
images of nuclei that come along: 30 epochs, batches of eight, AdamW, rate 0.004 along a cosine, the same for all. Taken
away: all three connections, the convolutions behind them reading so many fewer maps; and, since that takes 10 % of the
weights too, once more with 72 channels at the bottom, which is more weights than with them. Five seeds; figures are
those of the 16 test images, whole, after the last epoch: intersection over union, the mean of both classes, and the
share of wrong pixels within two pixels of an outline and farther than four.

Holds: the intersection over union is larger with the connections than without, and than without but wider; near
outlines more points of the error go than away from them.
"""

import torch

from ..run import Model
from .machinery.nuclei import learning, test_images, to_outline
from .machinery.pictures import dots
from .machinery.plan import BySeed, Claim, Experiment, Protocol
from .machinery.trial import Arm, Figures, Trial, final

WITH, WITHOUT, WIDER = "with skips", "without", "without, wider at the bottom"
NEAR, FAR = 2, 4        # pixels


def skip_connections() -> Experiment:
    return Experiment(
        title="What do a U-Net's connections across do?",
        paper="Ronneberger, Fischer & Brox 2015, Figure 1",
        claims=(
            Claim("the U-Net with connections segments better than without", lambda seed: _better(seed, WITHOUT),
                  "points of intersection over union"),
            Claim("it is not the weights that they bring: it segments better than a wider one without",
                  lambda seed: _better(seed, WIDER), "points of intersection over union"),
            Claim("what they bring is the place: more of the error goes near outlines than away from them",
                  lambda seed: _gone(seed, "near_error") - _gone(seed, "far_error"), "points of wrong pixels"),
        ),
        measure=by_distance,
        picture=lambda results: dots(results, "test_iou", "intersection over union, %",
                                     title="U-Net with and without its skips"),
        quick=Protocol(
            arms=(
                Arm(WITH, {}),
                Arm(WITHOUT, {"model.fields": {"skips": False}}),
                Arm(WIDER, {"model.fields": {"skips": False, "widths": [8, 16, 32, 72]}}),
            ),
            minutes=10,
            base=learning(Model(name="unet_same", fields={"widths": [8, 16, 32, 64], "image_size": 96,
                                                          "drop_rate": 0.0}), epochs=30),
        ),
    )


def _better(seed: BySeed, other: str) -> float:
    return seed[WITH]["test_iou"] - seed[other]["test_iou"]


def _gone(seed: BySeed, name: str) -> float:
    return seed[WITHOUT][name] - seed[WITH][name]


def by_distance(trial: Trial) -> Figures:
    """Besides the usual figures the wrong pixels in per cent near outlines of the truth and far from them."""
    network = trial.network().eval()
    wrong: dict[str, list[torch.Tensor]] = {"near_error": [], "far_error": []}
    for pixels, truth in test_images(trial):
        with torch.inference_mode():
            labels = network(pixels[None])[0].argmax(0)
        distance = to_outline(truth)
        for name, where in (("near_error", distance < NEAR), ("far_error", distance > FAR)):
            wrong[name].append((labels != truth)[where])
    return {**final(trial), **{name: float(100 * torch.cat(each).double().mean()) for name, each in wrong.items()}}
