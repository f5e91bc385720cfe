"""Listeners: the parts of training that carry a state of their own beside the loop."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import ClassVar

from torch import Tensor


class Listener:
    """The hooks of the training loop, which do nothing here; a listener fills those it needs.

    `fit` calls each of them for all listeners in their order. Epochs and steps are counted from 0.
    """

    name: ClassVar[str]     # a checkpoint keeps `tensors` as NAME.KEY

    def start(self) -> None:
        """Before the first step of a new run."""

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Instead of `start`, in a resumed run: go on from a checkpoint's `tensors`; the network is restored."""

    def tensors(self) -> Mapping[str, Tensor]:
        """The state for a checkpoint, the same in all processes or sharded (FSDP2)."""
        return {}

    def before_epoch(self, epoch: int, step: int) -> None:
        """Before an epoch's first batch, in training mode; `step` is 0, or where a resumed run goes on."""

    def before_step(self, epoch: int, step: int) -> None:
        """Before each step: its batch is there, and nothing has been computed."""

    def after_step(self, done: int) -> None:
        """After each step, also one that was left out; `done` of the run are behind."""

    def validating(self) -> AbstractContextManager[None]:
        """Around each validation: the network inside is judged, and kept if it is the best so far."""
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
