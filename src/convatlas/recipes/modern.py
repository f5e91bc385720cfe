"""A good default for one's own folder of images, by no paper in particular.

AdamW with warm-up and cosine, label smoothing, Inception's random crops, mirror images and TrivialAugment.
"""

from ..run import Augment, Data, Loss, Model, Optim, Preprocess, Run, Schedule, Train


def modern() -> Run:
    return Run(
        model=Model(name="lenet5_modern"),
        data=Data(batch_size=64, workers=0),
        preprocess=Preprocess(crop_pct=0.875),
        augment=Augment(crop="resized", scale=(0.25, 1.0), flip=0.5, trivial=True),
        loss=Loss(label_smoothing=0.1),
        optim=Optim(name="adamw", lr=1e-3, weight_decay=0.05, decay_bias=False, clip_grad=5.0),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        train=Train(epochs=30),
    )
