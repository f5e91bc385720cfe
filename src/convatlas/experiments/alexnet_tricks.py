"""Krizhevsky, Sutskever & Hinton 2012, sections 3.3, 3.4 and 4: AlexNet's tricks, each taken away.

The paper says what each was worth on ImageNet: local response normalisation 1.4 points of top-1 error, overlapping
pooling 0.4, colour offsets more than 1; without offset and mirrored copies, and without dropout, the network "suffers
from substantial overfitting".

Here AlexNet for small images: conv1 is 3×3 with stride 1, an eighth of the kernels, hidden layers of 256 units, initial
deviations larger by what the narrow layers sum less. 2 000 of the embedded Fashion-MNIST images, 28×28, their grey
repeated in three channels, raw pixels less the mean of each. All tricks together: response normalisation, pooling of
3×3 with stride 2, dropout of 50 % in the hidden layers, shifts of up to 2 pixels and mirror images, and noise of
deviation 0.1 along the principal components of colour; then each is taken away by itself. 20 epochs in batches of 16.
Ours: AdamW with rate 0.001 along a cosine and decay 5·10⁻⁴, the same for all, for by the paper's gradient descent the
narrow network had not begun to learn after 400 steps. Five seeds; the figure is the test error (all 2 000 test images)
after the last epoch.

A trick helps where the whole interval of the error that it saves lies above zero. The quick form cannot show two
things: grey images have no colour, so that colour offsets are offsets of brightness, and in twenty epochs a narrow
network hardly overfits, so that what works against overfitting may cost more than it saves.

The standard form, on CIFAR-10, has colours: 5 000 training and 2 000 test images, 15 epochs.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train
from .machinery.pictures import dots
from .machinery.plan import Claim, Experiment, Images, Protocol, Results
from .machinery.trial import Arm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALL = "all tricks"
WITHOUT: dict[str, dict[str, Any]] = {     # trick → what takes it away
    "response normalisation": {"model.fields": {"lrn": "none"}},
    "overlapping pooling": {"model.fields": {"pool_kernel": 2}},
    "dropout": {"model.fields": {"drop_rate": 0.0}},
    "offsets and reflections": {"augment.crop": "centre", "augment.padding": 0, "augment.flip": 0.0},
    "colour offsets": {"augment.pca_colour": 0.0},
}


def alexnet_tricks() -> Experiment:
    quick = Protocol(
        arms=(Arm(ALL, {}), *(Arm(f"without {trick}", changes) for trick, changes in WITHOUT.items())),
        minutes=12,
        base=Run(
            model=Model(name="alexnet", fields={"in_chans": 3, "image_size": 28, "stem": "cifar", "width": 0.125,
                                                "fc": 256}),
            data=Data(batch_size=16),
            preprocess=Preprocess(fit="pixel_mean", std=(1 / 255,), crop_pct=1.0),
            augment=Augment(crop="random", padding=2, flip=0.5, pca_colour=0.1, pca_from="data"),
            optim=Optim(name="adamw", lr=1e-3, weight_decay=5e-4),
            schedule=Schedule(name="cosine"),
            train=Train(epochs=20),
        ),
        images=Images("fashion-small", train=2000, test=2000),
    )
    assert quick.base is not None
    return Experiment(
        title="What is each of AlexNet's tricks worth?",
        paper="Krizhevsky et al. 2012, sections 3.3, 3.4 and 4",
        claims=tuple(_helps(trick) for trick in WITHOUT),
        picture=_picture,
        quick=quick,
        standard=replace(
            quick,
            minutes=35,
            base=quick.base.change("model.fields.image_size", 32, "train.epochs", 15),
            images=Images("cifar10", train=5000, test=2000),
        ),
    )


def _helps(trick: str) -> Claim:
    return Claim(f"{trick.capitalize()} save{'' if trick.endswith('s') else 's'} errors",
                 lambda seed: seed[f"without {trick}"]["test_error"] - seed[ALL]["test_error"],
                 "points of test error saved")


def _picture(results: Results) -> "Figure":
    return dots(results, "test_error", "test error, %", title="AlexNet without each of its tricks")
