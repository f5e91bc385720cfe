"""Inception-v4 and the Inception-ResNets on ImageNet — Szegedy et al. 2017, section 4.

As published, from memory: RMSProp with decay 0.9 and ε = 1, rate 0.045, times 0.94 every two epochs; 20 replicas; a
running average of the weights is evaluated; 299×299 from the centre 87.5 %. Departs: one synchronous batch of 20 · 32
in place of asynchronous replicas; the images per replica, the length, label smoothing 0.1, momentum 0.9, weight decay
4·10⁻⁵, the average's 0.9999 and the distortions are taken over from Inception-v3's, not verified for this paper.
"""

from ..run import Augment, Data, Loss, Model, Optim, Preprocess, Run, Schedule, Train


def inception_v4() -> Run:
    return Run(
        model=Model(name="inception_v4"),
        data=Data(batch_size=20 * 32),
        preprocess=Preprocess(mean=(0.5,), std=(0.5,), crop_pct=0.875),
        augment=Augment(crop="resized", scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5,
                        jitter=(32 / 255, 0.5, 0.5, 0.2)),
        loss=Loss(label_smoothing=0.1),
        optim=Optim(name="rmsprop_tf", lr=0.045, momentum=0.9, rho=0.9, eps=1.0, weight_decay=4e-5, decay_bias=False),
        schedule=Schedule(name="exponential", factor=0.94, every=2),
        train=Train(epochs=100, ema=0.9999),
    )
