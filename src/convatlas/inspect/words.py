"""Names of layers in a drawing."""

from typing import Literal, NamedTuple

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


def _conv(module: nn.Conv2d) -> Word:
    stride, groups = max(module.stride), module.groups
    dilated = f", dilated {max(module.dilation)}" if max(module.dilation) > 1 else ""
    if groups == module.in_channels > 1:
        return Word(f"depthwise {_by(module.kernel_size)}{dilated}", "depthwise", stride)
    return Word(f"conv {_by(module.kernel_size)}{dilated}" + (f", {groups} groups" if groups > 1 else ""), "conv",
                stride)


def _single(y: Tensor) -> bool:
    return y.ndim == 2 or y.shape[2:].numel() == 1


def _both(size: int | tuple[int, ...]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _by(size: int | tuple[int, ...]) -> str:
    return "×".join(map(str, _both(size)))
