"""DenseNet on CIFAR-10 and CIFAR-100 — Huang et al. 2017, section 4.2, the columns with augmentation (C10+, C100+).

As published: mean and deviation of each channel; 4 pixels padded on each side, a random 32×32 crop, mirror images;
batches of 64, Nesterov's momentum 0.9 without dampening, weight decay 10⁻⁴, rate 0.1 divided by ten after half and
three quarters of 300 epochs. Without augmentation the paper sets dropout to 0.2: `model.fields.drop_rate=0.2`. Departs:
in nothing we know of.
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def densenet_cifar() -> Run:
    return Run(
        model=Model(name="densenet_bc_100_12_cifar"),
        data=Data(source="cifar10", batch_size=64),
        preprocess=Preprocess(fit="channel", crop_pct=1.0),
        augment=Augment(crop="random", padding=4, flip=0.5),
        optim=Optim(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
        schedule=Schedule(name="steps", steps=((150, 0.1), (225, 0.01))),
        train=Train(epochs=300),
    )
