"""MobileNetV3 on ImageNet — Howard et al. 2019, section 6.1.

As published: RMSProp with momentum 0.9, batches of 4096, rate 0.1 that falls by 1 % every 3 epochs, weight decay 10⁻⁵,
dropout 0.2 (0.8 kept), a running average of the weights with 0.9999, Inception's crops. Departs: decay 0.9 and ε =
0.001 of RMSProp and the colour distortions are not verified; the length is ours, the paper gives none.
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def mobilenet_v3() -> Run:
    return Run(
        model=Model(name="mobilenet_v3_large"),
        data=Data(batch_size=4096),
        preprocess=Preprocess(mean=(0.5,), std=(0.5,), crop_pct=0.875),
        augment=Augment(crop="resized", scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5,
                        jitter=(32 / 255, 0.5, 0.5, 0.2)),
        optim=Optim(name="rmsprop_tf", lr=0.1, momentum=0.9, rho=0.9, eps=1e-3, weight_decay=1e-5, decay_bias=False),
        schedule=Schedule(name="exponential", factor=0.99, every=3),
        train=Train(epochs=600, ema=0.9999),
    )
