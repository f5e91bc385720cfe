"""AlexNet, section 6.1 and Figure 4 (right): images whose vectors in the last hidden layer are nearest.

The paper shows five test images of ImageNet, each beside the six training images whose 4096 activations in the last
hidden layer are nearest by Euclidean distance: they show the same thing, in other poses, and at the level of pixels
they are generally not close. It shows examples and counts nothing; here it is counted, for every test image.

Scaled down to the 10 000 training and 2 000 test images of Fashion-MNIST that come along (28×28 pixels on a field of
32×32) and to LeNet-5 with ReLUs, whose last hidden layer has 84 units: ten epochs, batches of 64, AdamW, rate 0.002
along a cosine, five seeds. Of each test image the six nearest training images are found thrice: by its pixels, by the
last hidden layer of the network before training, and after it; the figure is the share of the six that are of the
query's class. Training images have been learnt, which alone draws those of one class together; so the same is counted
once more among the test images, of which none was learnt and none is its own neighbour.

Holds: the share is larger by hidden layer than by pixels, among training images as among unseen ones, and larger after
training than before; and of the six nearest by hidden layer fewer than half are among the six nearest by pixels.
Ten classes of clothes cannot show what a thousand of photographs do: that pixels fail where poses differ widely.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..inspect.curves import PALETTE
from ..inspect.vectors import embed
from ..run import Data, Model, Optim, Preprocess, Run, Schedule, Train
from ..zoo import create_model
from .machinery.pictures import axes_of, figure, label_ends, titled
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol, Results
from .machinery.seen import seen
from .machinery.trial import Arm, Figures, Trial, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NET, NEAREST, QUERIES = "LeNet-5 with ReLUs", 6, 500     # queries at once
WAYS = {"pixels": "pixels", "before": "last hidden layer, before training", "hidden": "last hidden layer, trained"}


def neighbours() -> Experiment:
    return Experiment(
        title="Are neighbours in the last hidden layer of one kind?",
        paper="Krizhevsky, Sutskever & Hinton 2012, Figure 4 (right)",
        claims=(
            Claim("the six training images nearest in the last hidden layer are of the query's class more often than "
                  "those nearest by pixels", lambda seed: _net(seed, "hidden") - _net(seed, "pixels"),
                  "points of neighbours of the same class"),
            Claim("so they are among images that the network has not learnt from",
                  lambda seed: _net(seed, "hidden_unseen") - _net(seed, "pixels_unseen"),
                  "points of neighbours of the same class"),
            Claim("it is training that brings them together: before it the same layer does worse",
                  lambda seed: _net(seed, "hidden") - _net(seed, "before"), "points of neighbours of the same class"),
            Claim("they are generally not close in pixels: less than half of them are among the six nearest by pixels",
                  lambda seed: 50 - _net(seed, "in_both"), "points below a half"),
        ),
        measure=found,
        picture=by_rank,
        quick=Protocol(
            arms=(Arm(NET, {}),),
            minutes=4,
            base=Run(
                model=Model(name="lenet5_modern"),
                data=Data(batch_size=64),
                preprocess=Preprocess(mean=(0.5,), std=(0.5,), crop_pct=32 / 28),
                optim=Optim(name="adamw", lr=2e-3, weight_decay=0.01),
                schedule=Schedule(name="cosine"),
                train=Train(epochs=10),
            ),
            images=Images("fashion-small"),
        ),
    )


def _net(seed: BySeed, name: str) -> float:
    return seed[NET][name]


def found(trial: Trial) -> Figures:
    """Shares in per cent of neighbours of the query's class: of all six, and of each rank; `in_both`: the share of the
    six by hidden layer that are among the six by pixels.
    """
    model, run = trial.run.model, trial.run
    trained = trial.network().eval()
    torch.manual_seed(run.train.seed)
    untrained = create_model(model.name, **model.fields).eval()
    among, labels = seen(trial, "train")
    asked, truth = seen(trial, "val")
    figures = dict(final(trial))
    found_by: dict[str, Tensor] = {}
    for way, vectors in (("pixels", lambda x: x.flatten(1)), ("before", lambda x: embed(untrained, x)),
                         ("hidden", lambda x: embed(trained, x))):
        queries = vectors(asked)
        found_by[way] = closest(queries, vectors(among), NEAREST)
        right = (labels[found_by[way]] == truth[:, None]).double() * 100
        figures[way] = float(right.mean())
        figures |= {f"{way}_{rank}": float(right[:, rank - 1].mean()) for rank in range(1, right.shape[1] + 1)}
        others = closest(queries, queries, NEAREST, itself=True)
        figures[f"{way}_unseen"] = float((truth[others] == truth[:, None]).double().mean() * 100)
    both = (found_by["hidden"][:, :, None] == found_by["pixels"][:, None, :]).any(2)
    return figures | {"in_both": float(both.double().mean() * 100)}


def closest(queries: Tensor, among: Tensor, count: int, *, itself: bool = False) -> Tensor:
    """Numbers of the nearest by Euclidean distance, int64 (queries, count); `itself`: a query is one of `among`, at its
    own number, and left out.
    """
    rows = []
    for start in range(0, len(queries), QUERIES):
        distances = torch.cdist(queries[start : start + QUERIES], among)
        if itself:
            own = torch.arange(len(distances))
            distances[own, own + start] = torch.inf
        rows.append(distances.topk(min(count, len(among) - itself), largest=False).indices)
    return torch.cat(rows)


def by_rank(results: Results) -> "Figure":
    """The share of neighbours of the query's class, by how near they are: a line per way, a dot per seed."""
    with figure(620, 340) as drawn:
        axes, ends = axes_of(drawn, 62, 54, 320, 240), []
        for i, (way, name) in enumerate(WAYS.items()):
            values = [results.of(NET, f"{way}_{rank}") for rank in range(1, NEAREST + 1)]
            means = [sum(each) / len(each) for each in values]
            for rank, each in enumerate(values, start=1):
                axes.plot([rank] * len(each), each, "o", color=PALETTE[i], alpha=0.35, markersize=5, markeredgewidth=0)
            axes.plot(range(1, NEAREST + 1), means, color=PALETTE[i], linewidth=1.6)
            ends.append((means[-1], name, PALETTE[i]))
        label_ends(axes, ends)
        titled(axes, "Neighbours of the query's class", "nearest to sixth nearest training image", "same class, %")
        return drawn
