"""LeNet-5 on MNIST with its own optimiser — LeCun et al. 1998, sections III-A to III-C and appendix C.

As published: single images; the stochastic diagonal Levenberg-Marquardt method, which divides the rate of each weight
by μ plus its second derivative, estimated on 500 images before each epoch; 20 epochs at 5·10⁻⁴ (two), 2·10⁻⁴ (three),
10⁻⁴ (three), 5·10⁻⁵ (four) and 10⁻⁵ (the rest). The pictures and the loss are `lenet5`'s. Departs: μ = 1 where 0.02 is
printed (both from memory, not checked against the paper), with which our network does not learn: at first the second
derivatives of the lower layers are near 0, and the rate / μ is too large.
"""

from ..run import Data, Loss, Model, Optim, Preprocess, Run, Schedule, Train
from .lenet5 import BACKGROUND, SPAN


def lenet5_lm() -> Run:
    return Run(
        model=Model(name="lenet5"),
        data=Data(source="mnist", batch_size=1),
        preprocess=Preprocess(mean=(-BACKGROUND / SPAN,), std=(1 / SPAN,), crop_pct=32 / 28),
        loss=Loss(name="map", rubbish=0.1),
        optim=Optim(name="lm", lr=5e-4, momentum=0.0, mu=1.0, samples=500),
        schedule=Schedule(name="steps", steps=((2, 0.4), (5, 0.2), (8, 0.1), (12, 0.02))),
        train=Train(epochs=20),
    )
