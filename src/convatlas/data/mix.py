"""Mixup and CutMix: pictures and labels of a batch mixed in pairs, on the batch's device, all chance coming from one
seed.
"""

from importlib import import_module

import torch
from torch import Tensor

from ..errors import ConvatlasError
from ..run import Augment


def mix(images: Tensor, labels: Tensor, num_classes: int, augment: Augment, seed: int) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang 2018) or CutMix (Yun 2019), as `augment` says, on images (n, C, H, W), by torchvision's transforms.

    `labels` are classes, int64 (n,), or scores, float (n, num_classes). A mixed batch has float32 targets (n,
    num_classes); one that is not (both off, or left out by `mix_prob`) comes back as it came, classes as classes. Each
    picture is mixed with the one before it, which in a shuffled batch is any other; the share λ ~ Beta(α, α) is one for
    the whole batch, and CutMix corrects it for a box that reaches over the edge. With both on, they are equally likely.
    The same seed (0 to 2⁶³−1) gives the same mixture on any device; torch's global generators are left as they were.
    """
    kinds = [(name, alpha) for name, alpha in (("MixUp", augment.mixup), ("CutMix", augment.cutmix)) if alpha > 0]
    if not kinds:
        return images, labels
    if labels.dim() not in (1, 2):
        raise ConvatlasError("augment.mixup and augment.cutmix mix labels of whole pictures, not "
                             f"{tuple(labels.shape)}; set them to 0")
    v2 = import_module("torchvision.transforms.v2")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if torch.rand(()) >= augment.mix_prob:
            return images, labels
        name, alpha = kinds[int(torch.randint(len(kinds), ()))]
        mixed: tuple[Tensor, Tensor] = getattr(v2, name)(alpha=alpha, num_classes=num_classes)(images, labels)
    return mixed
