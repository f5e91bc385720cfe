"""ResNet on ImageNet — He et al. 2016, section 3.4.

As published: short side uniform between 256 and 480, random 224×224 crops and mirror images, AlexNet's colour noise,
the mean of each pixel subtracted; batches of 256, momentum 0.9, weight decay 10⁻⁴, no dropout, rate 0.1 divided by ten
when the error stalls, 600 000 iterations. Departs: what counted as a stall is not published; evaluated on one centre
crop in place of ten crops or five scales.
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def resnet() -> Run:
    return Run(
        model=Model(name="resnet50"),
        data=Data(batch_size=256),
        preprocess=Preprocess(fit="pixel_mean", std=(1 / 255,), crop_pct=224 / 256),
        augment=Augment(crop="random", short_side=(256, 480), flip=0.5, pca_colour=0.1),
        optim=Optim(name="sgd_caffe", lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=Schedule(name="plateau", factor=0.1, patience=5, reductions=3),
        train=Train(epochs=120),    # 600 000 · 256 / 1 281 167 = 119.9
    )
