"""AlexNet on ImageNet — Krizhevsky et al. 2012, sections 4 and 5.

As published: short side 256, random 227×227 patches and their mirror images, principal-component colour noise of standard
deviation 0.1, raw pixels less their mean, batches of 128, momentum 0.9, weight decay 5·10⁻⁴, rate 0.01 divided by ten
three times when validation stalls, 90 passes. Departs: one mean per channel (ImageNet's) in place of one per pixel, and
torch's form of momentum (the paper multiplies the rate into the velocity: the same until the rate falls).
"""

from ..run import Augment, Data, Loss, Model, Optim, Preprocess, Run, Schedule, Train


def alexnet() -> Run:
    return Run(
        model=Model(name="alexnet"),
        data=Data(batch_size=128),
        preprocess=Preprocess(mean=(0.485, 0.456, 0.406), std=(1 / 255,) * 3, crop_pct=227 / 256),
        augment=Augment(crop="random", flip=0.5, pca_colour=0.1),
        loss=Loss(),
        optim=Optim(name="sgd", lr=0.01, momentum=0.9, weight_decay=5e-4),
        schedule=Schedule(name="plateau", factor=0.1, patience=5, reductions=3),
        train=Train(epochs=90),
    )
