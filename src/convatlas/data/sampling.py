"""In which order an epoch goes over the pictures: decided by the seed and the epoch alone."""

import hashlib

import torch
from torch import Tensor

from ..errors import ConvatlasError


def stable_seed(*numbers: int) -> int:
    """63 well-mixed bits that depend on the numbers only, in every process and every version of Python."""
    digest = hashlib.blake2b(" ".join(map(str, numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def permutation(count: int, *numbers: int) -> Tensor:
    """0 … count − 1 in the random order that belongs to `numbers`."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(stable_seed(*numbers)))


def balanced(labels: Tensor, seed: int, epoch: int) -> Tensor:
    """Class-balanced sampling: as many draws as pictures, every class equally often; labels (N,) -> int64 (N,),
    shuffled.

    Draws are dealt to the K classes in turn, on through all epochs: in each epoch, and in all so far, two classes
    differ by one draw at most, which is what is left over where K does not divide N. A class deals its pictures in a
    random order, and once all have been drawn, in another; the next epoch goes on where it stopped, so that a large
    class is seen whole too. Where an epoch draws picture i again, it is i + N the second time, i + 2N the third: its
    index is the remainder modulo N, and each time it is augmented anew.
    """
    if labels.dim() != 1:
        raise ConvatlasError("data.sampling = balanced needs one class per image, and these have several labels or "
                             "label maps; set it to all")
    count = len(labels)
    classes, sizes = torch.unique(labels, return_counts=True)
    members = torch.split(labels.argsort(stable=True), sizes.tolist())
    begin, end = epoch * count, (epoch + 1) * count             # of this epoch's draws, counted through all epochs
    draws = []
    for number, own in enumerate(members):
        turns = torch.arange(begin + (number - begin) % len(classes), end, len(classes)) // len(classes)
        rounds = turns // len(own)
        first, last = int(rounds[0]), int(rounds[-1])
        orders = torch.cat([own[permutation(len(own), seed, number, again)] for again in range(first, last + 1)])
        draws.append(orders[turns - first * len(own)] + (rounds - first) * count)
    return torch.cat(draws)[permutation(count, seed, epoch)]
