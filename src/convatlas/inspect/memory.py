"""Peak memory of predicting and of training, predicted without running: every tensor is made on the meta device and
counted.

No memory is used, so that a batch can be tried which no machine here would hold. What a kernel borrows inside itself (a
convolution's workspace, the optimiser's) is not seen.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..engine.auxiliary import WithAuxiliary, losses_of
from ..errors import ConvatlasError
from ..net.model import Convnet, by, meta_state, pair
from ..run import Optim

#                optimiser → tensors that it keeps beside each weight, momentum left out of those that may have none
STATES = {"sgd": 0, "sgd_caffe": 1, "adam": 2, "adamw": 2, "rmsprop": 1, "rmsprop_tf": 2, "lm": 1}


@dataclass(frozen=True)
class Memory:
    """Bytes, for one batch."""

    batch_size: int
    weights: int                # parameters and buffers
    images: int                 # the batch itself
    gradients: int              # one per trainable parameter, at the end of the backward pass
    states: int                 # what the optimiser keeps from step to step
    inference: int              # peak of a prediction: weights, images and the most that lives at once
    # peak of a training step: weights, images, states and the most that lives at once, gradients included
    training: int
    # by module name: what its own operations make in the forward pass of training; views make nothing
    made: dict[str, int]
    kept: dict[str, int]        # of these, what stays for the backward pass


def memory(model: Convnet, batch_size: int = 32, image_size: int | tuple[int, int] | None = None,
           optim: Optim | None = None) -> Memory:
    """Peak memory of a batch of `batch_size` images in the weights' own precision; `optim` is the optimiser (default:
    SGD with momentum). A network set to recompute (`set_grad_checkpointing`) is counted so.

    Raises ConvatlasError for a batch or images that the network cannot be trained on.
    """
    if batch_size < 1:
        raise ConvatlasError(f"a batch of {batch_size} images is refused: it holds at least 1")
    size, optim = pair(image_size or model.image_size), optim or Optim()
    inference = prediction(model, batch_size, size)
    state = meta_state(model)
    images = _images(model, batch_size, size)
    moving = {name for name, weight in model.named_parameters() if weight.requires_grad}
    weights = [tensor.requires_grad_() for name, tensor in state.items() if name in moving]
    seen: list[dict[str, int]] = []         # by owner: what was kept, and what was made, when the forward pass was over
    with _mode(model, training=True), Live([images, *state.values()]) as training, _named(model, training):
        def backward(scores: Tensor) -> tuple[Tensor | None, ...]:
            seen.extend((training.by_owner(), dict(training.made)))
            loss = losses_of(model, scores, _targets(model, scores), _loss)[1]
            return torch.autograd.grad(loss.mean(), weights, allow_unused=True)

        step = _Step(WithAuxiliary(model) if model.aux else _Net(model), backward)
        try:
            # held until the optimiser has used them
            gradients = functional_call(step, {f"outer.net.{name}": tensor for name, tensor in state.items()},
                                        (images,))
        except ValueError as error:         # BatchNorm on one value per channel
            images_are = f"a batch of {batch_size} image(s) of {by(size)}"
            raise ConvatlasError(f"{model.name} cannot be trained on {images_are}: {error}; take larger batches or "
                                 "images") from error
    kept, made = seen
    movable, fixed = _bytes(weights), _bytes([images, *state.values()])
    states = movable * (STATES[optim.name] + (optim.name in ("sgd", "rmsprop") and optim.momentum > 0))
    return Memory(batch_size, fixed - _bytes([images]), _bytes([images]), _bytes(g for g in gradients if g is not None),
                  states, inference, fixed + states + training.peak, made, kept)


def prediction(model: Convnet, batch_size: int = 1, image_size: int | tuple[int, int] | None = None) -> int:
    """Peak bytes of predicting a batch: weights, images and the most that lives at once.

    Raises ConvatlasError for images that the network does not take.
    """
    size = pair(image_size or model.image_size)
    model.check_image_size(size)
    state, images = meta_state(model), _images(model, batch_size, size)
    with _mode(model, training=False), torch.no_grad(), Live([images, *state.values()]) as live:
        functional_call(model, state, (images,))
    peak: int = live.peak
    return _bytes([images, *state.values()]) + peak


class Live(TorchDispatchMode):       # type: ignore[no-untyped-call]
    """While active: bytes of the tensors made since, now and at most, by the owner that was named when each was made.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()      # type: ignore[no-untyped-call]
        self.known = list(known)                                    # not counted, nor are views of them
        self.alive: dict[int, tuple[str, int]] = {tensor.untyped_storage()._cdata: ("", 0) for tensor in self.known}
        self.owners = [""]
        self.made: Counter[str] = Counter()
        self.now = self.peak = 0

    def enter(self, owner: str, *_: object) -> None:
        """A hook: tensors made from here on belong to `owner`."""
        self.owners.append(owner)

    def leave(self, *_: object) -> None:
        """Back to the owner before; a hook."""
        self.owners.pop()

    def by_owner(self) -> dict[str, int]:
        """Living tensors, by their owner."""
        sums: Counter[str] = Counter()
        for owner, size in self.alive.values():
            sums[owner] += size
        return dict(sums)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size, owner = storage._cdata, storage.nbytes(), self.owners[-1]
        if key not in self.alive:
            self.alive[key] = owner, size
            self.made[owner] += size
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self.now -= self.alive.pop(key)[1]


@contextmanager
def _named(model: nn.Module, live: Live) -> Iterator[None]:
    """Owners of tensors: one made inside a module's forward pass, and not inside a module of its own, belongs to it."""
    hooks = []
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(partial(live.enter, name)))
        hooks.append(module.register_forward_hook(live.leave))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    before = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, mode in before.items():
            module.training = mode


class _Net(nn.Module):
    """The network under the name that its side classifiers' wrapper gives it."""

    def __init__(self, net: Convnet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.net(x)
        return scores


class _Step(nn.Module):
    """A training step up to its gradients, in one call, since recomputation looks for the same weights once more."""

    def __init__(self, outer: nn.Module, backward: Callable[[Tensor], tuple[Tensor | None, ...]]) -> None:
        super().__init__()
        self.outer, self.backward = outer, backward

    def forward(self, images: Tensor) -> tuple[Tensor | None, ...]:
        return self.backward(self.outer(images))


def _images(model: Convnet, batch_size: int, size: tuple[int, int]) -> Tensor:
    return torch.empty(batch_size, model.in_chans, *size, device="meta", dtype=next(model.parameters()).dtype)


def _targets(model: Convnet, scores: Tensor) -> Tensor:
    """Class 0 for every image, or for every pixel of a network that segments."""
    one = scores[0] if model.aux else scores
    return torch.zeros(one.shape[0], *one.shape[2:], dtype=torch.long, device="meta")


def _loss(scores: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(scores, targets, reduction="none")


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
