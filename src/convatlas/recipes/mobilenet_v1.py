"""MobileNet on ImageNet — Howard et al. 2017, section 3.2.

As published, from memory: RMSProp as for Inception-v3, with less regularisation and augmentation: neither side
classifiers nor label smoothing, no very small crops, and little or no weight decay on the depthwise filters (here:
none). Departs: the paper gives no numbers: rate, fall, ε and weight decay are `inception_v3`'s; the crops' least area,
the batch and the length are ours; synchronous steps in place of asynchronous replicas.
"""

from ..run import Augment, Data, Group, Model, Optim, Preprocess, Run, Schedule, Train


def mobilenet_v1() -> Run:
    return Run(
        model=Model(name="mobilenet_v1"),
        data=Data(batch_size=50 * 32),
        preprocess=Preprocess(mean=(0.5,), std=(0.5,), crop_pct=0.875),
        augment=Augment(crop="resized", scale=(0.25, 1.0), flip=0.5),
        optim=Optim(name="rmsprop_tf", lr=0.045, momentum=0.9, rho=0.9, eps=1.0, weight_decay=4e-5, decay_bias=False,
                    groups=(Group(names="*.depthwise.conv.weight", weight_decay=0),)),
        schedule=Schedule(name="exponential", factor=0.94, every=2),
        train=Train(epochs=100),
    )
