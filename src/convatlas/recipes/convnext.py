"""ConvNeXt on ImageNet-1K — Liu et al. 2022, section 2.1 and appendix A, and the authors' code.

As published: AdamW, batches of 4096, rate 4·10⁻³ after 20 epochs of warm-up, along a cosine to 10⁻⁶ over 300; weight
decay 0.05 without biases and normalisation; timm's `rand-m9-mstd0.5-inc1` (two of fifteen operations, each applied in
half of the cases, 9 ± 0.5 of 10), Mixup 0.8, CutMix 1, a box erased to noise in a quarter of the images, label
smoothing 0.1; a running average of the weights with 0.9999; stochastic depth as each size has it; no decay of the rate
from stage to stage, which the authors have for fine-tuning only. Departs: the average's decay begins lower
(`train.ema_warmup`), without which a short training would end with the initial weights; both averages are over 10⁴
steps in the end. ConvNeXt-XL is published after ImageNet-22K only, which this recipe is not for.
"""

from ..run import Augment, Data, Loss, Model, Optim, Preprocess, Run, Schedule, Train


def convnext() -> Run:
    return Run(
        model=Model(name="convnext_tiny"),
        data=Data(batch_size=4096),
        preprocess=Preprocess(crop_pct=224 / 256, interpolation="bicubic"),
        augment=Augment(
            crop="resized", scale=(0.08, 1.0), flip=0.5, policy="randaugment_inc", policy_ops=2, policy_magnitude=9,
            policy_std=0.5, mixup=0.8, cutmix=1.0, erase=0.25, erase_fill="noise"),
        loss=Loss(label_smoothing=0.1),
        optim=Optim(name="adamw", lr=4e-3, momentum=0.9, rho=0.999, weight_decay=0.05, decay_bias=False),
        schedule=Schedule(name="cosine", final=1e-6 / 4e-3, warmup_epochs=20),
        train=Train(epochs=300, ema=0.9999),
    )
