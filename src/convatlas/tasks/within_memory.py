"""A training step within the memory that is free: recomputed, or a batch computed in parts, where it would not fit.

The prediction is `inspect.memory`'s. What is chosen is kept with the run, so that it goes on with the same sums
wherever it is resumed.
"""

import math
import os
from bisect import bisect_left
from collections.abc import Callable
from functools import cache

from torch import nn

from ..engine.distributed import World, share
from ..engine.least import least_part
from ..engine.memory import free_bytes
from ..errors import ConvatlasError
from ..inspect.memory import memory
from ..net.layers import layer_table
from ..net.model import Convnet, by
from ..run import Run

SHARE = 0.75        # of what is free: a quarter may go to pictures that are kept (data.cache)
KEPT = 6            # times the outputs of a layer table is more than any step keeps: 2.4 is the most that was found
#   what a step takes besides its tensors: kernels' own memory, code that is first loaded, what allocators keep
TIMES, PLUS = 1.25, 2**28


def within_memory(run: Run, model: Convnet, here: World, tell: Callable[[str], None], *, going: bool = False) -> Run:
    """The run with `train.accumulate` and `train.grad_checkpointing` such that a step fits into memory.

    Without BatchNorm the batch is computed in the fewest parts, a power of two, whose gradients add up to the same.
    With it, whose statistics are those of a part, each stage is recomputed first, which changes nothing but time, and
    parts come second, which is told. Where `train.accumulate` is given, or the run goes on, nothing is changed, and a
    step that is predicted not to fit is told. Raises ConvatlasError where not even one image fits.
    """
    return Run.from_yaml(share(here, lambda: _within(run, model, here, tell, going).to_yaml()))


def _within(run: Run, model: Convnet, here: World, tell: Callable[[str], None], going: bool) -> Run:
    local = 1 if here.device.type == "cuda" else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    free = free_bytes(here.device) // local
    images, budget = -(-run.data.batch_size // here.size), SHARE * free
    said = run.train.accumulate
    first = run.change("train.accumulate", said or 1)
    sharded = here.size > 1 and run.train.parallel == "fsdp"        # of which no process holds the whole
    if not free or sharded or _roughly(model, images) < budget:
        return first

    @cache
    def needed(count: int, recompute: bool) -> float:
        before = model.grad_checkpointing
        model.set_grad_checkpointing(recompute)
        try:
            found = memory(model, count, optim=run.optim)
        finally:
            model.set_grad_checkpointing(before)
        # the whole batch lies there, its next one, and those that workers have ready
        batches = (2 + 2 * run.data.workers) * found.images * images // count
        return TIMES * (found.training - found.images) + PLUS + batches

    def told(bytes_: float) -> str:
        return f"{bytes_ / 2**30:.1f} GiB"

    if said is not None or going:
        need = needed(-(-images // (said or 1)), run.train.grad_checkpointing)
        if need > free:
            tell(f"A step of {images} images in {said or 1} part(s) is predicted to take {told(need)}, and "
                 f"{told(free)} are free: the number of parts stays as it is given.")
        return first
    whole = needed(images, run.train.grad_checkpointing)
    if whole <= budget:
        return first
    least = least_part(model, run.train, here.size)
    normed = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    counts = [1]
    while images // (2 * counts[-1]) >= least:
        counts.append(2 * counts[-1])

    def fewest(recompute: bool) -> int:
        """Parts that fit; 0 if even the most do not."""
        place = bisect_left(counts, True, key=lambda parts: needed(-(-images // parts), recompute) <= budget)
        return counts[place] if place < len(counts) else 0

    parts, recompute = 0 if normed or run.train.grad_checkpointing else fewest(False), False
    if not parts:
        parts, recompute = fewest(True) or counts[-1], True
    size = -(-images // parts)
    if needed(size, recompute) > free:
        raise ConvatlasError(
            f"a step of {model.name} on {size} image{'s' * (size > 1)} of {by(model.image_size)} is predicted to take "
            f"{told(needed(size, recompute))}, recomputed and in parts, and {told(free)} are free: set a smaller "
            f"--image-size or take a smaller network (--accumulate {parts} tries it all the same)")
    how = []
    if recompute and not run.train.grad_checkpointing:
        how.append("each stage is recomputed in the backward pass, which changes nothing but time "
                   "(train.grad_checkpointing)")
    if parts > 1:
        same = f"each with BatchNorm's statistics of its {size}" if normed else "whose gradients add up to the same"
        how.append(f"the batch is computed in {parts} parts, {same} (train.accumulate)")
    tell(f"A step of {images} images is predicted to take {told(whole)}, and {told(free)} are free: "
         f"{', and '.join(how)}.")
    return run.change("train.accumulate", parts, "train.grad_checkpointing", recompute)


def _roughly(model: Convnet, images: int) -> float:
    """Bytes that a step cannot exceed, from the layer table alone: the prediction takes seconds, and few steps are near
    to what is free.
    """
    rows = layer_table(model)
    outputs, params = sum(math.prod(row.output) for row in rows), sum(row.params for row in rows)
    return 4.0 * KEPT * (outputs * images + params)
