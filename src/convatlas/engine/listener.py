"""Listeners: the parts of training that carry a state of their own beside the loop."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import ClassVar

from torch import Tensor


class Listener:
    """The hooks of the training loop, which do nothing here; a listener fills those it needs.

    `fit` calls each of them for all listeners in their order. Epochs and steps are counted from 0.
    """

    name: ClassVar[str] = ""        # a checkpoint keeps `tensors` as NAME.KEY; listeners without tensors need none

    def start(self) -> None:
        """Before the first step of a new run."""

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Instead of `start`, in a resumed run: `tensors` as they were in the checkpoint. The network is restored already."""

    def tensors(self) -> Mapping[str, Tensor]:
        """The state for a checkpoint, the same in all processes or sharded (FSDP2)."""
        return {}

    def before_epoch(self, epoch: int, step: int) -> None:
        """Training mode has been set for an epoch, which goes on from `step`: 0, unless the run was resumed within the epoch."""

    def before_step(self, epoch: int, step: int) -> None:
        """A batch is there, and nothing is computed of it yet."""

    def after_step(self, done: int) -> None:
        """`done` optimiser steps of the run are behind, with those left out."""

    def validating(self) -> AbstractContextManager[None]:
        """Around each validation: what is in the network inside is judged and, if it is the best so far, kept."""
        return nullcontext()

    def end(self) -> None:
        """After the last epoch of the run."""


@contextmanager
def validation(listeners: Sequence[Listener]) -> Iterator[None]:
    """The listeners' `validating`, the last of them outermost."""
    with ExitStack() as stack:
        for listener in reversed(listeners):
            stack.enter_context(listener.validating())
        yield
