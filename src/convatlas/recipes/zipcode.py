"""The zip-code network — LeCun et al. 1989, section 5.

As published: pixels from −1 to 1, targets ±1, half the squared distance, one image per step in the order of the file,
23 epochs. Departs: a plain gradient step whose rate falls to zero along a cosine, in place of the paper's pseudo-Newton
step with a diagonal Hessian, which scales itself.
"""

from ..run import Data, Loss, Model, Optim, Preprocess, Run, Schedule, Train


def zipcode() -> Run:
    return Run(
        model=Model(name="lecun1989_zipcode"),
        data=Data(source="usps", batch_size=1, shuffle=False),
        preprocess=Preprocess(mean=(0.5,), std=(0.5,), crop_pct=1.0),
        loss=Loss(name="mse"),
        optim=Optim(name="sgd", lr=0.01, momentum=0.0),
        schedule=Schedule(name="cosine"),
        train=Train(epochs=23),
    )
