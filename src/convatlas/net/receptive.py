"""Receptive fields: which pixels of the input a unit of a map can see, exact through branches, pads and crops.

What looks at the whole image to scale a map (squeeze-and-excitation's gate) is left out, as the literature does.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..parts import Counted, SameConv2d, SameMaxPool2d, keeps


class Axis(NamedTuple):
    """Unit i of a map sees pixels stride·i + low to stride·i + high along one side of the image."""

    stride: int
    low: int
    high: int

    @property
    def size(self) -> int:
        """Pixels seen."""
        return self.high - self.low + 1

    def window(self, kernel: int, stride: int, pad: int) -> "Axis":
        """After a layer whose output reads `kernel` neighbours."""
        first = self.low - self.stride * pad
        return Axis(self.stride * stride, first, self.high + self.stride * (kernel - 1 - pad))

    def whole(self, length: int) -> "Axis":
        """After all `length` units are brought together."""
        return self.window(length, 1, 0)


Sight = tuple[Axis, Axis]           # rows, columns


class Sights(TorchFunctionMode):
    """While active: what every tensor that descends from `image` sees.

    Modules that look further are told by `module`.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        # keeps ids alive
        self.known: dict[int, tuple[Tensor, Sight]] = {id(image): (image, (Axis(1, 0, 0), Axis(1, 0, 0)))}

    def of(self, tensor: Tensor) -> Sight | None:
        """The receptive field of one unit of the tensor; None where that is not a rectangle that moves with the unit.
        """
        found = self.known.get(id(tensor))
        return None if found is None else found[1]

    def module(self, module: nn.Module, x: Tensor, y: Tensor) -> None:
        """Note what `y`, the result of a convolution, pooling or other layer of windows on `x`, sees."""
        before, windows = self.of(x), _windows(module, x)
        if windows is not None:
            self.known.pop(id(y), None)
            if before is not None:
                self._note(y, tuple(axis.window(*window) for axis, window in zip(before, windows, strict=True)))

    def __torch_function__(self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        out = torch.empty_like(args[0]) if keeps(func, args) else func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and id(out) not in self.known:
            self._note(out, self._after(str(getattr(func, "__name__", "")), args, kwargs or {}, out))
        elif isinstance(out, tuple | list):                 # split and chunk: along the channels
            source = self.of(args[0]) if args and isinstance(args[0], Tensor) else None
            for part in out:
                if isinstance(part, Tensor):
                    self._note(part, source)
        return out

    def _note(self, tensor: Tensor, sight: Any) -> None:
        if sight is not None:
            self.known[id(tensor)] = (tensor, sight)

    def _after(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Sight | None:
        inputs = [t for a in args for t in (a if isinstance(a, tuple | list) else [a])
                  if isinstance(t, Tensor) and id(t) in self.known]
        if not inputs:
            return None
        first = self.of(inputs[0])
        assert first is not None
        if name == "pad":
            pad = [*(args[1] if len(args) > 1 else kwargs["pad"]), 0, 0, 0, 0]
            return first[0].window(1, 1, pad[2]), first[1].window(1, 1, pad[0])
        if name == "__getitem__" and isinstance(args[1], tuple):
            rows, columns = (*(i for i in args[1]), slice(None), slice(None))[2:4]
            return _sliced(first[0], rows), _sliced(first[1], columns)
        gathers = name in ("mean", "amax", "sum", "flatten") or "adaptive" in name
        if gathers and inputs[0].ndim == 4 and out.shape[-2:] != inputs[0].shape[-2:]:
            return first[0].whole(inputs[0].shape[2]), first[1].whole(inputs[0].shape[3])
        if "interpolate" in name or "transpose2d" in name:
            return None
        largest = max(inputs, key=lambda t: t.shape[-2:].numel() if t.ndim == 4 else 0).shape
        sights = [self.known[id(t)][1] for t in inputs
                  if t.ndim != 4 or len(largest) != 4 or t.shape[-2:] == largest[-2:]]
        if any(s[i].stride != sights[0][i].stride for s in sights for i in (0, 1)):
            return None
        rows, columns = (Axis(sights[0][i].stride, min(s[i].low for s in sights), max(s[i].high for s in sights))
                         for i in (0, 1))
        return rows, columns


def _sliced(axis: Axis, part: Any) -> Axis:
    if not isinstance(part, slice):
        return axis
    start, step = part.start or 0, part.step or 1
    return Axis(axis.stride * step, axis.low + axis.stride * start, axis.high + axis.stride * start)


def _windows(module: nn.Module, x: Tensor) -> list[tuple[int, int, int]] | None:
    """(kernel, stride, padding before) for rows and columns; None for a layer that looks at one position."""
    if isinstance(module, Counted):
        kernel, stride = module.reach()
        return [(kernel, stride, int(getattr(module, "padding", 0)))] * 2 if kernel > 1 or stride > 1 else None
    if isinstance(module, SameConv2d | SameMaxPool2d):
        sizes, strides, dilations = (_both(v) for v in (module.kernel_size, module.stride, module.dilation))
        extents = [d * (k - 1) + 1 for k, d in zip(sizes, dilations, strict=True)]
        return [(k, s, (k - 1 - (x.shape[2 + i] - 1) % s) // 2)
                for i, (k, s) in enumerate(zip(extents, strides, strict=True))]
    if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        sizes, strides = _both(module.kernel_size), _both(module.stride)
        dilations = (1, 1) if isinstance(module, nn.AvgPool2d) else _both(module.dilation)
        pads = (0, 0) if isinstance(module.padding, str) else _both(module.padding)
        return [(d * (k - 1) + 1, s, p) for k, s, d, p in zip(sizes, strides, dilations, pads, strict=True)]
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d) and x.ndim == 4:
        shares = [(length, goal) for length, goal in zip(x.shape[2:], _both(module.output_size), strict=True)]     # type: ignore[arg-type]
        return [(length, 1, 0) if goal == 1 else (-(-length // goal), max(length // goal, 1), 0)
                for length, goal in shares]
    return None


def _both(size: int | tuple[int, ...]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])

