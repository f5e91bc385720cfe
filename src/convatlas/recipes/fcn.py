"""Fully convolutional networks on PASCAL VOC — Long et al. 2015, section 4.3, and the authors' code.

As published, the code's FCN-32s: one image per step, the sum of the loss over its pixels, label 255 left out, a fixed
rate of 10⁻¹⁰, momentum 0.99, weight decay 5·10⁻⁴, biases at twice the rate and without decay, upsampling kernels
frozen, no augmentation, 100 000 iterations over the 8 498 images of SBD. (The paper: batches of 20, momentum 0.9, rate
10⁻⁴.) The finer nets follow from the coarser one: `optim.lr=1e-12` for 16s, `1e-14` for 8s, and as `model.weights` the
run before. Departs: pictures have one size, the network's; a trained VGG-16 to begin from is named by `model.weights`,
and not set here.
"""

from ..run import Data, Group, Loss, Model, Optim, Preprocess, Run, Train

MEAN = (122.67892 / 255, 116.66877 / 255, 104.00699 / 255)      # red, green, blue


def fcn() -> Run:
    return Run(
        model=Model(name="fcn32s_vgg16"),
        data=Data(batch_size=1),
        preprocess=Preprocess(mean=MEAN, std=(1 / 255,), crop_pct=1.0),
        loss=Loss(pixels="sum", ignore_index=255),
        optim=Optim(name="sgd_caffe", lr=1e-10, momentum=0.99, weight_decay=5e-4,
                    groups=(Group(names="*.bias", lr=2, weight_decay=0),)),
        train=Train(epochs=12),     # 100 000 · 1 / 8 498 = 11.77
    )
