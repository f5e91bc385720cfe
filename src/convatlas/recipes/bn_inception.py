"""Inception with BatchNorm on ImageNet — Ioffe and Szegedy 2015, section 4.2, the run called BN-x30.

As published: batches of 32; the rate of Inception times 30; its fall (4 % every 8 epochs) six times as fast; a fifth of
its weight decay; neither dropout nor local response normalisation; less photometric distortion (here: none). Departs:
synchronous steps in place of asynchronous replicas; images are shuffled over the whole set, which is what the paper's
shuffling within shards was for; from memory, not checked against the paper: the rate itself (30 · 0.0015) and 6 million
steps; the decay is a fifth of the Berkeley GoogLeNet's 2·10⁻⁴.
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def bn_inception() -> Run:
    return Run(
        model=Model(name="bn_inception"),
        data=Data(batch_size=32),
        preprocess=Preprocess(mean=(0.5,), std=(0.5,), crop_pct=224 / 256),
        augment=Augment(crop="resized", scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5),
        optim=Optim(name="sgd", lr=0.045, momentum=0.9, weight_decay=4e-5),
        schedule=Schedule(name="exponential", factor=0.96, every=8 / 6),
        train=Train(epochs=150),    # 6 000 000 · 32 / 1 281 167 = 149.9
    )
