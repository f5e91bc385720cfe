"""VGG on ImageNet — Simonyan and Zisserman 2015, section 3.1.

As published: short side uniform between 256 and 512, random 224×224 crops, mirror images, AlexNet's colour noise; raw
pixels less the training set's mean colour; batches of 256, momentum 0.9, weight decay 5·10⁻⁴, dropout on the first two
linear layers, rate 0.01 divided by ten three times when validation stalls, 370 000 iterations. Caffe's momentum; its
custom for biases, twice the rate and no decay, from memory. Departs: from Glorot's initial weights (the paper's later
advice) in place of net A's; not warmed up at a fixed scale of 384; evaluated on one centre crop in place of densely at
several scales; what counted as a stall is not published.
"""

from ..run import Augment, Data, Group, Model, Optim, Preprocess, Run, Schedule, Train

MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)     # red, green, blue, as released


def vgg() -> Run:
    return Run(
        model=Model(name="vgg16"),
        data=Data(batch_size=256),
        preprocess=Preprocess(mean=MEAN, std=(1 / 255,), crop_pct=224 / 256),
        augment=Augment(crop="random", short_side=(256, 512), flip=0.5, pca_colour=0.1),
        optim=Optim(name="sgd_caffe", lr=0.01, momentum=0.9, weight_decay=5e-4,
                    groups=(Group(names="*.bias", lr=2, weight_decay=0),)),
        schedule=Schedule(name="plateau", factor=0.1, patience=5, reductions=3),
        train=Train(epochs=74),     # 370 000 · 256 / 1 281 167 = 73.93
    )
