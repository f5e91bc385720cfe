"""ResNeXt on CIFAR-10 and CIFAR-100 — Xie et al. 2017, section 5.3 and the authors' code.

As published: 4 pixels padded on each side, a random 32×32 crop, mirror images; momentum 0.9, weight decay 5·10⁻⁴, rate
0.1 divided by ten after 150 and 225 of 300 epochs. Departs: batches of 128, which the authors' page finds better than
the paper's 256; mean and deviation of each channel and Nesterov's momentum are those of fb.resnet.torch, not verified
for this paper.
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def resnext_cifar() -> Run:
    return Run(
        model=Model(name="resnext29_8x64d_cifar"),
        data=Data(source="cifar10", batch_size=128),
        preprocess=Preprocess(fit="channel", crop_pct=1.0),
        augment=Augment(crop="random", padding=4, flip=0.5),
        optim=Optim(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=Schedule(name="steps", steps=((150, 0.1), (225, 0.01))),
        train=Train(epochs=300),
    )
