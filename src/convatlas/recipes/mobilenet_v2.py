"""MobileNetV2 on ImageNet — Sandler et al. 2018, section 6.1.

As published: weight decay 4·10⁻⁵; from memory: RMSProp with momentum and decay 0.9, rate 0.045 times 0.98 each epoch,
16 workers of 96 images. Departs: one synchronous batch of 16 · 96 in place of asynchronous workers; ε = 1, no decay of
biases and BatchNorm, and Inception's crops are those of the authors' public code, from memory, not checked against the
paper; the length is ours, the paper gives none.
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def mobilenet_v2() -> Run:
    return Run(
        model=Model(name="mobilenet_v2"),
        data=Data(batch_size=16 * 96),
        preprocess=Preprocess(mean=(0.5,), std=(0.5,), crop_pct=0.875),
        augment=Augment(crop="resized", scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5,
                        jitter=(32 / 255, 0.5, 0.5, 0.2)),
        optim=Optim(name="rmsprop_tf", lr=0.045, momentum=0.9, rho=0.9, eps=1.0, weight_decay=4e-5, decay_bias=False),
        schedule=Schedule(name="exponential", factor=0.98, every=1),
        train=Train(epochs=200),
    )
