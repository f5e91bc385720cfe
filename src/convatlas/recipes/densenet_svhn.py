"""DenseNet on SVHN — Huang et al. 2017, section 4.2.

As published: pixels from 0 to 1, no augmentation, dropout 0.2; batches of 64, Nesterov's momentum 0.9 without
dampening, weight decay 10⁻⁴, rate 0.1 divided by ten after half and three quarters of 40 epochs. Departs: trained on
the 73 257 images of the training part alone, where the paper adds the 531 131 easier ones; the paper chooses by 6 000
images held out.
"""

from ..run import Data, Model, Optim, Preprocess, Run, Schedule, Train


def densenet_svhn() -> Run:
    return Run(
        model=Model(name="densenet_bc_100_12_cifar", fields={"drop_rate": 0.2}),
        data=Data(source="svhn", batch_size=64),
        preprocess=Preprocess(mean=(0.0,), std=(1.0,), crop_pct=1.0),
        optim=Optim(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
        schedule=Schedule(name="steps", steps=((20, 0.1), (30, 0.01))),
        train=Train(epochs=40),
    )
