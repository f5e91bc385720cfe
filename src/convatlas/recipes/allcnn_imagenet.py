"""All-CNN-B on ImageNet — Springenberg et al. 2015, appendix B.

As published: 450 000 iterations of 64 images, rate 0.01 divided by ten every 200 000, momentum 0.9, weight decay
5·10⁻⁴, dropout of 50 % at the ninth layer. Departs: what the images go through is as in AlexNet's recipe without the
colour noise, and the rate and decay of biases are plain; neither is verified.
"""

from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train


def allcnn_imagenet() -> Run:
    return Run(
        model=Model(name="all_cnn_b_imagenet"),
        data=Data(batch_size=64),
        preprocess=Preprocess(fit="pixel_mean", std=(1 / 255,), crop_pct=224 / 256),
        augment=Augment(crop="random", flip=0.5),
        optim=Optim(name="sgd_caffe", lr=0.01, momentum=0.9, weight_decay=5e-4),
        # 200 000 · 64 / 1 281 167 = 9.99, 400 000 → 19.98, 450 000 → 22.48
        schedule=Schedule(name="steps", steps=((9.99, 0.1), (19.98, 0.01))),
        train=Train(epochs=23),
    )
