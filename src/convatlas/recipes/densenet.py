"""DenseNet on ImageNet — Huang et al. 2017, section 4.2.

As published: augmentation as in fb.resnet.torch, batches of 256, Nesterov's momentum 0.9 without dampening, weight
decay 10⁻⁴, rate 0.1 divided by ten after 30 and 60 of 90 epochs; one 224×224 centre crop. Departs: DenseNet-161's
smaller batches of 128 and 100 epochs with a third division after 90, from memory, are not set here.
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def densenet() -> Run:
    return Run(
        model=Model(name="densenet121"),
        data=Data(batch_size=256),
        preprocess=Preprocess(crop_pct=224 / 256),
        augment=Augment(crop="resized", scale=(0.08, 1.0), flip=0.5, jitter=(0.4, 0.4, 0.4, 0), pca_colour=0.1),
        optim=Optim(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
        schedule=Schedule(name="steps", steps=((30, 0.1), (60, 0.01))),
        train=Train(epochs=90),
    )
