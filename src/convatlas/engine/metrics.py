"""Metrics: running sums of an epoch, kept on the device so that no step waits for them, and counts of predictions."""

import torch
from torch import Tensor


class Tally:
    """Sums over the images of this epoch that this process has seen: loss, right answers, images.

    `sums` is all its state: float64 (3,), float32 on MPS, which has no float64. A checkpoint keeps it and an epoch
    goes on from it bit for bit.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)

    def add(self, losses: Tensor, scores: Tensor, targets: Tensor) -> None:
        """Add a batch: losses (n,), scores (n, K), targets as `right` takes them."""
        correct = right(scores, targets).sum(dtype=self.sums.dtype)
        self.sums += torch.stack([losses.sum(dtype=self.sums.dtype), correct, correct.new_tensor(len(targets))])


def means(sums: Tensor) -> tuple[float, float]:
    """Mean loss and accuracy (a share) of a Tally's sums; waits for the device."""
    loss, correct, count = sums.tolist()
    return loss / max(count, 1.0), correct / max(count, 1.0)


def right(scores: Tensor, targets: Tensor) -> Tensor:
    """Correctness of the best-scored class, (n,): 1 or 0, as `top` ranks; for label maps, a share of pixels.

    Label maps are (n, H, W), or (n, 2, H, W) with weights. With shares (n, K) the class is right if none has a larger
    one (the larger part of a mixed picture; any of an image's labels).
    """
    if targets.ndim < 3:
        return top(scores, targets, 1)[1]
    same = scores.argmax(dim=1) == (targets[:, 0] if targets.ndim == 4 else targets)
    return same.float().flatten(1).mean(dim=1)


def top(scores: Tensor, labels: Tensor, k: int = 5) -> tuple[Tensor, Tensor]:
    """The best class (n,) of each row of scores (n, K), and whether a label is among the k best (n,) bool.

    One rule for all figures: ties are never in favour. A label is among the k best where fewer than k other classes
    have a score that is not below its own; the best class of a tie is one that is no label. So a network that gives all
    classes the same score is right nowhere, and top-1, the confusion matrix and top-k agree. NaN is right nowhere.
    Labels are class numbers (n,), or shares of every class (n, K), of which the largest, above 0, are labels.
    """
    if labels.ndim == 2:
        wanted = (labels > 0) & (labels >= labels.amax(dim=1, keepdim=True))
    else:
        wanted = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, labels[:, None], True)
    own = scores.masked_fill(~wanted, -torch.inf).amax(dim=1, keepdim=True)         # of the label that is scored best
    others = scores.masked_fill(wanted, -torch.inf)
    above = (~(others < own) & ~wanted).sum(dim=1)
    best = torch.where(above == 0, scores.masked_fill(~wanted, -torch.inf).argmax(dim=1), others.argmax(dim=1))
    return best, (above < k) & wanted.any(dim=1)


def confusion(labels: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """The confusion matrix: int64 (K, K), [true, predicted]."""
    cells = torch.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def average_precision(scores: Tensor, labels: Tensor) -> float:
    """Mean average precision over the classes, from scores and labels (0 or 1), (N, K) each.

    Per class: the mean, over its images, of the precision among all images scored at least as high.
    Classes without an image are left out; 0 where none has any.
    """
    found: list[float] = []
    for column, truth in zip(scores.T, (labels > 0).T, strict=True):
        if truth.any():
            value, number = column.sort(descending=True, stable=True)
            hits = truth[number].cumsum(0).double()
            precision = hits / torch.arange(1, len(hits) + 1)
            # Equal scores come all at once: each takes the precision at the last of them.
            last = torch.searchsorted(-value.contiguous(), -value.contiguous(), right=True) - 1
            found.append(float(precision[last][truth[number]].mean()))
    return sum(found) / max(len(found), 1)
