"""RepLKNet on ImageNet-1K — Ding et al. 2022, section 4.1, and the authors' code.

As published: ConvNeXt's recipe with batches of 2048 (64 images, 8 GPUs, 4 machines) and 10 epochs of warm-up; rate
4·10⁻³, 300 epochs, stochastic depth 0.5 for 31B. Their `main.py` has ConvNeXt's weight decay 0.05, augmentation,
erasing to noise 0.25, average of the weights 0.9999 and end of the cosine, 10⁻⁶. Departs: where `convnext` does.
"""

from ..run import Augment, Data, Loss, Model, Optim, Preprocess, Run, Schedule, Train


def replknet() -> Run:
    return Run(
        model=Model(name="replknet_31b"),
        data=Data(batch_size=64 * 8 * 4),
        preprocess=Preprocess(crop_pct=224 / 256, interpolation="bicubic"),
        augment=Augment(
            crop="resized", scale=(0.08, 1.0), flip=0.5, policy="randaugment_inc", policy_ops=2, policy_magnitude=9,
            policy_std=0.5, mixup=0.8, cutmix=1.0, erase=0.25, erase_fill="noise"),
        loss=Loss(label_smoothing=0.1),
        optim=Optim(name="adamw", lr=4e-3, momentum=0.9, rho=0.999, weight_decay=0.05, decay_bias=False),
        schedule=Schedule(name="cosine", final=1e-6 / 4e-3, warmup_epochs=10),
        train=Train(epochs=300, ema=0.9999),
    )
