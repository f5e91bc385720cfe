"""LeNet-5 on MNIST — LeCun et al. 1998, sections III-A to III-C.

As published: 28×28 digits in the middle of 32×32, background −0.1 and ink 1.175; the maximum a posteriori loss of eq.
9; 20 epochs; the rate falls in the paper's five steps (5, 2, 1, 0.5 and 0.1 of its 10⁻⁴, after 2, 5, 8 and 12 epochs).
Departs: batches of 16 with Adam in place of single images with a diagonal Hessian. Both give each weight a rate of its
own, since a kernel that 784 units share needs a smaller one than a weight of one unit; the scale of the rate is
therefore ours.
"""

from ..run import Data, Loss, Model, Optim, Preprocess, Run, Schedule, Train

INK, BACKGROUND = 1.175, -0.1
SPAN = INK - BACKGROUND


def lenet5() -> Run:
    return Run(
        model=Model(name="lenet5"),
        data=Data(source="mnist", batch_size=16),
        preprocess=Preprocess(mean=(-BACKGROUND / SPAN,), std=(1 / SPAN,), crop_pct=32 / 28),
        loss=Loss(name="map", rubbish=0.1),
        optim=Optim(name="adam", lr=3e-3),
        schedule=Schedule(name="steps", steps=((2, 0.4), (5, 0.2), (8, 0.1), (12, 0.02))),
        train=Train(epochs=20),
    )
