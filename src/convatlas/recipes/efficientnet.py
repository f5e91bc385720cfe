"""EfficientNet on ImageNet — Tan and Le 2019, section 5.2, and the authors' code.

As published: RMSProp with decay and momentum 0.9, rate 0.256 times 0.97 every 2.4 epochs, weight decay 10⁻⁵ without
BatchNorm, AutoAugment, stochastic depth with survival 0.8; from memory, from the code: batches of 4096, 350 epochs, 5
of warm-up, ε = 0.001, label smoothing 0.1, a running average of the weights with 0.9999. Departs: the share that
evaluation crops is size / (size + 32), here B0's 224 / 256: larger ones set `preprocess.crop_pct`; biases do not decay
either; the paper stops early by 25 000 training images held out.
"""

from ..run import Augment, Data, Loss, Model, Optim, Preprocess, Run, Schedule, Train


def efficientnet() -> Run:
    return Run(
        model=Model(name="efficientnet_b0"),
        data=Data(batch_size=4096),
        preprocess=Preprocess(crop_pct=224 / 256, interpolation="bicubic"),
        augment=Augment(crop="resized", scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, policy="autoaugment"),
        loss=Loss(label_smoothing=0.1),
        optim=Optim(name="rmsprop_tf", lr=0.256, momentum=0.9, rho=0.9, eps=1e-3, weight_decay=1e-5, decay_bias=False),
        schedule=Schedule(name="exponential", factor=0.97, every=2.4, warmup_epochs=5),
        train=Train(epochs=350, ema=0.9999),
    )
