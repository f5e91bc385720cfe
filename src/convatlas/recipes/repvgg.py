"""RepVGG on ImageNet — Ding et al. 2021, section 4.1, and the authors' code.

As published: crops of random area and aspect, mirror images; batches of 256, momentum 0.9, weight decay 10⁻⁴ except on
biases and on the BatchNorm of the 3×3 and 1×1 branches, rate 0.1 along a cosine over 120 epochs; one centre crop. The
largest nets have a recipe of their own, `repvgg_200`. Departs: the `train.py` first released doubles the rate of
biases, of which it says that it made no difference, and spares every BatchNorm from decay; the paper and the authors'
README, which are followed, do neither.
"""

from ..run import Augment, Data, Group, Model, Optim, Preprocess, Run, Schedule, Train


def repvgg() -> Run:
    return Run(
        model=Model(name="repvgg_a0"),
        data=Data(batch_size=256),
        preprocess=Preprocess(crop_pct=224 / 256),
        augment=Augment(crop="resized", scale=(0.08, 1.0), flip=0.5),
        optim=Optim(name="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4,
                    groups=tuple(Group(names=names, weight_decay=0)
                                 for names in ("*.bias", "*.small.norm.*", "*.large.norm.*"))),
        schedule=Schedule(name="cosine"),
        train=Train(epochs=120),
    )
