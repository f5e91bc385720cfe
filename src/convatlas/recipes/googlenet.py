"""GoogLeNet on ImageNet — Szegedy et al. 2015, section 6.

As published: crops of 8 to 100 % of the area with aspects from 3/4 to 4/3, photometric distortions (Howard 2013), mean
colour subtracted; momentum 0.9; the rate falls by 4 % every 8 epochs; side classifiers weigh 0.3; averaged weights in
the end. The paper gives no first rate, decay, batch or length: these, and biases at twice the rate without decay, are
the Berkeley replica's (0.01, 2·10⁻⁴, 32; its fall every 320 000 iterations is 8 epochs at 32). Departs: synchronous
steps in place of asynchronous replicas; an exponential average of the weights in place of Polyak's; the strengths of
the distortions, and the replica's 10 million iterations, are from memory, not checked against the paper.
"""

from ..run import Augment, Data, Group, Model, Optim, Preprocess, Run, Schedule, Train


def googlenet() -> Run:
    return Run(
        model=Model(name="googlenet"),
        data=Data(batch_size=32),
        preprocess=Preprocess(std=(1 / 255,), crop_pct=224 / 256),
        augment=Augment(crop="resized", scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, jitter=(0.5, 0.5, 0.5, 0),
                        pca_colour=0.1),
        optim=Optim(name="sgd_caffe", lr=0.01, momentum=0.9, weight_decay=2e-4,
                    groups=(Group(names="*.bias", lr=2, weight_decay=0),)),
        schedule=Schedule(name="exponential", factor=0.96, every=8),
        train=Train(epochs=250, ema=0.9999),    # 10 000 000 · 32 / 1 281 167 = 249.8
    )
