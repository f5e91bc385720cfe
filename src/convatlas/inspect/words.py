"""Names of layers in a drawing, whether they are modules or torch's functions."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from ..parts import (
    RBF,
    Counted,
    GlobalPool,
    LayerScale,
    LocalConv2d,
    LocalResponseNorm,
    Scale,
    ScaledTanh,
    SqueezeExcite,
    Subsample2d,
    TableConv2d,
    Twice,
    ZeroPad,
)

Kind = Literal["conv", "depthwise", "up", "pool", "fc", "excite", "other"]

EXTRAS: tuple[tuple[type[nn.Module], str], ...] = (     # what is written beside the layer that it follows or precedes
    (nn.BatchNorm2d, "BN"), (nn.BatchNorm1d, "BN"), (nn.LayerNorm, "LN"), (LocalResponseNorm, "LRN"),
    (nn.ReLU6, "ReLU6"), (nn.ReLU, "ReLU"), (nn.SiLU, "swish"), (nn.Hardswish, "h-swish"), (nn.GELU, "GELU"),
    (nn.Tanh, "tanh"),
    (ScaledTanh, "tanh"), (nn.Sigmoid, "sigmoid"), (nn.Hardsigmoid, "h-sigmoid"), (LayerScale, "× γ"),
)


class Word(NamedTuple):
    """A layer that gets a box of its own."""

    text: str
    kind: Kind
    stride: int = 1


def extra(module: nn.Module) -> str | None:
    """A note beside a layer: 'BN', 'ReLU', 'dropout'; None for any other module."""
    if isinstance(module, nn.Dropout):
        return "dropout" if module.p > 0 else None
    if isinstance(module, Scale):
        return f"× {module.factor:g}"
    return next((word for kind, word in EXTRAS if isinstance(module, kind)), None)


def layer(module: nn.Module, x: Tensor, y: Tensor) -> Word | None:
    """Name of a layer from `x` to `y`; None for one that is not drawn: noted beside others, or of no consequence."""
    if isinstance(module, nn.ConvTranspose2d):
        return Word(f"up-conv {_by(module.kernel_size)}", "up", max(module.stride))
    if isinstance(module, nn.Conv2d):
        return _conv(module)
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        kind = "max" if isinstance(module, nn.MaxPool2d) else "avg"
        return Word(f"{kind}-pool {_by(module.kernel_size)}", "pool", max(_both(module.stride)))
    if isinstance(module, nn.Linear):
        # of ConvNeXt, on (N, H, W, C)
        return Word("fully connected", "fc") if x.ndim == 2 else Word("conv 1×1", "conv")
    if isinstance(module, SqueezeExcite):
        return Word("squeeze-excite", "excite")
    if isinstance(module, GlobalPool | nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        return (None if x.shape == y.shape or x.shape[2:].numel() == 1
                else Word("global avg-pool" if _single(y) else "avg-pool", "pool"))
    if isinstance(module, TableConv2d | LocalConv2d | Subsample2d):
        kernel, stride = module.reach()
        what = {TableConv2d: "conv", LocalConv2d: "local", Subsample2d: "subsample"}[type(module)]
        return Word(f"{what} {kernel}×{kernel}", "pool" if isinstance(module, Subsample2d) else "conv", stride)
    if isinstance(module, RBF):
        return Word("RBF distance", "fc")
    if isinstance(module, ZeroPad):
        return Word("zeros added", "other", module.stride)
    if isinstance(module, Twice):
        return Word("enlarge ×2", "up")
    return Word(type(module).__name__, "other") if isinstance(module, Counted) else None


# -- functions that a `forward` calls itself ---------------------------------------------------------------------------

#   what is written beside the layer that it follows or precedes
NOTED = {"relu": "ReLU", "relu6": "ReLU6", "silu": "swish", "hardswish": "h-swish", "gelu": "GELU", "tanh": "tanh",
         "sigmoid": "sigmoid", "hardsigmoid": "h-sigmoid", "leaky_relu": "leaky ReLU", "elu": "ELU", "selu": "SELU",
         "celu": "CELU", "prelu": "PReLU", "mish": "mish", "softplus": "softplus", "hardtanh": "clipped",
         "clamp": "clipped", "batch_norm": "BN", "layer_norm": "LN", "group_norm": "GN", "instance_norm": "IN",
         "local_response_norm": "LRN", "softmax": "softmax", "log_softmax": "log-softmax", "normalize": "scaled to 1",
         "channel_shuffle": "channels shuffled", "pad": "padded"}
#   of no consequence for a drawing; a sum with what does not come from the image is a bias
SILENT = frozenset({"view", "reshape", "flatten", "unflatten", "permute", "transpose", "contiguous", "clone", "detach",
                    "to", "float", "type_as", "squeeze", "unsqueeze", "identity", "get", "alias", "expand",
                    "expand_as", "add", "iadd", "radd", "sub", "isub", "rsub"})
SCALED = frozenset({"mul", "imul", "rmul", "multiply", "div", "truediv", "itruediv", "true_divide"})
POOLED = frozenset({"mean", "amax"})
#   functions that bring maps together
JOINED: Mapping[str, Literal["add", "concat", "multiply"]] = {
    "add": "add", "iadd": "add", "radd": "add", "cat": "concat", "concat": "concat", "concatenate": "concat",
    "mul": "multiply", "imul": "multiply", "rmul": "multiply", "multiply": "multiply"}


def function(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], x: Tensor, y: Tensor) -> Word | str | None:
    """Layer, note or, where it is of no consequence, nothing ('') for a function of one map; None for one that is not
    known.
    """
    if name in NOTED:
        return NOTED[name]
    if "dropout" in name:
        return "dropout" if _given(args, kwargs, 1, "p", 0.5) else ""
    if name in ("transpose", "permute") and x.ndim == 5:
        return "channels shuffled"
    if name in SILENT or (name in ("cat", "concat", "concatenate") and x.shape == y.shape):
        return ""
    if name in SCALED:
        factor = next((each for each in args if isinstance(each, int | float)), None)
        return "× γ" if factor is None else f"× {1 / factor if 'div' in name else factor:g}"
    if name in ("chunk", "split", "tensor_split", "split_with_sizes", "unbind"):
        return "part of the channels"
    if name == "getitem":
        return "part of the channels" if x.ndim > 1 and y.ndim > 1 and x.shape[1] != y.shape[1] else "cropped"
    if name in POOLED or name.startswith("adaptive_"):
        if x.shape[2:].numel() == 1 or x.shape == y.shape:
            return ""
        kind = "max" if "max" in name else "avg"
        whole = _single(y) and y.shape[:2] == x.shape[:2]
        return Word(f"global {kind}-pool" if whole else f"{kind}-pool", "pool") if whole or y.ndim == 4 else None
    made = LAYERS.get(name)
    return None if made is None else made(args, kwargs, x, y)


def _given(args: tuple[Any, ...], kwargs: Mapping[str, Any], at: int, name: str, default: Any) -> Any:
    found = args[at] if len(args) > at else kwargs.get(name, default)
    return default if found is None or found in ((), []) else found


def _conv_function(args: tuple[Any, ...], kwargs: Mapping[str, Any], x: Tensor, y: Tensor) -> Word:
    weight = _given(args, kwargs, 1, "weight", None)
    stride, dilation, groups = (_given(args, kwargs, at, name, 1) for at, name in (
        (3, "stride"), (5, "dilation"), (6, "groups")))
    return _convolution(tuple(weight.shape[2:]), max(_both(stride)), max(_both(dilation)), groups, x.shape[1])


def _up_function(args: tuple[Any, ...], kwargs: Mapping[str, Any], x: Tensor, y: Tensor) -> Word:
    weight = _given(args, kwargs, 1, "weight", None)
    return Word(f"up-conv {_by(tuple(weight.shape[2:]))}", "up", max(_both(_given(args, kwargs, 3, "stride", 1))))


def _pool_function(kind: str) -> Callable[[tuple[Any, ...], Mapping[str, Any], Tensor, Tensor], Word]:
    def word(args: tuple[Any, ...], kwargs: Mapping[str, Any], x: Tensor, y: Tensor) -> Word:
        kernel = _given(args, kwargs, 1, "kernel_size", 1)
        stride = max(_both(_given(args, kwargs, 2, "stride", kernel)))
        if kind == "avg" and x.shape[2:].numel() > 1 and _single(y):
            return Word("global avg-pool", "pool")
        return Word(f"{kind}-pool {_by(kernel)}", "pool", stride)
    return word


def _linear_function(args: tuple[Any, ...], kwargs: Mapping[str, Any], x: Tensor, y: Tensor) -> Word:
    return Word("fully connected", "fc") if x.ndim == 2 else Word("conv 1×1", "conv")


def _resized(args: tuple[Any, ...], kwargs: Mapping[str, Any], x: Tensor, y: Tensor) -> Word:
    larger = y.shape[-1] / x.shape[-1]
    return Word(f"enlarge ×{larger:.3g}" if larger >= 1 else f"resize ×{larger:.3g}", "up" if larger >= 1 else "pool")


LAYERS: Mapping[str, Callable[[tuple[Any, ...], Mapping[str, Any], Tensor, Tensor], Word]] = {
    "conv2d": _conv_function, "conv_transpose2d": _up_function, "linear": _linear_function,
    "max_pool2d": _pool_function("max"), "avg_pool2d": _pool_function("avg"), "interpolate": _resized,
    "upsample": _resized, "pixel_shuffle": lambda args, kwargs, x, y: Word("pixel shuffle", "up"),
    "pixel_unshuffle": lambda args, kwargs, x, y: Word("pixel unshuffle", "pool", x.shape[-1] // y.shape[-1]),
}


def _conv(module: nn.Conv2d) -> Word:
    return _convolution(_both(module.kernel_size), max(module.stride), max(module.dilation), module.groups,
                        module.in_channels)


def _convolution(kernel: tuple[int, ...], stride: int, dilation: int, groups: int, cin: int) -> Word:
    dilated = f", dilated {dilation}" if dilation > 1 else ""
    if groups == cin > 1:
        return Word(f"depthwise {_by(kernel)}{dilated}", "depthwise", stride)
    return Word(f"conv {_by(kernel)}{dilated}" + (f", {groups} groups" if groups > 1 else ""), "conv", stride)


def _single(y: Tensor) -> bool:
    return y.ndim == 2 or y.shape[2:].numel() == 1


def _both(size: int | tuple[int, ...]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _by(size: int | tuple[int, ...]) -> str:
    return "×".join(map(str, _both(size)))
