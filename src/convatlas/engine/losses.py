"""Losses of one image each: scores (N, K) and labels (N,) to (N,). The loop sums them and divides by the global batch.

And what the scores say of each class, which depends on the loss they were trained by.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import run

PerImage = Callable[[Tensor, Tensor], Tensor]


def per_image(loss: run.Loss, num_classes: int) -> PerImage:
    """The loss that `loss` names, as a function of scores (N, num_classes), higher is better, and labels (N,) int64.

    Its result is (N,): of each image by itself, in the units of the formula, neither averaged nor weighted.
    """

    def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(scores, labels, reduction="none", label_smoothing=loss.label_smoothing)

    def map_(scores: Tensor, labels: Tensor) -> Tensor:
        # LeCun et al. 1998, eq. 9, with penalties y = -scores: y_label + log(e^-j + sum_i e^-y_i)
        rubbish = scores.new_tensor(-loss.rubbish)
        return torch.logaddexp(scores.logsumexp(dim=1), rubbish) - scores.gather(1, labels[:, None]).squeeze(1)

    def mse(scores: Tensor, labels: Tensor) -> Tensor:
        # E = 1/2 sum_k (d_k - s_k)^2 with d = +1 for the true class and -1 for the others (LeCun 1989)
        targets = 2 * F.one_hot(labels, num_classes).to(scores.dtype) - 1
        return 0.5 * (targets - scores).square().sum(dim=1)

    return {"cross_entropy": cross_entropy, "map": map_, "mse": mse}[loss.name]


def probabilities(scores: Tensor, loss: run.Loss) -> Tensor:
    """What scores (N, K) of a network trained with `loss` say of each class: shares, (N, K), rows sum to one.

    Cross-entropy and map: softmax (for map: given that the picture is of one of the classes, and not rubbish). mse: the
    score that minimises the squared distance to ±1 targets is 2p − 1, so p = (1 + score) / 2, not below zero, scaled to
    sum to one.
    """
    if loss.name == "mse":
        shares = ((1 + scores) / 2).clamp_min(1e-6)
        return shares / shares.sum(dim=1, keepdim=True)
    return scores.softmax(dim=1)
