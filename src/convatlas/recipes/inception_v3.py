"""Inception-v3 on ImageNet — Szegedy et al. 2016, sections 7 and 8.

As published, from memory: RMSProp with decay 0.9 and ε = 1, inside the root; rate 0.045, times 0.94 every two epochs;
gradients clipped at 2; 50 replicas of 32 images; 100 epochs; label smoothing 0.1; a running average of the weights is
evaluated; 299×299 from the centre 87.5 %. Departs: one synchronous batch of 50 · 32 in place of asynchronous replicas;
momentum 0.9, weight decay 4·10⁻⁵ without biases and BatchNorm, the average's 0.9999 and the colour distortions are
those of the authors' later public code, from memory, not checked against the paper, and so is the clipping by the norm
of the whole gradient.
"""

from ..run import Augment, Data, Loss, Model, Optim, Preprocess, Run, Schedule, Train


def inception_v3() -> Run:
    return Run(
        model=Model(name="inception_v3"),
        data=Data(batch_size=50 * 32),
        preprocess=Preprocess(mean=(0.5,), std=(0.5,), crop_pct=0.875),
        augment=Augment(crop="resized", scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5,
                        jitter=(32 / 255, 0.5, 0.5, 0.2)),
        loss=Loss(label_smoothing=0.1),
        optim=Optim(name="rmsprop_tf", lr=0.045, momentum=0.9, rho=0.9, eps=1.0, weight_decay=4e-5, decay_bias=False,
                    clip_grad=2.0),
        schedule=Schedule(name="exponential", factor=0.94, every=2),
        train=Train(epochs=100, ema=0.9999),
    )
