"""Wide ResNet on ImageNet — Zagoruyko and Komodakis 2016, section 3.

As published, from memory: trained like the ResNets of fb.resnet.torch, that is crops of random area and aspect, colour
jitter and noise, batches of 256, Nesterov's momentum 0.9, weight decay 10⁻⁴, rate 0.1 divided by ten after 30 and 60 of
90 epochs. Departs: in nothing we know of, but none of it is verified.
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def wide_resnet() -> Run:
    return Run(
        model=Model(name="wide_resnet50_2"),
        data=Data(batch_size=256),
        preprocess=Preprocess(crop_pct=224 / 256),
        augment=Augment(crop="resized", scale=(0.08, 1.0), flip=0.5, jitter=(0.4, 0.4, 0.4, 0), pca_colour=0.1),
        optim=Optim(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
        schedule=Schedule(name="steps", steps=((30, 0.1), (60, 0.01))),
        train=Train(epochs=90),
    )
