"""U-Net on pictures of cells — Ronneberger et al. 2015, section 3.

As published: one large tile per step, momentum 0.99, random displacements of standard deviation 10 pixels on a grid of
3×3, shifts, rotations and changes of grey, dropout at the end of the contracting path, classes weighed, and pixels
between touching cells weighed more (w₀ = 10, σ = 5 pixels). Departs: the rate, the length and the strengths of shift,
rotation and grey are ours, the paper gives none; quarter turns and mirror images are ours too, for microscopy knows no
up.
"""

from ..run import Augment, Data, Loss, Model, Optim, Preprocess, Run, Train


def unet() -> Run:
    return Run(
        model=Model(name="unet"),
        data=Data(batch_size=1),
        preprocess=Preprocess(mean=(0.5,), std=(0.5,), crop_pct=1.0),
        augment=Augment(affine=(15, 0.05, 0, 0), elastic=10.0, elastic_grid=3, flip=0.5, turns=True,
                        jitter=(0.2, 0.2, 0, 0)),
        loss=Loss(class_weights="balanced", pixels="mean", border=10.0, border_sigma=5.0),
        optim=Optim(name="sgd_caffe", lr=1e-3, momentum=0.99),
        train=Train(epochs=600),
    )
