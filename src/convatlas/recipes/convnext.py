"""ConvNeXt on ImageNet-1K — Liu et al. 2022, section 2.1 and appendix A, and the authors' code.

As published: AdamW, batches of 4096, rate 4·10⁻³ after 20 passes of warm-up, along a cosine to 10⁻⁶ over 300; weight
decay 0.05 without biases and normalisation; RandAugment (two operations, 9 of 10), Mixup 0.8, CutMix 1, erasing 0.25,
label smoothing 0.1; a running average of the weights with 0.9999; stochastic depth as each size has it. Departs:
RandAugment's strength does not vary around 9 (the paper's deviation: 0.5); ConvNeXt-XL is published after ImageNet-22K
only, which this recipe is not for.
"""

from ..run import Augment, Data, Loss, Model, Optim, Preprocess, Run, Schedule, Train


def convnext() -> Run:
    return Run(
        model=Model(name="convnext_tiny"),
        data=Data(batch_size=4096),
        preprocess=Preprocess(crop_pct=224 / 256, interpolation="bicubic"),
        augment=Augment(
            # 9 of 10
            crop="resized", scale=(0.08, 1.0), flip=0.5, policy="randaugment", policy_ops=2, policy_magnitude=27,
            mixup=0.8, cutmix=1.0, erase=0.25),
        loss=Loss(label_smoothing=0.1),
        optim=Optim(name="adamw", lr=4e-3, momentum=0.9, rho=0.999, weight_decay=0.05, decay_bias=False),
        schedule=Schedule(name="cosine", final=1e-6 / 4e-3, warmup_epochs=20),
        train=Train(epochs=300, ema=0.9999),
    )
