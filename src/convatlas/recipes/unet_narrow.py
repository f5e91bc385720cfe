"""A narrow padded U-Net on the nuclei that come along, by no paper in particular — for minutes on a processor.

As published: the shape of U-Net's Figure 1 at an eighth of its widths, and its elastic deformations, milder. Departs:
padded convolutions with BatchNorm, as the field builds it; AdamW with a cosine in place of momentum 0.99, since minutes
allow some hundred steps; a running average of the weights, and of BatchNorm's statistics, which leap from step to step
where dark, bright and stained pictures share batches of eight; patches of 128 pixels of pictures of 160, turned and
mirrored; no weights of borders or classes. It trains `unet_same` on `nuclei` where no recipe is named; elsewhere
`--recipe unet_narrow` asks for it.
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def unet_narrow() -> Run:
    return Run(
        model=Model(name="unet_same", fields={"widths": [8, 16, 32, 64, 128], "image_size": 128, "drop_rate": 0.0}),
        data=Data(source="nuclei", batch_size=8),
        preprocess=Preprocess(mean=(0.5,), std=(0.5,), crop_pct=1.0),
        augment=Augment(elastic=4.0, flip=0.5, turns=True, jitter=(0.2, 0.2, 0, 0)),
        optim=Optim(name="adamw", lr=4e-3, weight_decay=0.05, decay_bias=False),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        train=Train(epochs=40, ema=0.95),
    )
