"""Wide ResNet on CIFAR-10 and CIFAR-100 — Zagoruyko and Komodakis 2016, section 3 and the authors' code.

As published: mean and deviation of each channel (4.00 % error with WRN-28-10 on CIFAR-10; the first version whitened
with ZCA: 4.17 %); 4 pixels reflected on each side, a random 32×32 crop, mirror images; batches of 128, Nesterov's
momentum 0.9, weight decay 5·10⁻⁴, rate 0.1 times 0.2 after 60, 120 and 160 of 200 epochs. With
`model.fields.drop_rate=0.3`, the paper's run with dropout (3.89 %). Departs: in nothing we know of.
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def wide_resnet_cifar() -> Run:
    return Run(
        model=Model(name="wide_resnet28_10_cifar"),
        data=Data(source="cifar10", batch_size=128),
        preprocess=Preprocess(fit="channel", crop_pct=1.0),
        augment=Augment(crop="random", padding=4, padding_mode="reflect", flip=0.5),
        optim=Optim(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=Schedule(name="steps", steps=((60, 0.2), (120, 0.04), (160, 0.008))),
        train=Train(epochs=200),
    )
