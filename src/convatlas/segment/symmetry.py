"""Test-time augmentation: the mean of what a network says of an image turned and mirrored.

The U-Net paper averages over "7 rotated versions of the input data" and does not say which; a square has eight
symmetries, four of them rotations. `all` takes the eight, `rotations7` those seven that are not the image itself.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Augmentation = Literal["none", "flips", "rotations", "rotations7", "all"]


class Symmetry(NamedTuple):
    """Quarter turns to the left, then perhaps mirrored left to right."""

    turns: int
    mirrored: bool

    def apply(self, x: Tensor) -> Tensor:
        """(…, H, W) turned; (…, W, H) after one or three turns."""
        x = torch.rot90(x, self.turns, (-2, -1))
        return x.flip(-1) if self.mirrored else x

    def undo(self, x: Tensor) -> Tensor:
        """Undo `apply`."""
        x = x.flip(-1) if self.mirrored else x
        return torch.rot90(x, -self.turns, (-2, -1))


EIGHT = tuple(Symmetry(turns, mirrored) for mirrored in (False, True) for turns in range(4))
CHOICES: dict[Augmentation, tuple[Symmetry, ...]] = {
    "none":       EIGHT[:1],
    "flips":      (EIGHT[0], EIGHT[2], EIGHT[4], EIGHT[6]),     # as it is, both ways, left to right, top to bottom
    "rotations":  EIGHT[:4],
    "rotations7": EIGHT[1:],
    "all":        EIGHT,
}


def averaged(predict: Callable[[Tensor], Tensor], which: Augmentation) -> Callable[[Tensor], Tensor]:
    """`predict`, (n, C, h, w) -> (n, K, h', w'), as the mean over symmetries, each result turned back."""
    chosen = CHOICES[which]

    def mean(x: Tensor) -> Tensor:
        total = chosen[0].undo(predict(chosen[0].apply(x)))
        for symmetry in chosen[1:]:
            total = total + symmetry.undo(predict(symmetry.apply(x)))
        return total / len(chosen)

    return predict if which == "none" else mean
