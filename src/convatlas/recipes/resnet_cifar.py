"""ResNet and plain nets on CIFAR-10 — He et al. 2016, section 4.2.

As published: the mean of each pixel subtracted; 4 pixels padded on each side, a random 32×32 crop, mirror images;
batches of 128, momentum 0.9, weight decay 10⁻⁴, rate 0.1 divided by ten after 32 000 and 48 000 of 64 000 iterations,
on all 50 000 images (45 000 and 5 000 served to fix the schedule only). Departs: the padding is black before the mean
is subtracted, which the paper leaves open; whole epochs, so 164 in place of 163.84.
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def resnet_cifar() -> Run:
    return Run(
        model=Model(name="resnet20_cifar"),
        data=Data(source="cifar10", batch_size=128),
        preprocess=Preprocess(fit="pixel_mean", std=(1 / 255,), crop_pct=1.0),
        augment=Augment(crop="random", padding=4, flip=0.5),
        optim=Optim(name="sgd_caffe", lr=0.1, momentum=0.9, weight_decay=1e-4),
        # 64 000 · 128 / 50 000 = 163.84, 32 000 → 81.92, 48 000 → 122.88
        schedule=Schedule(name="steps", steps=((81.92, 0.1), (122.88, 0.01))),
        train=Train(epochs=164),
    )
