"""AlexNet's four layers on CIFAR-10 — Krizhevsky et al. 2012, Figure 1.

As published: cuda-convnet's parameters for that network, rate 0.001 with momentum 0.9 inside the velocity, biases at
twice the rate, batches of 128, raw pixels less the mean of each; no regularisation of any kind, so neither weight decay
nor augmentation; 40 epochs, as many as the figure shows. Departs: the rate of each of the figure's two networks was
chosen by itself and is not printed; this is the file's, and it does not fall.
"""

from ..run import Data, Group, Model, Optim, Preprocess, Run, Schedule, Train


def alexnet_cifar() -> Run:
    return Run(
        model=Model(name="alexnet_cifar"),
        data=Data(source="cifar10", batch_size=128),
        preprocess=Preprocess(fit="pixel_mean", std=(1 / 255,), crop_pct=1.0),
        optim=Optim(name="sgd_caffe", lr=0.001, momentum=0.9, weight_decay=0.0,
                    groups=(Group(names="*.bias", lr=2),)),
        schedule=Schedule(name="constant"),
        train=Train(epochs=40),
    )
