"""ResNeXt on ImageNet — Xie et al. 2017, section 4.

As published: crops of random area and aspect as in fb.resnet.torch, batches of 256, momentum 0.9, weight decay 10⁻⁴,
rate 0.1 divided by ten every 30 epochs; one 224×224 centre crop of short side 256. Departs: colour jitter and noise and
Nesterov's momentum are those of fb.resnet.torch, and so are its 90 epochs, from memory, not checked against the paper
(the paper divides the rate three times, which takes more than 90).
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def resnext() -> Run:
    return Run(
        model=Model(name="resnext50_32x4d"),
        data=Data(batch_size=256),
        preprocess=Preprocess(crop_pct=224 / 256),
        augment=Augment(crop="resized", scale=(0.08, 1.0), flip=0.5, jitter=(0.4, 0.4, 0.4, 0), pca_colour=0.1),
        optim=Optim(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
        schedule=Schedule(name="steps", steps=((30, 0.1), (60, 0.01))),
        train=Train(epochs=90),
    )
