"""Reach of a network: what it needs around a pixel, and in memory, measured on an image of nothing and on the meta
device.
"""

import warnings
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..engine.memory import free_bytes
from ..net.model import meta_state
from ..net.segmenter import Segmenter, Whole

# of the free memory that a batch of tiles may take: the image, the scores and torch's workspaces come on top
SHARE = 0.25
# pixels along a tile's side: from there on larger ones save little, and spoil the processor's caches
LARGEST = 2048


def margin_of(net: Segmenter, side: int, phase: int) -> int | None:
    """Scores at the end of a tile that depend on what is beyond it; None if their number is not less than `side` −
    `phase`.

    Zero padding aside, a score depends on a pixel exactly if it is not a number once the pixel is not: one pass over a
    strip with NaN in its first, and one with NaN in its last `phase` rows, shows how far that spreads, whatever the
    weights are. Fast convolution algorithms would spread it further, so they are off.
    """
    like = next(net.parameters())
    strips = like.new_zeros(2, net.in_chans, side, next(s for s in range(phase, 64 * phase, phase)
                                                        if net.accepts((side, s))))
    strips[0, :, :phase] = strips[1, :, -phase:] = torch.nan
    with (torch.inference_mode(), warnings.catch_warnings(action="ignore"),     # oneDNN warns of flags that nobody set
          torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False)):
        spoilt = Whole(net)(strips).isnan().any(dim=3).any(dim=1)
    reached = max(int(spoilt[0].sum()), int(spoilt[1].sum()))
    return None if reached == side else reached - phase


def tile_for_memory(net: Segmenter, batch_size: int = 1) -> int:
    """The side of the largest tiles of which a batch may be computed at once where the network is, at most `LARGEST`.
    """
    least = 512 + (net.rest - 512) % net.step
    device = next(net.parameters()).device
    free = free_bytes(device)
    per_pixel = peak_bytes(net, (least, least)) / least**2
    return min(int((SHARE * free / (batch_size * per_pixel)) ** 0.5), LARGEST)


def peak_bytes(net: Segmenter, size: tuple[int, int]) -> int:
    """The most memory that tensors take at once while `net` computes the scores of one image (height, width), its
    weights apart.
    """
    like = next(net.parameters())
    state = meta_state(net, "net.")
    live = _Live()
    with torch.no_grad(), live:
        functional_call(Whole(net), state, (torch.empty(1, net.in_chans, *size, device="meta", dtype=like.dtype),))
    return live.peak


class _Live(TorchDispatchMode):     # type: ignore[no-untyped-call]
    """While active: bytes of the tensors that operations have made and that are still there, and the most there were.
    """

    def __init__(self) -> None:
        super().__init__()      # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self.known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.untyped_storage() not in self.known:
                storage = tensor.untyped_storage()
                self.known.add(storage)
                self.live += storage.nbytes()
                weakref.finalize(storage, self._freed, storage.nbytes())
        self.peak = max(self.peak, self.live)
        return out

    def _freed(self, count: int) -> None:
        self.live -= count
