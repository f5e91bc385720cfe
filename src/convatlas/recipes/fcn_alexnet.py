"""FCN-AlexNet on PASCAL VOC — the authors' code for Long et al. 2015, voc-fcn-alexnet/solver.prototxt.

As published there: steps of 20 images, the mean of the loss over an image's pixels, label 255 left out, a fixed rate of
10⁻⁴, momentum 0.9, weight decay 5·10⁻⁴, only the score's bias at twice the rate and without decay, upsampling kernels
frozen, no augmentation, 100 000 steps over the 8 498 images of SBD. (The paper, section 4.3: rate 10⁻³, the 1 112
images of VOC 2011.) Departs: pictures have one size, the network's; trained weights of the classifier to begin from are
named by `model.weights`, and not set here.
"""

from ..run import Data, Group, Model, Optim, Preprocess, Run, Train

MEAN = (122.67892 / 255, 116.66877 / 255, 104.00699 / 255)      # red, green, blue


def fcn_alexnet() -> Run:
    return Run(
        model=Model(name="fcn32s_caffenet"),
        data=Data(batch_size=20),
        preprocess=Preprocess(mean=MEAN, std=(1 / 255,), crop_pct=1.0),
        optim=Optim(name="sgd_caffe", lr=1e-4, momentum=0.9, weight_decay=5e-4,
                    groups=(Group(names="head.classifier.score.*.bias", lr=2, weight_decay=0),)),
        train=Train(epochs=236),    # 100 000 · 20 / 8 498 = 235.3
    )
