"""Network in Network on CIFAR-10 and CIFAR-100 — Lin et al. 2014, section 4.1.

As published: global contrast normalisation and ZCA whitening; batches of 128; momentum 0.9; dropout between the blocks;
the rate is divided by ten when accuracy stalls, and once more, and ends at a hundredth; no augmentation (10.41 % error;
with shifts and mirror images, `augment: {crop: random, padding: 4, flip: 0.5}`, 8.81 %). Departs: the first rate 0.1,
the decay 10⁻⁴, 120 000 iterations and biases at twice the rate without decay are those of the released Caffe
configuration, from memory, not checked against the paper; the stall is of the validation images, not of the training
images.
"""

from ..run import Data, Group, Model, Optim, Preprocess, Run, Schedule, Train


def nin() -> Run:
    return Run(
        model=Model(name="nin_cifar10"),
        data=Data(source="cifar10", batch_size=128),
        preprocess=Preprocess(fit="zca", crop_pct=1.0),
        optim=Optim(name="sgd_caffe", lr=0.1, momentum=0.9, weight_decay=1e-4,
                    groups=(Group(names="*.bias", lr=2, weight_decay=0),)),
        schedule=Schedule(name="plateau", factor=0.1, patience=20, reductions=2),
        train=Train(epochs=308),    # 120 000 · 128 / 50 000 = 307.2
    )
