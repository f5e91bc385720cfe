"""The handwritten digits that come with the package."""

from importlib.resources import files

import numpy as np
import torch

from .classes import DIGITS
from .images import Source, Subset, Tensors


def read_digits() -> Source:
    """1 797 digits, uint8 (1, 8, 8); the 360 for validation are those that `digits/validation.txt` lists."""
    path = files(__package__) / "digits" / "digits.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        counts, labels = archive["images"], archive["labels"]
    images = np.rint(counts[:, None] * (255 / 16)).astype(np.uint8)     # 0..16 set pixels of a 4×4 block
    digits = Tensors(torch.from_numpy(images), torch.from_numpy(labels), "digits")
    held = torch.zeros(len(digits), dtype=torch.bool)
    held[validation_indices()] = True
    train, val = (Subset(digits, part.nonzero().flatten()) for part in (~held, held))
    return Source("digits", DIGITS, train, val, parted=True, layout="digits that come along")


def validation_indices() -> list[int]:
    """The indices held out, rising."""
    text = (files(__package__) / "digits" / "validation.txt").read_text(encoding="utf-8")
    return [int(word) for line in text.splitlines() if not line.startswith("#") for word in line.split()]
