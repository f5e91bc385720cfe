"""The largest RepVGGs (B2g4, B3, B3g4) on ImageNet — Ding et al. 2021, section 4.1, and the authors' code.

As published: `repvgg` over 200 epochs with warm-up, AutoAugment, label smoothing 0.1 and Mixup. Departs: 5 epochs of
warm-up and Mixup's α = 0.2 are those of the authors' later commands for RepVGGplus; the paper's are not verified.
"""

from ..run import Augment, Data, Group, Loss, Model, Optim, Preprocess, Run, Schedule, Train


def repvgg_200() -> Run:
    return Run(
        model=Model(name="repvgg_b3"),
        data=Data(batch_size=256),
        preprocess=Preprocess(crop_pct=224 / 256),
        augment=Augment(crop="resized", scale=(0.08, 1.0), flip=0.5, policy="autoaugment", mixup=0.2),
        loss=Loss(label_smoothing=0.1),
        optim=Optim(name="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4,
                    groups=tuple(Group(names=names, weight_decay=0)
                                 for names in ("*.bias", "*.small.norm.*", "*.large.norm.*"))),
        schedule=Schedule(name="cosine", warmup_epochs=5),
        train=Train(epochs=200),
    )
