"""A good default for one's own folder of some thousand images, by no paper in particular.

As published: nothing. The habits that agree among today's recipes, weakened for a network that begins from nothing and
a run of minutes to hours: AdamW with warm-up and cosine, label smoothing, crops of at least a quarter of the area (the
papers' 8 % suit a million images), mirror images, TrivialAugment (which has no strength to tune) and now and then an
erased rectangle. Neither Mixup nor CutMix: they need hundreds of epochs to pay. Where nobody names a recipe, batch,
rate, epochs and augmentation are fitted to the data (`tasks/fit.py`). Turn `augment.flip` off where left and right
matter, as in text.
"""

from ..run import Augment, Data, Loss, Model, Optim, Preprocess, Run, Schedule, Train


def modern() -> Run:
    return Run(
        model=Model(name="lenet5_modern"),
        data=Data(batch_size=64),
        preprocess=Preprocess(crop_pct=0.875),
        augment=Augment(crop="resized", scale=(0.25, 1.0), flip=0.5, policy="trivial", erase=0.1),
        loss=Loss(label_smoothing=0.1),
        optim=Optim(name="adamw", lr=1e-3, weight_decay=0.05, decay_bias=False, clip_grad=5.0),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        train=Train(epochs=30),
    )
