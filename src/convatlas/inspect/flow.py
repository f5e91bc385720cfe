"""Flow of maps through a network: which modules and functions ran, what each read, and what it made.

Followed are torch's functions, whichever module calls them, so that a join written as `torch.cat` or `+` in a `forward`
is seen as well as one that is a module.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from ..net.model import meta_state
from ..net.receptive import tensors
from ..parts import keeps


@dataclass(eq=False)
class Call:
    """One run of a module, or of one of torch's functions; maps are numbered in the order in which they are made."""

    module: nn.Module | None        # None: a function
    function: str                   # its name, without underscores: 'cat', 'iadd'; empty for a module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    reads: tuple[int, ...]          # maps that descend from the image, in the order of the arguments
    x: Tensor | None = None         # the first of these
    y: Tensor | None = None         # the first that it makes
    makes: tuple[int, ...] = ()
    inside: "list[Call]" = field(default_factory=list)      # calls that a module makes

    def calls(self) -> "Iterator[Call]":
        """The call itself and all inside it, in the order in which they began."""
        yield self
        for call in self.inside:
            yield from call.calls()


def flow(model: nn.Module, image: Tensor) -> Call:
    """The run of `model` on `image`, on the meta device and in eval mode; the model stays as it was."""
    seen = _Seen(image)
    hooks = [hook for module in model.modules() for hook in (
        module.register_forward_pre_hook(seen.begin, with_kwargs=True), module.register_forward_hook(seen.end))]
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad(), seen:
            functional_call(model, meta_state(model), (image,))
    finally:
        for module, mode in training.items():
            module.training = mode
        for hook in hooks:
            hook.remove()
    return seen.open[0].inside[0]


class _Seen(TorchFunctionMode):
    """While active: every call, inside the one that makes it."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.known = {id(image): 0}         # tensor → number of its map: another one after each change in place
        self.alive = [image]                # which keeps ids apart
        self.count = 1
        self.open = [Call(None, "", (), {}, ())]

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.open.append(self._call(module, "", args, kwargs))
        self.open[-2].inside.append(self.open[-1])

    def end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        call = self.open.pop()
        found = [tensor for tensor in tensors(output) if id(tensor) in self.known]
        call.makes = tuple(self.known[id(tensor)] for tensor in found)
        call.y = found[0] if found else None

    def _call(self, module: nn.Module | None, function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        found = [tensor for tensor in tensors((args, kwargs)) if id(tensor) in self.known]
        return Call(module, function, args, kwargs, tuple(self.known[id(tensor)] for tensor in found),
                    found[0] if found else None)

    def __torch_function__(self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        full = str(getattr(func, "__name__", ""))
        call = self._call(None, full.strip("_"), args, kwargs)
        kept = keeps(func, args) and not (kwargs.get("inplace") or any(each is True for each in args[1:]))
        out = args[0] if kept else func(*args, **kwargs)
        if kept and not full.endswith("_"):
            out = out.detach()              # another tensor, with a number of its own
        changed = args[0] if call.function == "setitem" else out
        found = list(tensors(changed))
        if call.reads and found:
            for tensor in found:
                self.known[id(tensor)] = self.count
                self.alive.append(tensor)
                self.count += 1
            call.makes, call.y = tuple(range(self.count - len(found), self.count)), found[0]
            self.open[-1].inside.append(call)
        return out
