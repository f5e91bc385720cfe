"""The digest of a network's weights, by which files know whose they are."""

import hashlib

import torch
from torch import nn


def weights_digest(model: nn.Module, *, named: bool = True) -> "hashlib._Hash":
    """SHA-256 over the state dict: each tensor's bytes, and unless `named` is off its name, type and shape before them.

    It may be fed further. Journals of `segment` hold the digest of the bytes alone, and unfinished ones must go on.
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if named:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest
