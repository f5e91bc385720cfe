"""Pre-activation ResNet on CIFAR-10 and CIFAR-100 — He et al. 2016, Identity mappings, section 3.1 and the released
code.

As published: `resnet_cifar`'s crops and mirror images, batches of 128 (the released command takes 64 and 200 epochs),
momentum 0.9, weight decay 10⁻⁴; from memory, a rate of 0.01 for the first 400 iterations, then 0.1, divided by ten
after 32 000 and 48 000. Departs: mean and deviation of each channel and Nesterov's momentum are those of the code it
extends, fb.resnet.torch, not verified for this paper.
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def preact_resnet_cifar() -> Run:
    return Run(
        model=Model(name="preact_resnet164_cifar"),
        data=Data(source="cifar10", batch_size=128),
        preprocess=Preprocess(fit="channel", crop_pct=1.0),
        augment=Augment(crop="random", padding=4, flip=0.5),
        optim=Optim(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
        # 32 000 · 128 / 50 000 = 81.92, 48 000 → 122.88, 400 → 1.024
        schedule=Schedule(name="steps", steps=((81.92, 0.1), (122.88, 0.01)), warmup="constant", warmup_epochs=1.024,
                          warmup_from=0.1),
        train=Train(epochs=200),
    )
