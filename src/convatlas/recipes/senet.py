"""Squeeze-and-excitation networks on ImageNet — Hu et al. 2018, section 6.

As published: crops of random area and aspect, mirror images, mean colour subtracted; classes sampled equally often;
batches of 1024, momentum 0.9, rate 0.6 divided by ten every 30 of 100 epochs; He's initial weights; one centre crop.
Departs: weight decay 10⁻⁴ is ResNet's, not verified; SENet-154's label smoothing and its BatchNorm frozen towards the
end, from memory, are not set here. (On one machine, the authors' page: batches of 256 at 0.1.)
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def senet() -> Run:
    return Run(
        model=Model(name="se_resnet50"),
        data=Data(batch_size=1024, sampling="balanced"),
        preprocess=Preprocess(std=(1 / 255,), crop_pct=224 / 256),
        augment=Augment(crop="resized", scale=(0.08, 1.0), flip=0.5),
        optim=Optim(name="sgd_caffe", lr=0.6, momentum=0.9, weight_decay=1e-4),
        schedule=Schedule(name="steps", steps=((30, 0.1), (60, 0.01), (90, 0.001))),
        train=Train(epochs=100),
    )
