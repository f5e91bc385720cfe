"""RepLKNet (Ding et al. 2022), Table 5, and SLaK (Liu et al. 2023), section 4: kernels of 31×31 and 51×51.

RepLKNet on ImageNet: 82.1 % with 3×3 kernels in all stages, 82.7 with 7×7, about 83 with 13×13 and with 31×31 (31, 29,
27 and 13 in the four stages), which gain more on segmentation. SLaK: kernels of 51×51 (51, 49, 47, 13), each the sum of
two strips of 51×5 and 5×51, where ConvNeXt has 7×7, and 40 % of all weights zero, which pay for 1.3 times the channels.
Both: large kernels see more; the effective receptive field of a deep network of small kernels stays small.

Scaled down to one block per stage and 8, 16, 24 and 32 channels, maps of 28, 14, 7 and 4 pixels: a kernel of 31 covers
a whole map. 2 000 training and 1 000 test images of Fashion-MNIST, four epochs, batches of 25, AdamW, rate 0.002 along
a cosine, decay 0.05, the same for all; no stochastic depth. Five seeds. RepLKNet with 3×3 and with the paper's kernels,
5×5 beside each; SLaK with 7×7, with strips of 51, and with these, 40 % zeros and 1.3 times the channels. The errors are
those after the last epoch; the effective receptive field is the side of the square around the middle unit of the second
stage's map that holds half of the gradient, after training, on noise of 96×96 pixels.

Holds: 31×31 errs less than 3×3; strips of 51, sparse and wider, err less than SLaK's 7×7; sparse and wider, they err no
more than half a point more than the dense ones; the effective receptive field is larger with 31×31 than with 3×3. On 28
pixels there is little for a kernel of 31 to see that pooling does not: this cannot show what large kernels do on
photographs, and four epochs are short for the sparse networks, whose zeros move eight times.
"""

from ..inspect.receptive_field import receptive_field
from ..run import Data, Model, Optim, Preprocess, Run, Schedule, Train
from .machinery.pictures import dots
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol
from .machinery.trial import Arm, Figures, Trial, final

SMALL, LARGE = "RepLKNet, 3×3", "RepLKNet, 31×31"
SEVEN, STRIPS, SPARSE = "SLaK, 7×7", "SLaK, strips of 51", "SLaK, strips of 51, sparse, wider"
SLAK = {"model.name": "slak_tiny"}


def large_kernels() -> Experiment:
    return Experiment(
        title="Are very large kernels better than small ones?",
        paper="Ding et al. 2022, Table 5; Liu et al. 2023, section 4",
        claims=(
            Claim("31×31 errs less than 3×3", lambda seed: _less(seed, SMALL, LARGE), "points of test error"),
            Claim("strips of 51, sparse and wider, err less than 7×7", lambda seed: _less(seed, SEVEN, SPARSE),
                  "points of test error"),
            Claim("strips of 51 with 40 % zeros, wider, err at most half a point more than dense ones",
                  lambda seed: _less(seed, STRIPS, SPARSE), "points of test error", above=-0.5),
            Claim("31×31 has the larger effective receptive field",
                  lambda seed: seed[LARGE]["sees"] - seed[SMALL]["sees"], "pixels of its side"),
        ),
        measure=sight,
        picture=lambda results: dots(results, "test_error", "test error, %", title="Kernels of 3, 7, 31 and 51"),
        quick=Protocol(
            arms=(
                Arm(SMALL, {"model.fields": {"kernels": [3, 3, 3, 3]}}),
                Arm(LARGE, {"model.fields": {"kernels": [31, 29, 27, 13]}}),
                Arm(SEVEN, {**SLAK, "model.fields": {"kernels": [7, 7, 7, 7], "strips": False, "width": 1.0}}),
                Arm(STRIPS, {**SLAK, "model.fields": {"width": 1.0}}),
                Arm(SPARSE, {**SLAK, "model.fields": {"width": 1.3}, "sparse.sparsity": 0.4, "sparse.every": 40,
                             "sparse.rate": 0.5}),
            ),
            minutes=14,
            base=Run(
                model=Model(name="replknet_31b", fields={
                    "channels": [8, 16, 24, 32], "blocks": [1, 1, 1, 1], "stem": "cifar", "drop_path_rate": 0.0,
                    "in_chans": 1, "image_size": 28}),
                data=Data(batch_size=25),
                preprocess=Preprocess(mean=(0.5,), std=(0.5,), crop_pct=1.0),
                optim=Optim(name="adamw", lr=2e-3, weight_decay=0.05, decay_bias=False),
                schedule=Schedule(name="cosine"),
                train=Train(epochs=4),
            ),
            images=Images("fashion-small", train=2000, test=1000),
        ),
    )


def _less(seed: BySeed, before: str, after: str) -> float:
    return seed[before]["test_error"] - seed[after]["test_error"]


def sight(trial: Trial) -> Figures:
    """Besides the usual figures `sees`: the side in pixels of the square that holds half of the gradient."""
    field = receptive_field(trial.network().eval(), "stages.1", count=4, image_size=96)
    return {**final(trial), "sees": field.side(0.5)}
