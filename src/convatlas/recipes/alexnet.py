"""AlexNet on ImageNet — Krizhevsky et al. 2012, sections 4 and 5.

As published: short side 256, random 227×227 patches and their mirror images, noise of standard deviation 0.1 along the
training set's principal components of colour, raw pixels less the mean of each, batches of 128, momentum 0.9 with the
rate inside the velocity, weight decay 5·10⁻⁴, rate 0.01 divided by ten three times when validation stalls, 90 epochs;
in the authors' code biases move at twice the rate and do not decay. Departs: the authors divided the rate by hand; here
after five epochs without progress.
"""

from ..run import Augment, Data, Group, Model, Optim, Preprocess, Run, Schedule, Train


def alexnet() -> Run:
    return Run(
        model=Model(name="alexnet"),
        data=Data(batch_size=128),
        preprocess=Preprocess(fit="pixel_mean", std=(1 / 255,), crop_pct=227 / 256),
        augment=Augment(crop="random", flip=0.5, pca_colour=0.1, pca_from="data"),
        optim=Optim(name="sgd_caffe", lr=0.01, momentum=0.9, weight_decay=5e-4,
                    groups=(Group(names="*.bias", lr=2, weight_decay=0),)),
        schedule=Schedule(name="plateau", factor=0.1, patience=5, reductions=3),
        train=Train(epochs=90),
    )
