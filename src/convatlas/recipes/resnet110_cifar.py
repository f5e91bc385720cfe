"""ResNet-110 and ResNet-1202 on CIFAR-10 — He et al. 2016, section 4.2.

As published: `resnet_cifar`, but a rate of 0.01 until the training error is below 80 %, about 400 iterations, because
0.1 is slightly too large to start with. Departs: 400 iterations whatever the error, and where `resnet_cifar` does.
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def resnet110_cifar() -> Run:
    return Run(
        model=Model(name="resnet110_cifar"),
        data=Data(source="cifar10", batch_size=128),
        preprocess=Preprocess(fit="pixel_mean", std=(1 / 255,), crop_pct=1.0),
        augment=Augment(crop="random", padding=4, flip=0.5),
        optim=Optim(name="sgd_caffe", lr=0.1, momentum=0.9, weight_decay=1e-4),
        # 64 000 · 128 / 50 000 = 163.84, 32 000 → 81.92, 48 000 → 122.88, 400 → 1.024
        schedule=Schedule(name="steps", steps=((81.92, 0.1), (122.88, 0.01)), warmup="constant", warmup_epochs=1.024,
                          warmup_from=0.1),
        train=Train(epochs=164),
    )
