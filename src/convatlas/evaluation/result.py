"""Results of an evaluation: figures of one network, or of several whose probabilities are averaged."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..data import ImageSet
from ..engine.evaluate import Evaluation, evaluation_of
from ..engine.losses import probabilities
from ..engine.metrics import top
from ..errors import ConvatlasError, some
from ..run import Loss
from .calibration import Calibration, calibrate
from .protocol import Protocol
from .statistics import McNemar, mcnemar, wilson

LEAST = 1e-30       # probabilities below it have the same logarithm


@dataclass(frozen=True)
class Evaluated:
    """The result of `evaluate`; of an ensemble with each of its members'."""

    evaluation: Evaluation          # with scores
    classes: tuple[str, ...]        # of the model: the names of the confusion matrix's rows and columns
    data: str
    model: str                      # its name; of an ensemble all names
    loss: Loss                      # that says what the scores mean
    protocol: Protocol              # resolved: in pixels
    preprocess: str                 # what was done to every picture, for people to read
    images: ImageSet                # that `evaluation.indices` number
    part: str = "all"               # of the data: train, val, test, or all of it
    members: tuple["Evaluated", ...] = ()
    weights: tuple[float, ...] = ()     # of the members, as shares

    @property
    def probabilities(self) -> Tensor:
        """Probabilities of the classes: float32 (count, K); rows sum to one, unless a class is judged by itself (bce).
        """
        assert self.evaluation.scores is not None
        return probabilities(self.evaluation.scores, self.loss)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % confidence interval of top-1: two shares."""
        return wilson(int(self.evaluation.right.sum()), self.evaluation.count)

    @property
    def log_loss(self) -> float:
        """The mean −ln of the true class's probability, whatever loss the network was trained with; of several labels
        that loss.
        """
        labels, scores = self.evaluation.labels, self._log_probabilities
        if labels.ndim > 1:
            return self.evaluation.loss
        return -scores.gather(1, labels[:, None]).sum().item() / max(len(labels), 1)

    def top_k(self, k: int) -> float | None:
        """The share of images with a label among the k best-scored classes; None where there are no more than k, and
        every answer would be right.
        """
        scores = self.evaluation.scores
        assert scores is not None
        if scores.shape[1] <= k > 1:
            return None
        return top(scores, self.evaluation.labels, k)[1].sum().item() / max(self.evaluation.count, 1)

    def calibration(self) -> Calibration | None:
        """Distance between confidence and accuracy; None for images with several labels."""
        labels = self.evaluation.labels
        return None if labels.ndim > 1 else calibrate(self._log_probabilities, labels,
                                                      exclusive=self.loss.name != "bce")

    @property
    def _log_probabilities(self) -> Tensor:
        """float64 (count, K), finite."""
        scores = self.evaluation.scores
        assert scores is not None
        if self.loss.name in ("cross_entropy", "map"):
            return scores.double().log_softmax(dim=1)
        return self.probabilities.double().clamp_min(LEAST).log()


def join(members: Sequence[Evaluated], weights: Sequence[float] | None = None) -> Evaluated:
    """The ensemble of networks that were judged on the same images: their probabilities averaged, with weights where
    given.

    Classes are matched by name. Images that one of them could not read are left out. Raises ConvatlasError where the
    networks do not know the same classes, or weights are not one positive number each.
    """
    first, shares = members[0], _shares(weights, len(members))
    indices = first.evaluation.indices
    for other in members[1:]:
        indices = indices[torch.isin(indices, other.evaluation.indices)]
    mixed = sum(share * _columns(member, first)[torch.isin(member.evaluation.indices, indices)]
                for share, member in zip(shares, members, strict=True))
    assert isinstance(mixed, Tensor)
    several = first.evaluation.labels.ndim > 1
    scores = mixed.logit(eps=LEAST) if several else (mixed / mixed.sum(dim=1, keepdim=True)).clamp_min(LEAST).log()
    loss = Loss(name="bce" if several else "cross_entropy")
    labels = first.evaluation.labels[torch.isin(first.evaluation.indices, indices)]
    seconds = sum(member.evaluation.count / member.evaluation.images_per_second for member in members)
    evaluation = evaluation_of(scores.float(), labels, indices, loss, seconds=seconds,
                               skipped=first.evaluation.count + first.evaluation.skipped - len(indices))
    return replace(first, evaluation=evaluation, loss=loss, model=" + ".join(member.model for member in members),
                   members=tuple(members), weights=shares)


def _shares(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    given = tuple(weights or (1.0,) * count)
    if len(given) != count or min(given) < 0 or not math.isfinite(sum(given)) or not sum(given):
        raise ConvatlasError(f"weights = {given} are refused: an ensemble of {count} takes {count} numbers of at "
                             "least 0, not all 0")
    return tuple(weight / sum(given) for weight in given)


def _columns(member: Evaluated, first: Evaluated) -> Tensor:
    """A member's probabilities, float64 (count, K), in the first one's order of classes."""
    found = member.probabilities.double()
    if member.classes == first.classes:
        return found
    differing = sorted(set(member.classes) ^ set(first.classes))
    if differing:
        raise ConvatlasError(f"{member.model} and {first.model} do not know the same classes, so their probabilities "
                             f"cannot be averaged: only one of them knows {some(differing)}")
    return found[:, [member.classes.index(name) for name in first.classes]]


def compare(a: Evaluated, b: Evaluated) -> McNemar:
    """McNemar's test between two networks over the images, matched by name, that both read and know the class of."""
    rights = [dict(zip(map(each.images.name, each.evaluation.indices.tolist()), each.evaluation.right.tolist(),
                       strict=True)) for each in (a, b)]
    cells = Counter((right, rights[1][name]) for name, right in rights[0].items() if name in rights[1])
    if not cells:
        raise ConvatlasError(f"{a.model} and {b.model} were not judged on the same images: there is nothing to compare")
    return mcnemar(cells[True, True], cells[True, False], cells[False, True], cells[False, False])
