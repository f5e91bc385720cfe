"""SLaK-S and SLaK-B on ImageNet-1K — Liu et al. 2023, sections 4 and 5, and the authors' code.

As published: `slak`, but the sparse places move every 100 steps, 30 % of them in the first round. Departs: where `slak`
does.
"""

from ..run import Augment, Data, Loss, Model, Optim, Preprocess, Run, Schedule, Sparse, Train


def slak_small() -> Run:
    return Run(
        model=Model(name="slak_small"),
        data=Data(batch_size=4096),
        preprocess=Preprocess(crop_pct=224 / 256, interpolation="bicubic"),
        augment=Augment(
            crop="resized", scale=(0.08, 1.0), flip=0.5, policy="randaugment_inc", policy_ops=2, policy_magnitude=9,
            policy_std=0.5, mixup=0.8, cutmix=1.0, erase=0.25, erase_fill="noise"),
        loss=Loss(label_smoothing=0.1),
        optim=Optim(name="adamw", lr=4e-3, momentum=0.9, rho=0.999, weight_decay=0.05, decay_bias=False),
        schedule=Schedule(name="cosine", final=1e-6 / 4e-3, warmup_epochs=20),
        sparse=Sparse(sparsity=0.4, densities="snip", every=100, rate=0.3, final_rate=0.005),
        train=Train(epochs=300, ema=0.9999),
    )
