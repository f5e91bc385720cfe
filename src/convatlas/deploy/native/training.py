"""Depthwise convolutions of a training step by the native kernels, as operators of torch: forward, input gradient and
weight gradient, which differentiate as often as is asked, compile and export.

The kernels compute float32 on the CPU; everything else is torch's own, in the same operators. `take` lets a network's
layers use them, and they stay what they are: an exported network has standard convolutions.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from ...engine.threads import small
from ...errors import ConvatlasError
from ...run import Train
from .build import kernels, names_in, state

WHATS = ("forward", "input_gradient", "weight_gradient")
COUNTS = ("what", "n", "c", "h", "w", "oh", "ow", "kh", "kw", "stride", "ph", "pw", "groups")
STEPS = ("map_steps", "result_steps")
POINTERS = ("map", "results", "weight", "bias", "partial")
AREA = 25           # taps of the smallest kernel that is computed faster than by torch (benchmarks/large_kernels.py)
# Images whose weight gradients are added up by themselves: enough for many threads where there are few channels
UNITS, CHANNELS = 64, 16

M = TypeVar("M", bound=nn.Module)


class Depthwise(ctypes.Structure):
    """`Depthwise` of kernels/depthwise_call.h."""

    _fields_ = [*((name, ctypes.c_int64) for name in COUNTS), *((name, ctypes.c_int64 * 4) for name in STEPS),
                *((name, ctypes.c_void_p) for name in POINTERS)]


@cache
def check_order() -> None:
    """Raise ConvatlasError where the kernels' fields stand in another order than here."""
    theirs = [name.lower() for name in names_in("struct Depthwise")]
    if theirs != [*COUNTS, *STEPS, *POINTERS] or [name.lower() for name in names_in("enum What")] != list(WHATS) \
            or kernels().convatlas_depthwise_size() != ctypes.sizeof(Depthwise):
        raise ConvatlasError("the native kernels' depthwise convolution of training and convatlas.deploy.native are of "
                             "two versions; install convatlas anew")


# -- layers ------------------------------------------------------------------------------------------------------------


class KernelConv2d(nn.Conv2d):
    """A depthwise convolution that the kernels compute where they can: float32, on the CPU, in training and validation.

    To autocast, export and tracing it is the `nn.Conv2d` that it was made from.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H/stride, W/stride)."""
        if (not _ours(x, self.weight) or x.ndim != 4 or torch.is_autocast_enabled("cpu")
                or torch.compiler.is_exporting()
                or torch.jit.is_tracing()):     # type: ignore[attr-defined, no-untyped-call]
            return super().forward(x)
        found: Tensor = depthwise(x, self.weight, self.bias, self.stride[0], self.padding)
        return found


def suits(layer: nn.Module) -> bool:
    """True for a depthwise convolution of a kernel that is large enough to gain."""
    return (type(layer) is nn.Conv2d and 1 < layer.groups == layer.in_channels == layer.out_channels
            and layer.dilation == (1, 1) and layer.stride in ((1, 1), (2, 2)) and layer.padding_mode == "zeros"
            and not isinstance(layer.padding, str) and prod(layer.kernel_size) >= AREA)


def take(model: M) -> M:
    """The same network, every layer of which that suits them the kernels compute. Names and tensors stay."""
    for layer in model.modules():
        if suits(layer):
            layer.__class__ = KernelConv2d
    return model


def decide(train: Train, model: nn.Module, macs: int, device: torch.device, tell: Callable[[str], None],
           going: bool = False) -> Literal["auto", "native", "torch"]:
    """`train.depthwise` with auto decided, for steps of `macs` multiply-adds; told where the kernels are missing.

    A run that goes on keeps what it began with, and one from before the setting existed keeps torch; auto stays where
    no layer suits. Raises ConvatlasError where native is asked of a new run and cannot be had.
    """
    wanted = train.depthwise
    if going and wanted == "auto":
        return "torch"
    if wanted == "torch" or not any(map(suits, model.modules())):
        return wanted
    if wanted == "auto" and (device.type != "cpu" or train.amp != "off" or small(macs, device)):
        return "torch"
    try:
        if state()["from"] == "compiled at first use":
            tell("The native kernels are compiled for this processor, once, which takes up to a minute.")
        kernels()
    except ConvatlasError as error:
        if wanted == "native" and not going:
            raise ConvatlasError(f"train.depthwise = native: {error}") from error
        tell(f"Depthwise convolutions are torch's own, which is slower: {error}."
             + (" This run began with the native kernels: from here on its sums differ in their last bits."
                if going else ""))
        return "torch"
    return "native"


# -- operators ---------------------------------------------------------------------------------------------------------


@torch.library.custom_op("convatlas::depthwise", mutates_args=())
def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: Sequence[int]) -> Tensor:
    """Depthwise convolution: (N, C, H, W) with a weight (C, 1, KH, KW) and a bias (C) or None; zeros are around the
    map.

    The result lies in memory as `x` does, channels last or first.
    """
    out = _like(x, _size(x, weight.shape[2:], stride, padding))
    if _ours(x, weight):
        _run("forward", x, out, weight, bias, stride, padding)
        return out
    return out.copy_(torch.ops.aten.convolution(x, weight, bias, [stride] * 2, padding, [1, 1], False, [0, 0],
                                                len(weight)))


@torch.library.custom_op("convatlas::depthwise_input_gradient", mutates_args=())
def input_gradient(grad: Tensor, weight: Tensor, size: Sequence[int], stride: int, padding: Sequence[int]) -> Tensor:
    """Gradient of `depthwise` with respect to a map of `size` (H, W), from that of its results."""
    out = _like(grad, size)
    if _ours(grad, weight):
        _run("input_gradient", out, grad, weight, None, stride, padding)
        return out
    return out.copy_(_torch_gradient(grad, out, weight, stride, padding, (True, False))[0])


@torch.library.custom_op("convatlas::depthwise_weight_gradient", mutates_args=())
def weight_gradient(x: Tensor, grad: Tensor, kernel: Sequence[int], stride: int, padding: Sequence[int]) -> Tensor:
    """Gradient of `depthwise` with respect to a weight of `kernel` (KH, KW), from that of its results."""
    out = x.new_empty(x.shape[1], 1, *kernel)
    if not len(x):
        return out.zero_()
    if _ours(x, grad):
        _run("weight_gradient", x, grad, out, None, stride, padding)
        return out
    return out.copy_(_torch_gradient(grad, x, out, stride, padding, (False, True))[1])


@depthwise.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: Sequence[int]) -> Tensor:
    return _like(x, _size(x, weight.shape[2:], stride, padding))


@input_gradient.register_fake
def _(grad: Tensor, weight: Tensor, size: Sequence[int], stride: int, padding: Sequence[int]) -> Tensor:
    return _like(grad, size)


@weight_gradient.register_fake
def _(x: Tensor, grad: Tensor, kernel: Sequence[int], stride: int, padding: Sequence[int]) -> Tensor:
    return x.new_empty(x.shape[1], 1, *kernel)


# Each operator is linear in both its tensors, and each gradient of one is another of the three.

def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], inputs[1])
    ctx.how = inputs[-2:]


def _depthwise_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (x, weight), wanted = ctx.saved_tensors, ctx.needs_input_grad
    return (input_gradient(grad, weight, x.shape[2:], *ctx.how) if wanted[0] else None,
            weight_gradient(x, grad, weight.shape[2:], *ctx.how) if wanted[1] else None,
            grad.sum((0, 2, 3)) if wanted[2] else None, None, None)


def _input_backward(ctx: Any, again: Tensor) -> tuple[Tensor | None, ...]:
    (grad, weight), wanted = ctx.saved_tensors, ctx.needs_input_grad
    return (depthwise(again, weight, None, *ctx.how) if wanted[0] else None,
            weight_gradient(again, grad, weight.shape[2:], *ctx.how) if wanted[1] else None, None, None, None)


def _weight_backward(ctx: Any, again: Tensor) -> tuple[Tensor | None, ...]:
    (x, grad), wanted = ctx.saved_tensors, ctx.needs_input_grad
    return (input_gradient(grad, again, x.shape[2:], *ctx.how) if wanted[0] else None,
            depthwise(x, again, None, *ctx.how) if wanted[1] else None, None, None, None)


depthwise.register_autograd(_depthwise_backward, setup_context=_keep)
input_gradient.register_autograd(_input_backward, setup_context=_keep)
weight_gradient.register_autograd(_weight_backward, setup_context=_keep)


# Twice the multiply-adds, those with zeros around the map too, as torch counts a convolution's.

@register_flop_formula(torch.ops.convatlas.depthwise)
def _flops(x: Sequence[int], weight: Sequence[int], *how: Any, out_shape: Sequence[int]) -> int:
    return 2 * prod(out_shape) * prod(weight[2:])


@register_flop_formula(torch.ops.convatlas.depthwise_input_gradient)
def _input_flops(grad: Sequence[int], weight: Sequence[int], *how: Any, out_shape: Sequence[int]) -> int:
    return 2 * prod(grad) * prod(weight[2:])


@register_flop_formula(torch.ops.convatlas.depthwise_weight_gradient)
def _weight_flops(x: Sequence[int], grad: Sequence[int], *how: Any, out_shape: Sequence[int]) -> int:
    return 2 * prod(grad) * prod(out_shape[2:])


# -- what they are made of ---------------------------------------------------------------------------------------------


def _ours(one: Tensor, other: Tensor) -> bool:
    return one.device.type == other.device.type == "cpu" and one.dtype == other.dtype == torch.float32


def _like(x: Tensor, size: Sequence[int]) -> Tensor:
    """Room for maps of `size`, in the order of dimensions that `x` has."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.empty((*x.shape[:2], *size), dtype=x.dtype, device=x.device,
                       memory_format=torch.channels_last if last else torch.contiguous_format)


def _size(x: Tensor, kernel: Sequence[int], stride: int, padding: Sequence[int]) -> list[int]:
    """Rows and columns of the results."""
    return [(x.shape[2 + i] + 2 * padding[i] - kernel[i]) // stride + 1 for i in (0, 1)]


def _torch_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: Sequence[int],
                    wanted: tuple[bool, bool]) -> Any:
    return torch.ops.aten.convolution_backward(grad, x, weight, None, [stride] * 2, padding, [1, 1], False, [0, 0],
                                               len(weight), [*wanted, False])


def _run(what: str, x: Tensor, results: Tensor, weight: Tensor, bias: Tensor | None, stride: int,
         padding: Sequence[int]) -> None:
    check_order()
    (n, c, h, w), (kh, kw) = x.shape, weight.shape[2:]
    if (weight.shape[:2] != (c, 1) or results.shape != (n, c, *_size(x, (kh, kw), stride, padding))
            or (bias is not None and (bias.shape != (c,) or bias.dtype != x.dtype))):
        raise ValueError(f"a depthwise convolution of {tuple(x.shape)} has no weight {tuple(weight.shape)}, stride "
                         f"{stride}, padding {tuple(padding)} and results {tuple(results.shape)}")
    groups = max(1, min(n, UNITS * CHANNELS // c)) if what == "weight_gradient" else 1
    weight_ = weight.contiguous()
    bias_ = None if bias is None else bias.contiguous()
    partial = x.new_empty(groups * weight.numel() if groups > 1 else 0)
    call: Any = Depthwise(WHATS.index(what), n, c, h, w, *results.shape[2:], kh, kw, stride, *padding, groups)
    call.map_steps, call.result_steps = x.stride(), results.stride()
    for name, tensor in zip(POINTERS, (x, results, weight_, bias_, partial), strict=True):
        setattr(call, name, None if tensor is None else tensor.data_ptr())
    library, threads = kernels(), torch.get_num_threads()
    room = x.new_empty(threads * library.convatlas_depthwise_room(ctypes.byref(call)) + CHANNELS)
    start = room.data_ptr()
    library.convatlas_depthwise(ctypes.byref(call), threads, start + -start % (4 * CHANNELS))
