"""Losses of single images, from scores (N, K) and targets to (N,): the loop sums them and divides by the global batch.

Targets are class numbers (N,), shares of every class (N, K) as Mixup and images with several labels have, or, for
networks that segment, a class number per pixel (N, H, W) beside scores (N, K, H, W), or classes and weights of pixels,
(N, 2, H, W). Probabilities are here too, since it depends on the loss how scores become probabilities.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import run
from ..errors import ConvatlasError

PerImage = Callable[[Tensor, Tensor], Tensor]


def per_image(loss: run.Loss, num_classes: int, weights: Tensor | None = None) -> PerImage:
    """The loss that `loss` names, as a function of scores (N, num_classes), higher is better, and targets.

    Its result is (N,): of each image by itself, in the units of the formula, not averaged. `weights` (num_classes,)
    multiply what each class adds to it (`class_weights`); balanced ones of bce, what a class that is there adds. Where
    a weight map marks borders between objects (`loss.border`), a pixel weighs w_c + w₀·e, as in U-Net's equation 2.
    """

    def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
        if targets.ndim < 3:        # of class numbers none is ignored: 255 may be one
            return F.cross_entropy(scores, targets, _on(weights, scores), reduction="none",
                                   label_smoothing=loss.label_smoothing)
        classes, counts = pixels(targets)
        whole = weighed(lambda own: F.cross_entropy(
            scores, classes, own, reduction="none", label_smoothing=loss.label_smoothing,
            ignore_index=loss.ignore_index), scores, counts)
        whole = whole.flatten(1).sum(dim=1)
        return (whole if loss.pixels == "sum"
                else whole / (classes != loss.ignore_index).flatten(1).sum(dim=1).clamp(min=1))

    def weighed(each: Callable[[Tensor | None], Tensor], scores: Tensor, counts: Tensor) -> Tensor:
        """The loss of pixels, `each(class weights)`, times w_c + w₀·e, where `counts` = 1 + w₀·e."""
        if weights is None or not loss.border:
            return each(_on(weights, scores)) * counts
        return each(_on(weights, scores)) + each(None) * (counts - 1)

    def map_(scores: Tensor, targets: Tensor) -> Tensor:
        # LeCun et al. 1998, eq. 9, with penalties y = -scores: y_label + log(e^-j + sum_i e^-y_i)
        if targets.ndim > 1:
            raise ConvatlasError("loss map takes one class per image; for mixed pictures or several labels use "
                                 "cross_entropy or bce")
        rubbish = scores.new_tensor(-loss.rubbish)
        return torch.logaddexp(scores.logsumexp(dim=1), rubbish) - scores.gather(1, targets[:, None]).squeeze(1)

    def mse(scores: Tensor, targets: Tensor) -> Tensor:
        # E = 1/2 sum_k (d_k - s_k)^2 with d = +1 for the true class and -1 for the others (LeCun 1989)
        return 0.5 * (2 * shares(targets, num_classes).to(scores.dtype) - 1 - scores).square().sum(dim=1)

    def bce(scores: Tensor, targets: Tensor) -> Tensor:
        wanted = shares(targets, num_classes).to(scores.dtype)
        wanted = wanted * (1 - loss.label_smoothing) + loss.label_smoothing / 2
        whole, there = (None, weights) if loss.class_weights == "balanced" else (weights, None)
        return F.binary_cross_entropy_with_logits(scores, wanted, _on(whole, scores), reduction="none",
                                                  pos_weight=_on(there, scores)).mean(dim=1)

    def dice(scores: Tensor, targets: Tensor) -> Tensor:
        # Milletari et al. 2016, eq. 3 without squares, mean over the classes
        both, missed, false = overlap(scores, targets)
        return 1 - ((2 * both + 1) / (2 * both + missed + false + 1)).mean(dim=1)

    def tversky(scores: Tensor, targets: Tensor) -> Tensor:
        # Salehi et al. 2017, eq. 4; with alpha = 1/2 it is dice
        both, missed, false = overlap(scores, targets)
        return 1 - ((both + 1) / (both + loss.alpha * missed + (1 - loss.alpha) * false + 1)).mean(dim=1)

    def focal(scores: Tensor, targets: Tensor) -> Tensor:
        # Lin et al. 2017, eq. 4: cross-entropy times (1 - p)^gamma
        classes, counts = pixels(targets)
        sure = F.cross_entropy(scores, classes, reduction="none", ignore_index=loss.ignore_index).neg().exp()
        whole = weighed(lambda own: F.cross_entropy(
            scores, classes, own, reduction="none", ignore_index=loss.ignore_index) * (1 - sure) ** loss.gamma,
            scores, counts).flatten(1).sum(dim=1)
        return whole / (classes != loss.ignore_index).flatten(1).sum(dim=1).clamp(min=1)

    def overlap(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(found, missed, false) of each class in pixels, (N, K) each; probabilities count as parts of a pixel."""
        classes, counts = pixels(targets)
        counts = ((classes != loss.ignore_index) * counts)[:, None]
        true, guess = F.one_hot(classes.where(classes != loss.ignore_index, 0),
                                num_classes).movedim(-1, 1), scores.softmax(dim=1)
        both, real, called = ((each * counts).flatten(2).sum(dim=2) for each in (true * guess, true, guess))
        return both, real - both, called - both

    every = {"cross_entropy": cross_entropy, "map": map_, "mse": mse, "bce": bce, "dice": dice, "focal": focal,
             "tversky": tversky}
    if not loss.add:
        return every[loss.name]
    return lambda scores, targets: sum((every[name](scores, targets) for name in loss.add),
                                       every[loss.name](scores, targets))


TAKES = {       # the settings that each loss takes
    "class_weights": ("cross_entropy", "bce", "focal"), "label_smoothing": ("cross_entropy", "bce"),
    "border": ("cross_entropy", "focal", "dice", "tversky"),
}


def check(loss: run.Loss) -> None:
    """Refuse settings that none of the losses takes."""
    usual = run.Loss()
    for field, names in TAKES.items():
        value = getattr(loss, field)
        if value != getattr(usual, field) and not {loss.name, *loss.add} & set(names):
            raise ConvatlasError(f"loss.{field} = {value!r} is refused: {loss.name} does not take it, "
                                 f"{', '.join(names)} do; set it to {getattr(usual, field)}")


def pixels(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Classes int64 (N, H, W) and weights of pixels (N, H, W), from (N, H, W) or (N, 2, H, W)."""
    if targets.ndim == 4:
        return targets[:, 0].long(), targets[:, 1]
    if targets.ndim < 3:
        raise ConvatlasError("losses dice, focal and tversky are for networks that segment; take cross_entropy or bce")
    return targets, torch.ones_like(targets, dtype=torch.float32)


def shares(targets: Tensor, num_classes: int) -> Tensor:
    """Targets as shares of every class, (N, num_classes): of a class number 1 for that class, else as they are."""
    return F.one_hot(targets, num_classes) if targets.ndim == 1 else targets


def _on(weights: Tensor | None, scores: Tensor) -> Tensor | None:
    return None if weights is None else weights.to(scores.device, scores.dtype)


def class_weights(loss: run.Loss, labels: Tensor, num_classes: int) -> Tensor | None:
    """Class weights (num_classes,) by `loss.class_weights` for training `labels` (N,), on average 1 over the images.

    Of bce, which judges each class by itself, "balanced" weighs the images of a class by how often it is absent for
    each time it is there. A class that no training image has weighs 1: nothing is known of it.
    """
    if loss.class_weights == "none":
        return None
    counts = (torch.bincount(labels, minlength=num_classes) if labels.ndim == 1 else labels.sum(dim=0)).double()
    if loss.class_weights == "balanced":
        if loss.name == "bce":
            return ((len(labels) - counts) / counts).clamp(min=1e-3).where(counts > 0, 1.0).float()
        weights = (1 / counts).where(counts > 0, 0.0)
        return (weights * counts.sum() / (weights * counts).sum()).where(counts > 0, 1.0).float()
    weights = torch.tensor(loss.class_weights, dtype=torch.float64)
    if len(weights) != num_classes or bool((weights < 0).any()):
        raise ConvatlasError(f"loss.class_weights takes one number of at least 0 for each of the {num_classes} "
                             f"classes, not {loss.class_weights}")
    if not bool((weights * counts).any()):
        raise ConvatlasError(f"loss.class_weights = {loss.class_weights} gives every training image the weight 0: "
                             "one class that they have must weigh more")
    return (weights * counts.sum() / (weights * counts).sum()).float()


def probabilities(scores: Tensor, loss: run.Loss) -> Tensor:
    """Class probabilities (N, K) from the scores (N, K) of a network trained with `loss`.

    Cross-entropy and map: softmax (for map: given that the picture is of one of the classes, and not rubbish); rows sum
    to one. mse: the score that minimises the squared distance to ±1 targets is 2p − 1, so p = (1 + score) / 2, not
    below zero, scaled to sum to one. bce: each class by itself, by the logistic function.
    """
    if loss.name == "mse":
        found = ((1 + scores) / 2).clamp_min(1e-6)
        return found / found.sum(dim=1, keepdim=True)
    return scores.sigmoid() if loss.name == "bce" else scores.softmax(dim=1)
