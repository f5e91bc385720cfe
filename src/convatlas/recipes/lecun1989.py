"""Net-1 to Net-5 — LeCun 1989, Generalization and network design strategies.

As published: drawings of 16×16 pixels, squashed outputs, targets ±1, mean squared error, one image per step, until the
training drawings are learned. Departs: the 480 drawings were never published, and the embedded digits stand in for
them; epochs, order and rate, which the report leaves open, are those of the experiment `lenet-family`: 30 epochs in an
order drawn anew, plain gradient descent whose rate falls to zero along a cosine from the best of the rates tried there.
"""

from ..run import Data, Loss, Model, Optim, Preprocess, Run, Schedule, Train


def lecun1989() -> Run:
    return Run(
        model=Model(name="lecun1989_net5"),
        data=Data(source="digits", batch_size=1),
        preprocess=Preprocess(mean=(0.5,), std=(0.5,), crop_pct=1.0),
        loss=Loss(name="mse"),
        optim=Optim(name="sgd", lr=0.03, momentum=0.0),
        schedule=Schedule(name="cosine"),
        train=Train(epochs=30),
    )
