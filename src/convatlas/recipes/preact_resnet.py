"""Pre-activation ResNet on ImageNet — He et al. 2016, Identity mappings in deep residual networks, section 4 and
appendix.

As published, from memory: crops of random area and aspect for ResNet-200's best result, batches of 256, momentum 0.9,
weight decay 10⁻⁴, rate 0.1 from the beginning divided by ten after 30 and 60 of 90 epochs. Departs: the colour
augmentation is that of the code it extends, fb.resnet.torch, whose momentum is Nesterov's; evaluated at 224 from 256
(the paper tests at 320 as well); none of this is verified.
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def preact_resnet() -> Run:
    return Run(
        model=Model(name="preact_resnet200"),
        data=Data(batch_size=256),
        preprocess=Preprocess(crop_pct=224 / 256),
        augment=Augment(crop="resized", scale=(0.08, 1.0), flip=0.5, jitter=(0.4, 0.4, 0.4, 0), pca_colour=0.1),
        optim=Optim(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
        schedule=Schedule(name="steps", steps=((30, 0.1), (60, 0.01))),
        train=Train(epochs=90),
    )
