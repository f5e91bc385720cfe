"""Labels that may be wrong, by predictions of probes that have not seen them.

1. A linear probe: ridge regression of the classes on features, solved from sums of squares, one for each of five folds,
   which it does not see. Pictures with the same pixels are in one fold.
2. Its scores z as probabilities: p(class) = softmax(W z + b), where a label is the class with probability 1 − ε, and
   else any other, all alike. W, b and ε are the likeliest (noise-robust logistic regression: Mnih & Hinton 2012;
   Bootkrajang & Kabán 2012), W and b under a unit Gaussian prior around a multiple of the identity.
3. By Bayes, the probability that a label is wrong. Listed is, the most probable first, as long as on average a share
   `PRECISION` of the list is wrong.

Confident learning (Northcutt, Jiang & Chuang 2021) counts classes taken for others instead, and lists as many labels;
where classes are alike, those are no errors.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from ...engine.threads import threads_for
from .census import Watch

FOLDS, BLOCK = 5, 2048
PENALTIES = (1e-3, 1e-2, 1e-1)      # per picture, of which the one with the least squared error is taken
PRECISION = 0.72
SAMPLE = 30_000                     # pictures that the probabilities are fitted to
FULL = 100                          # classes up to which W is a whole matrix, else a multiple of the identity

class Suspects(NamedTuple):
    """Labels that may be wrong, the most probable first."""

    rows: NDArray[np.int64]             # numbers among the pictures that were given
    probability: NDArray[np.float32]    # that the label is wrong
    other: NDArray[np.int64]            # the likeliest other class
    noise: float                        # estimated share of wrong labels
    accuracy: float                     # share of labels that the probe predicts


def suspects(features: NDArray[np.float16], labels: NDArray[np.int64], fold: NDArray[np.int64], classes: int, seed: int,
             folder: Path, watch: Watch) -> Suspects:
    """The labels (N,) of pictures with `features` (N, width) that may be wrong; `fold` (N,) is 0..FOLDS−1."""
    scores = torch.from_numpy(held_out(features, labels, fold, classes, folder, watch))
    given = torch.from_numpy(labels)
    some = torch.randperm(len(given), generator=torch.Generator().manual_seed(seed))[:SAMPLE]
    with threads_for(0, torch.device("cpu")):       # small sums: a second thread costs more than it gains
        link = Link.fitted(scores[some], given[some])
    found = [link(scores[i : i + BLOCK], given[i : i + BLOCK]) for i in range(0, len(given), BLOCK)]
    wrong = torch.cat([probability for probability, _ in found]).numpy()
    other = torch.cat([guess for _, guess in found]).numpy()
    order = np.argsort(-wrong, kind="stable")
    listed = int((np.cumsum(wrong[order]) >= PRECISION * np.arange(1, len(order) + 1)).sum())   # means only fall
    rows = order[:listed]
    right = float((scores.argmax(1) == given).float().mean())
    return Suspects(rows, wrong[rows], other[rows], float(link.noise), right)


def held_out(features: NDArray[np.float16], labels: NDArray[np.int64], fold: NDArray[np.int64], classes: int,
             folder: Path, watch: Watch) -> NDArray[np.float32]:
    """Scores (N, classes) of each picture by the probe of its fold, in a file in `folder`."""
    count, width = features.shape
    given = torch.from_numpy(labels)
    total, squares = torch.zeros(width), torch.zeros(width)
    for _, rows in _blocks(features):
        total += rows.sum(0)
        squares += rows.square().sum(0)
    mean = total / count
    deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
    scale = 1 / (deviation + 0.1 * deviation.mean()).clamp(min=1e-6)        # nearly constant ones stay small
    usual = torch.bincount(given, minlength=classes) / count

    gram, moment = torch.zeros(FOLDS, width, width), torch.zeros(FOLDS, width, classes)
    done = 0
    for number, where, rows in _folded(features, fold):
        rows = (rows - mean) * scale
        gram[number].addmm_(rows.T, rows)
        moment[number].addmm_(rows.T, F.one_hot(given[where], classes) - usual)
        done += len(rows)
        watch("probing", done, 2 * count)
    whole, sums = gram.sum(0), moment.sum(0)
    weights = _solved(whole, gram, sums, moment, count)
    found: NDArray[np.float32] = np.memmap(folder / "scores", np.float32, "w+", shape=(count, classes))
    for number, where, rows in _folded(features, fold):
        found[where.numpy()] = (((rows - mean) * scale) @ weights[number] + usual).numpy()
        done += len(rows)
        watch("probing", done, 2 * count)
    return found


def _solved(whole: Tensor, gram: Tensor, sums: Tensor, moment: Tensor, count: int) -> Tensor:
    """The weights (FOLDS, width, classes) for the penalty of least squared error on the folds that were not seen, which
    follows from the sums too.
    """
    best, least = torch.zeros(0), float("inf")
    for penalty in PENALTIES:
        weights = torch.zeros_like(moment)
        for number in range(FOLDS):
            square = whole - gram[number]
            square.diagonal().add_(penalty * count)
            weights[number] = torch.cholesky_solve(sums - moment[number], torch.linalg.cholesky(square))
        error = float((weights * (gram @ weights - 2 * moment)).sum())
        if error < least:
            best, least = weights, error
    return best


def _blocks(features: NDArray[np.float16]) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(features), BLOCK):
        yield start, torch.from_numpy(np.asarray(features[start : start + BLOCK])).float()


def _folded(features: NDArray[np.float16], fold: NDArray[np.int64]) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(fold, numbers of pictures, their features), read in the order in which they lie."""
    for start, rows in _blocks(features):
        here = torch.from_numpy(fold[start : start + BLOCK])
        for number in range(FOLDS):
            where = (here == number).nonzero().flatten()
            if len(where):
                yield number, where + start, rows[where]


class Link(NamedTuple):
    """Scores as probabilities of the true class, and the share of labels that are not it."""

    scale: Tensor           # of the identity
    weights: Tensor         # (classes, classes), added to it
    bias: Tensor
    noise: Tensor

    @classmethod
    def fitted(cls, scores: Tensor, labels: Tensor) -> "Link":
        """The likeliest link, by L-BFGS; `scores` (n, classes)."""
        count, classes = scores.shape
        square = classes * classes if classes <= FULL else 0

        def link(values: Tensor) -> "Link":
            log_scale, log_odds, bias, weights = torch.split(values, [1, 1, classes, square])
            whole = weights.view(classes, classes) if square else torch.zeros(classes, classes)
            return cls(log_scale.exp(), whole, bias, log_odds.sigmoid())

        def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            free = torch.from_numpy(values).float().requires_grad_()
            here = link(free)
            true = here.probabilities(scores).gather(1, labels[:, None])[:, 0]
            likelihood = (1 - here.noise) * true + here.noise * (1 - true) / max(classes - 1, 1)
            prior = free[2:].square().sum() / 2
            value = (prior - likelihood.clamp(min=1e-12).log().sum()) / count
            return float(value.detach()), torch.autograd.grad(value, free)[0].double().numpy()

        start = np.zeros(2 + classes + square)
        start[:2] = np.log(5), -4       # a share of 2 %
        bounds = [(-3, 7), (-14, 0), *[(None, None)] * (len(start) - 2)]
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200}).x
        return link(torch.from_numpy(found).float())

    def probabilities(self, scores: Tensor) -> Tensor:
        """Of each class (n, classes), whatever the label."""
        return (self.scale * scores + scores @ self.weights + self.bias).softmax(1)

    def __call__(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(the probability that each label is wrong, the likeliest other class), (n,) each."""
        shares = self.probabilities(scores)
        true = shares.gather(1, labels[:, None])[:, 0]
        wrong = self.noise * (1 - true) / max(scores.shape[1] - 1, 1)
        others = shares.scatter(1, labels[:, None], -1.0)
        return wrong / ((1 - self.noise) * true + wrong).clamp(min=1e-12), others.argmax(1)
