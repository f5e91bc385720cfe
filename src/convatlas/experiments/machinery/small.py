"""Networks and their training, made small enough for minutes: what several experiments begin from."""

from typing import Any

from ...run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train

SIDE = 14       # pixels of fashion-small's 28, halved


def small(name: str, fields: dict[str, Any], epochs: int, *, lr: float = 0.1) -> Run:
    """The training of He et al. 2016, section 4.2, for fashion-small at 14×14 pixels.

    Theirs are the rate of 0.1, divided by ten after half and three quarters of the epochs, momentum 0.9, weight decay
    10⁻⁴, crops of images padded and mirrored; ours batches of 64, which make more steps of few images, a padding of 2
    pixels for 14 in place of 4 for 32, and mean and deviation over all pixels in place of each pixel's mean.
    """
    return Run(
        model=Model(name=name, fields={"in_chans": 1, "image_size": SIDE, **fields}),
        data=Data(batch_size=64),
        preprocess=Preprocess(fit="channel", crop_pct=1.0),
        augment=Augment(crop="random", padding=2, flip=0.5),
        optim=Optim(name="sgd", lr=lr, momentum=0.9, weight_decay=1e-4),
        schedule=Schedule(name="steps", steps=((epochs / 2, 0.1), (3 * epochs / 4, 0.01))),
        train=Train(epochs=epochs),
    )


def small_inception(name: str, fields: dict[str, Any]) -> Run:
    """The training of a few Inception modules, an eighth as wide, for fashion-small: ten epochs in batches of 16,
    momentum 0.9 and a cosine; neither side classifiers nor dropout.
    """
    return Run(
        model=Model(name=name, fields={"in_chans": 1, "stem": "cifar", "width": 0.125, "aux": False, "drop_rate": 0.0,
                                       **fields}),
        data=Data(batch_size=16),
        preprocess=Preprocess(fit="channel", crop_pct=1.0),
        optim=Optim(name="sgd", lr=0.03, momentum=0.9, weight_decay=5e-4),
        schedule=Schedule(name="cosine"),
        train=Train(epochs=10),
    )
