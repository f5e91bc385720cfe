"""FCN (Long, Shelhamer & Darrell 2015), section 4.2, Table 2 and Figure 4: the finer the map that scores are read from.

On PASCAL VOC the paper's FCN-32s has a mean intersection over union of 59.4, FCN-16s of 62.4 and FCN-8s of 62.7: maps
of stride 16 and 8, added to the scores of stride 32, sharpen what is found, the last one little.

Scaled down to VGG-16 of a sixteenth of its channels (fc6 and fc7 of 256) on patches of 96 pixels of the 64 images of
nuclei that come along. The paper begins from a trained classifier, and each finer network from the coarser one; here
all begin from random weights, with BatchNorm behind VGG's convolutions, and all scores of a network are trained at
once, each at full weight. (Trials with another seed: FCN-32s without BatchNorm had learnt nothing after 20 epochs, and
FCN-8s nothing in its first three with the weights of 0.01 and 0.0001 that the paper's code gives to finer maps which
learn at once.) 24 epochs, batches of four, AdamW, rate 0.002 along a cosine, the same for all, no dropout. Five seeds;
the figure is the mean intersection over union on the 16 test images, whole, after the last epoch.

Holds: FCN-16s finds more than FCN-32s, and FCN-8s more than FCN-16s. Nuclei of 10 to 20 pixels need finer maps than
VOC's objects do: the gains should be larger than the paper's.
"""

from ..run import Model
from .machinery.nuclei import learning
from .machinery.pictures import dots
from .machinery.plan import BySeed, Claim, Experiment, Protocol
from .machinery.trial import Arm

STRIDES = (32, 16, 8)


def fcn_strides() -> Experiment:
    return Experiment(
        title="How fine must the maps be that pixels are scored from?",
        paper="Long, Shelhamer & Darrell 2015, Table 2",
        claims=(
            Claim("FCN-16s segments better than FCN-32s", lambda seed: _iou(seed, 16) - _iou(seed, 32),
                  "points of intersection over union"),
            Claim("FCN-8s segments better than FCN-16s", lambda seed: _iou(seed, 8) - _iou(seed, 16),
                  "points of intersection over union"),
        ),
        picture=lambda results: dots(results, "test_iou", "intersection over union, %",
                                     title="Scores from maps of stride 32, 16 and 8"),
        quick=Protocol(
            arms=tuple(Arm(f"FCN-{stride}s", {"model.name": f"fcn{stride}s_vgg16"}) for stride in STRIDES),
            minutes=14,
            base=learning(Model(name="fcn32s_vgg16", fields={
                "width": 1 / 16, "batch_norm": True, "image_size": 96, "drop_rate": 0.0}),
                epochs=24, lr=2e-3).change("data.batch_size", 4),
        ),
    )


def _iou(seed: BySeed, stride: int) -> float:
    return seed[f"FCN-{stride}s"]["test_iou"]
