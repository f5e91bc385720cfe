"""FCN-GoogLeNet on PASCAL VOC — Long et al. 2015, sections 4.1 and 4.3.

As published: steps of 20 images, the mean of the loss over an image's pixels, a fixed rate of 5·10⁻⁵, momentum 0.9,
weight decay 5·10⁻⁴ (or 2·10⁻⁴, says the paper), biases at twice the rate, no augmentation, at least 175 epochs over the
1 112 images of VOC 2011. Departs: biases do not decay, as in the authors' later code, whose mean colour this is too;
pictures have one size, the network's; a trained GoogLeNet to begin from is named by `model.weights`, and not set here.
"""

from ..run import Data, Group, Model, Optim, Preprocess, Run, Train

MEAN = (122.67892 / 255, 116.66877 / 255, 104.00699 / 255)      # red, green, blue


def fcn_googlenet() -> Run:
    return Run(
        model=Model(name="fcn32s_googlenet"),
        data=Data(batch_size=20),
        preprocess=Preprocess(mean=MEAN, std=(1 / 255,), crop_pct=1.0),
        optim=Optim(name="sgd_caffe", lr=5e-5, momentum=0.9, weight_decay=5e-4,
                    groups=(Group(names="*.bias", lr=2, weight_decay=0),)),
        train=Train(epochs=175),
    )
