"""Running sums of an epoch, kept on the device so that no step waits for the processor, and counts of predictions."""

import torch
from torch import Tensor


class Tally:
    """Sums over the images of this epoch that this process has seen: loss, right answers, images.

    `sums` is all its state: float64 (3,), float32 on MPS, which has no float64. A checkpoint keeps it and an epoch
    goes on from it bit for bit.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)

    def add(self, losses: Tensor, scores: Tensor, labels: Tensor) -> None:
        """Add a batch: losses (n,), scores (n, K), labels (n,)."""
        right = (scores.argmax(dim=1) == labels).sum()
        self.sums += torch.stack([losses.sum(dtype=self.sums.dtype), right, right.new_tensor(len(labels))])


def means(sums: Tensor) -> tuple[float, float]:
    """Mean loss and accuracy (a share) of a Tally's sums; waits for the device."""
    loss, right, count = sums.tolist()
    return loss / max(count, 1.0), right / max(count, 1.0)


def top(scores: Tensor, labels: Tensor, k: int = 5) -> tuple[Tensor, Tensor]:
    """The best class (n,) of each row of scores (n, K), and whether the label is among the k best (n,) bool.

    Both come from one ranking, so that ties cannot make top-1 exceed top-k. Of at most k classes all are the best.
    """
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return best[:, 0], (best == labels[:, None]).any(dim=1)


def confusion(labels: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """How often each class was taken for each: int64 (K, K), [true, predicted]."""
    cells = torch.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)
