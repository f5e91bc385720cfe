"""All-CNN on CIFAR-10 and CIFAR-100 — Springenberg et al. 2015, section 3.1.

As published: global contrast normalisation and ZCA whitening; shifts of up to 5 pixels and mirror images (7.25 % error
with All-CNN-C; without them 9.08 %); momentum 0.9; weight decay 10⁻³; dropout of 20 % on the input and 50 % after each
reduction; 350 epochs, the rate divided by ten after 200, 250 and 300. Departs: the paper takes the best first rate of
0.25, 0.1, 0.05 and 0.01 and does not say which: 0.05 and batches of 128 are the Neon replica's.
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def allcnn() -> Run:
    return Run(
        model=Model(name="all_cnn_c"),
        data=Data(source="cifar10", batch_size=128),
        preprocess=Preprocess(fit="zca", crop_pct=1.0),
        augment=Augment(crop="random", padding=5, flip=0.5),
        optim=Optim(name="sgd", lr=0.05, momentum=0.9, weight_decay=1e-3),
        schedule=Schedule(name="steps", steps=((200, 0.1), (250, 0.01), (300, 0.001))),
        train=Train(epochs=350),
    )
