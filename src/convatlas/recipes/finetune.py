"""Weights that were trained on other images, made to fit one's own folder, by no paper in particular.

As published: nothing. What agrees among those who fine-tune: a rate a tenth of that from nothing, ten times higher for
the new classifier and lower from stage to stage towards the input (Howard & Ruder 2018), few epochs, weaker
augmentation than `modern`. `convatlas train resnet50 photos --weights timm/resnet50.a1_in1k` takes it, fitted to the
data (`tasks/fit.py`).
"""

from ..run import Augment, Data, Group, Loss, Model, Optim, Preprocess, Run, Schedule, Train


def finetune() -> Run:
    return Run(
        model=Model(name="resnet18"),
        data=Data(batch_size=32),
        preprocess=Preprocess(crop_pct=0.875),
        augment=Augment(crop="resized", scale=(0.5, 1.0), flip=0.5),
        loss=Loss(label_smoothing=0.1),
        optim=Optim(name="adamw", lr=1e-4, weight_decay=0.05, decay_bias=False, clip_grad=5.0, layer_decay=0.7,
                    groups=(Group(names="head.classifier", lr=10.0),)),
        schedule=Schedule(name="cosine", warmup_epochs=0.5),
        train=Train(epochs=10),
    )
