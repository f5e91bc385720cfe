"""Recomputation, also called gradient checkpointing: what a part computes on its way is thrown away, and computed again
in the backward pass, for less memory (Chen et al. 2016).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(compute: Callable[..., Tensor], *maps: Tensor, within: nn.Module) -> Tensor:
    """`compute(*maps)`, of which only `maps` are kept; BatchNorm layers in `within` see the batch once, not twice."""
    y: Tensor = checkpoint(compute, *maps, use_reentrant=False, context_fn=lambda: (nullcontext(), _still(within)))
    return y


@contextmanager
def _still(module: nn.Module) -> Iterator[None]:
    """Running statistics held still while the same batch passes again."""
    norms = [(each, each.momentum, each.num_batches_tracked, each.num_batches_tracked.clone())
             for each in module.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)
             and each.num_batches_tracked is not None]
    for norm, _, _, _ in norms:
        norm.momentum = 0.0         # moves nothing, and saves the same tensors as the first pass
    try:
        yield
    finally:
        for norm, momentum, counter, count in norms:
            norm.momentum = momentum
            counter.copy_(count)
