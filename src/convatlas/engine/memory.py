"""Out-of-memory errors: advice in training, smaller batches in evaluation."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from .. import run
from ..errors import ConvatlasError
from ..memory import available_bytes
from ..net.answering import Scorer
from .distributed import World

#   what PyTorch's allocators say that raise a plain RuntimeError: of Linux, of Windows, of MPS and of drivers
SAYINGS = ("allocate memory", "not enough memory", "out of memory")


def free_bytes(device: torch.device) -> int:
    """Memory that is free on the device; 0 where nothing says."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_bytes()


def short_of_memory(error: Exception) -> bool:
    """True for an out-of-memory error, on any device."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in SAYINGS)


@contextmanager
def advice(settings: run.Run) -> Iterator[None]:
    """Turn an error for want of memory into what can be done about it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not short_of_memory(error):
            raise
        train, batch = settings.train, settings.data.batch_size
        parts = 2 * (train.accumulate or 1)
        hints = [f"--set train.accumulate={parts} computes the same batch of {batch} in smaller parts"]
        if not train.grad_checkpointing:
            hints.append("--set train.grad_checkpointing=true recomputes instead of keeping")
        if train.amp == "off":
            hints.append("--amp bf16 halves what is kept")
        hints.append(f"--batch-size {max(batch // 2, 1)} or a smaller --image-size needs less (it is another run)")
        raise ConvatlasError(f"memory ran out in a step of {batch} images ({_line(error)}): "
                             + "; ".join(hints)) from error


def scored(model: Scorer, images: Tensor, world: World) -> Tensor:
    """The network's scores of a batch, computed in halves, quarters, … where memory does not hold the whole.

    Not where several processes share the network's weights, which must all do the same, nor for what is no plain batch.
    """
    try:
        return model(images.to(world.device, non_blocking=True)).float()  # type: ignore[no-any-return]
    except (MemoryError, RuntimeError) as error:
        if not short_of_memory(error):
            raise
        if world.size > 1 or not isinstance(images, Tensor) or len(images) < 2:
            raise ConvatlasError(f"memory ran out while images were measured ({_line(error)}): a smaller --image-size "
                                 "needs less, and --device cpu takes the machine's own memory") from error
    # outside: the error holds what it could not finish
    return torch.cat([scored(model, half, world) for half in images.chunk(2)])


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
