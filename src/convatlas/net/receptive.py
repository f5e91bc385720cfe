"""Receptive fields: which pixels of the input a unit of a map can see, exact through branches, pads and crops.

Followed are torch's functions, whichever module calls them. One that is not known here ends what is known: a map's
field is right, or there is none. What looks at the whole image to scale a map (squeeze-and-excitation's gate, the
statistics of a normalisation) is left out, as the literature does.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..parts import Counted, keeps


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


class Seen(NamedTuple):
    """Sight of a tensor's units, and which of its dimensions are rows and columns; None for a side that was gathered.
    """

    sight: Sight
    at: tuple[int | None, int | None]

    def after(self, windows: Sequence[tuple[int, int, int]]) -> "Seen":
        """Through (kernel, stride, padding before) along rows and columns."""
        rows, columns = (axis.window(*window) for axis, window in zip(self.sight, windows, strict=True))
        return Seen((rows, columns), self.at)

    def gathered(self, dims: Iterable[int], shape: Sequence[int], keepdim: bool) -> "Seen":
        """After each of the dimensions has become one unit."""
        dims = {dim % len(shape) for dim in dims}
        axes = [axis.whole(shape[at]) if at in dims and at is not None else axis
                for axis, at in zip(self.sight, self.at, strict=True)]
        return Seen((axes[0], axes[1]), self.at if keepdim else self._moved(
            lambda at: None if at in dims else at - sum(dim < at for dim in dims)))

    def moved(self, order: Sequence[int]) -> "Seen":
        """After dimension order[i] has become dimension i."""
        return Seen(self.sight, self._moved(order.index))

    def _moved(self, place: Callable[[int], int | None]) -> tuple[int | None, int | None]:
        rows, columns = (None if at is None else place(at) for at in self.at)
        return rows, columns


class Sights(TorchFunctionMode):
    """While active: what every tensor that descends from `image` sees.

    Modules that look further are told by `module`.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        # keeps ids alive
        self.known: dict[int, tuple[Tensor, Seen]] = {
            id(image): (image, Seen((Axis(1, 0, 0), Axis(1, 0, 0)), (2, 3)))}

    def of(self, tensor: Tensor) -> Sight | None:
        """The receptive field of one unit of the tensor; None where that is not a rectangle that moves with the unit,
        or not known.
        """
        found = self.known.get(id(tensor))
        return None if found is None else found[1].sight

    def module(self, module: nn.Module, x: Tensor, y: Tensor) -> None:
        """Note what `y` sees, if `module`, which made it of `x`, says so itself."""
        before = self.known.get(id(x))
        if isinstance(module, Counted) and before is not None:
            kernel, stride = module.reach()
            windows = [(kernel, stride, int(getattr(module, "padding", 0)))] * 2
            self._note(y, before[1].after(windows) if (kernel, stride) != (1, 1) else before[1])

    def __torch_function__(self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        inputs = [(tensor, self.known[id(tensor)][1]) for tensor in tensors((args, kwargs)) if id(tensor) in self.known]
        shapes = [tuple(tensor.shape) for tensor, _ in inputs]      # as they are before it
        full = str(getattr(func, "__name__", ""))
        name = full.strip("_")
        kept = keeps(func, args)
        out = args[0] if kept else func(*args, **kwargs)
        if kept and not full.endswith("_"):
            out = out.detach()      # another tensor, which sees for itself
        if name == "setitem":
            self.known.pop(id(args[0]), None)
        if inputs and not name.startswith("get"):
            for tensor in tensors(out):        # several, of split and of max
                self._note(tensor, _after(name, args, kwargs, inputs, shapes, tensor))
        elif inputs and name == "getitem":
            self._note(out, _item(inputs[0][1], args[1], shapes[0]) if args[0] is inputs[0][0] else None)
        return out

    def _note(self, tensor: Tensor, seen: Seen | None) -> None:
        self.known.pop(id(tensor), None)
        if seen is not None:
            self.known[id(tensor)] = (tensor, seen)


def tensors(values: Any) -> Iterator[Tensor]:
    """The tensors among nested values."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        yield from tensors(list(values.values()))
    elif isinstance(values, tuple | list):
        for value in values:
            yield from tensors(value)


# -- what functions do to a field ------------------------------------------------------------------------------------

#   every unit of the result reads the units at its own place
POINTWISE = frozenset({
    "abs", "add", "addcdiv", "addcmul", "alpha_dropout", "and", "batch_norm", "bernoulli", "bool", "ceil", "celu",
    "clamp", "clamp_max", "clamp_min", "clip", "clone", "contiguous", "cos", "cpu", "detach", "div", "double",
    "dropout", "dropout1d", "dropout2d", "dropout3d", "elu", "eq", "erf", "exp", "expm1", "feature_alpha_dropout",
    "float", "floor", "floor_divide", "floordiv", "fmod", "ge", "gelu", "group_norm", "gt", "half", "hardshrink",
    "hardsigmoid", "hardswish", "hardtanh", "iadd", "idiv", "imul", "instance_norm", "ipow", "isub", "itruediv",
    "layer_norm", "le", "leaky_relu", "lerp", "local_response_norm", "log", "log1p", "log2", "logical_and",
    "logical_not", "logical_or", "logsigmoid", "lt", "masked_fill", "maximum", "minimum", "mish", "mod", "mul",
    "multiply", "ne", "neg", "negative", "or", "positive", "pow", "prelu", "radd", "rdiv", "reciprocal", "relu",
    "relu6", "remainder", "rms_norm", "rmul", "round", "rpow", "rrelu", "rsqrt", "rsub", "rtruediv", "selu", "sgn",
    "sigmoid", "sign", "silu", "sin", "softplus", "softshrink", "softsign", "sqrt", "square", "sub", "subtract",
    "tan", "tanh", "tanhshrink", "threshold", "to", "true_divide", "truediv", "trunc", "type", "type_as", "where",
})
SCALES = frozenset({"div", "imul", "itruediv", "mul", "multiply", "rmul", "true_divide", "truediv"})
#   along channels only: over rows or columns they look at every unit
ALONG = frozenset({"softmax", "log_softmax", "cumsum", "glu"})
GATHERS = frozenset({"mean", "sum", "amax", "amin", "max", "min", "var", "std", "logsumexp", "prod", "norm"})


def _after(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], inputs: "list[tuple[Tensor, Seen]]",
           shapes: Sequence[tuple[int, ...]], out: Tensor) -> Seen | None:
    """The sight of a function's result."""
    seen, shape = inputs[0][1], shapes[0]
    rest = args[1:]
    if name in POINTWISE or (name in ("max", "min") and rest and isinstance(rest[0], Tensor)):
        return _together(inputs, shapes, tuple(out.shape), gates=name in SCALES)
    if not args or not isinstance(args[0], Tensor | tuple | list):
        return None
    if name in ("cat", "concat", "concatenate"):
        dim = _given("dim", rest, kwargs, 0, 0) % out.ndim
        return None if dim in seen.at else _together(inputs, shapes, tuple(out.shape))
    if args[0] is not inputs[0][0]:
        return None                     # a map as a weight
    if name in WINDOWS:
        windows = WINDOWS[name](rest, kwargs, shape) if len(shape) == 4 and set(seen.at) == {2, 3} else None
        # in the order of rows and columns, which a transposition may have exchanged
        return None if windows is None else seen.after(windows if seen.at == (2, 3) else windows[::-1])
    if name in MOVES:
        return MOVES[name](seen, rest, kwargs, shape, tuple(out.shape))
    if name in ALONG:
        dim = _given("dim", rest, kwargs, 0, 1 if name != "glu" else -1)
        return None if dim is None or dim % len(shape) in seen.at else seen
    if name in GATHERS:
        dims = _given("dim", rest, kwargs, 0, None)
        dims = range(len(shape)) if dims is None else [dims] if isinstance(dims, int) else dims
        if not all(isinstance(dim, int) for dim in dims):
            return None
        return seen.gathered(dims, shape, len(out.shape) == len(shape))
    if name in ("linear", "matmul"):    # sums over the last dimension; a product of two maps sees no rectangle
        return seen if len(inputs) == 1 and len(shape) - 1 not in seen.at and out.ndim == len(shape) else None
    return None


def _together(inputs: "Sequence[tuple[Tensor, Seen]]", shapes: Sequence[tuple[int, ...]], shape: tuple[int, ...],
              gates: bool = False) -> Seen | None:
    """The union of what the inputs see; among factors gates, whose rows and columns are gathered, are left out."""
    full = [seen for (_, seen), own in zip(inputs, shapes, strict=True)
            if len(own) == len(shape) and all(at is None or own[at] == shape[at] for at in seen.at)]
    if any(None not in seen.at for seen in full):
        full = [seen for seen in full if None not in seen.at]
    if not full or (len(full) < len(inputs) and not gates):
        return None
    first = full[0]
    if any(seen.at != first.at for seen in full) or any(
            seen.sight[i].stride != first.sight[i].stride for seen in full for i in (0, 1)):
        return None
    rows, columns = (Axis(first.sight[i].stride, min(seen.sight[i].low for seen in full),
                          max(seen.sight[i].high for seen in full)) for i in (0, 1))
    return Seen((rows, columns), first.at)


def _item(seen: Seen, index: Any, shape: Sequence[int]) -> Seen | None:
    """After x[index], of whole numbers, slices, None and an ellipsis."""
    index = index if isinstance(index, tuple) else (index,)
    if not all(part is None or part is Ellipsis or (isinstance(part, slice | int) and not isinstance(part, bool))
               for part in index):
        return None
    missing = len(shape) - sum(part is not None and part is not Ellipsis for part in index)
    whole = [slice(None)] * missing
    where = index.index(Ellipsis) if Ellipsis in index else len(index)
    index = (*index[:where], *whole, *index[where + 1 :])
    sight, at = list(seen.sight), list(seen.at)
    dim = made = 0
    for part in index:
        if part is None:
            made += 1
            continue
        for side in (0, 1):
            if seen.at[side] == dim:
                start, _, step = part.indices(shape[dim]) if isinstance(part, slice) else (part % shape[dim], 0, 1)
                axis = sight[side]
                sight[side] = Axis(axis.stride * step, axis.low + axis.stride * start, axis.high + axis.stride * start)
                at[side] = made if isinstance(part, slice) else None
        dim, made = dim + 1, made + isinstance(part, slice)
    return Seen((sight[0], sight[1]), (at[0], at[1]))


# -- windows: (kernel, stride, padding before) of rows and columns, or None ------------------------------------------

Windows = list[tuple[int, int, int]] | None


def _given(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], at: int, default: Any) -> Any:
    return args[at] if len(args) > at else kwargs.get(name, default)


def _both(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[-1])


def _conv2d(args: Sequence[Any], kwargs: Mapping[str, Any], shape: Sequence[int]) -> Windows:
    weight = _given("weight", args, kwargs, 0, None)
    stride, padding, dilation = (_given(name, args, kwargs, at, default) for name, at, default in (
        ("stride", 2, 1), ("padding", 3, 0), ("dilation", 4, 1)))
    extents = [d * (k - 1) + 1 for k, d in zip(weight.shape[2:], _both(dilation), strict=True)]
    pads = ((0, 0) if padding == "valid" else [(extent - 1) // 2 for extent in extents] if padding == "same"
            else _both(padding))
    return list(zip(extents, _both(stride), pads, strict=True))


def _max_pool2d(args: Sequence[Any], kwargs: Mapping[str, Any], shape: Sequence[int]) -> Windows:
    dilation = _both(_given("dilation", args, kwargs, 3, 1))
    return [(d * (k - 1) + 1, s, p) for (k, s, p), d in zip(_avg_pool2d(args, kwargs, shape), dilation, strict=True)]


def _avg_pool2d(args: Sequence[Any], kwargs: Mapping[str, Any], shape: Sequence[int]) -> list[tuple[int, int, int]]:
    kernel = _given("kernel_size", args, kwargs, 0, None)
    stride = _given("stride", args, kwargs, 1, None)
    return list(zip(_both(kernel), _both(stride if stride not in (None, (), []) else kernel),
                    _both(_given("padding", args, kwargs, 2, 0)), strict=True))


def _adaptive(args: Sequence[Any], kwargs: Mapping[str, Any], shape: Sequence[int]) -> Windows:
    goal = _given("output_size", args, kwargs, 0, None)
    goals = [length if side is None else side for length, side in zip(
        shape[2:], goal if isinstance(goal, tuple | list) else (goal, goal), strict=True)]
    if any(length % side for length, side in zip(shape[2:], goals, strict=True)):
        return None                     # windows of several sizes
    sizes = [(length // side, side) for length, side in zip(shape[2:], goals, strict=True)]
    return [(size, size if side > 1 else 1, 0) for size, side in sizes]         # a single unit does not move


def _unshuffle(args: Sequence[Any], kwargs: Mapping[str, Any], shape: Sequence[int]) -> Windows:
    factor = _given("downscale_factor", args, kwargs, 0, None)
    return [(factor, factor, 0)] * 2


WINDOWS: dict[str, Callable[[Sequence[Any], Mapping[str, Any], Sequence[int]], Windows]] = {
    "conv2d": _conv2d, "max_pool2d": _max_pool2d, "avg_pool2d": _avg_pool2d, "lp_pool2d": _avg_pool2d,
    "max_pool2d_with_indices": _max_pool2d, "adaptive_avg_pool2d": _adaptive, "adaptive_max_pool2d": _adaptive,
    "adaptive_max_pool2d_with_indices": _adaptive, "pixel_unshuffle": _unshuffle,
}


# -- functions that move units, or take some of them -----------------------------------------------------------------

Move = Callable[[Seen, Sequence[Any], Mapping[str, Any], tuple[int, ...], tuple[int, ...]], Seen | None]


def _pad(seen: Seen, args: Sequence[Any], kwargs: Mapping[str, Any], shape: tuple[int, ...],
         out: tuple[int, ...]) -> Seen | None:
    pad = list(_given("pad", args, kwargs, 0, ()))
    if _given("mode", args, kwargs, 1, "constant") == "circular":
        return None
    before = [pad[2 * i] if 2 * i < len(pad) else 0 for i in range(len(shape))][::-1]       # of each dimension
    return seen.after([(1, 1, 0 if at is None else before[at]) for at in seen.at])


def _reshape(seen: Seen, args: Sequence[Any], kwargs: Mapping[str, Any], shape: tuple[int, ...],
             out: tuple[int, ...]) -> Seen | None:
    """Rows and columns stay where they are the last dimensions, or all are brought together."""
    if seen.at == (None, None) or out == shape:
        return seen
    last, ndim = (len(shape) - 2, len(shape) - 1), len(out)
    if seen.at == last and out[-2:] == shape[-2:] and ndim > 2:
        return Seen(seen.sight, (ndim - 2, ndim - 1))
    if None not in seen.at and ndim == 2 and out[0] == shape[0]:        # a vector, of which a layer will read all
        return seen.gathered([at for at in seen.at if at is not None], shape, False)
    return None


def _permute(seen: Seen, args: Sequence[Any], kwargs: Mapping[str, Any], shape: tuple[int, ...],
             out: tuple[int, ...]) -> Seen | None:
    dims = _given("dims", args, kwargs, 0, ())
    return seen.moved([dim % len(shape) for dim in (args if isinstance(dims, int) else dims)])


def _transpose(seen: Seen, args: Sequence[Any], kwargs: Mapping[str, Any], shape: tuple[int, ...],
               out: tuple[int, ...]) -> Seen | None:
    order = list(range(len(shape)))
    first, second = (args or (kwargs.get("dim0", kwargs.get("axis0")), kwargs.get("dim1", kwargs.get("axis1"))))[:2]
    order[first], order[second] = order[second], order[first]
    return seen.moved(order)


def _last_two(seen: Seen, args: Sequence[Any], kwargs: Mapping[str, Any], shape: tuple[int, ...],
              out: tuple[int, ...]) -> Seen | None:
    return _transpose(seen, (-2, -1), {}, shape, out)


def _roll(seen: Seen, args: Sequence[Any], kwargs: Mapping[str, Any], shape: tuple[int, ...],
          out: tuple[int, ...]) -> Seen | None:
    """Rows that wrap around a border are no rectangle any more."""
    dims = _given("dims", args, kwargs, 1, ())
    dims = [dims] if isinstance(dims, int) else list(dims) or range(len(shape))
    return None if {dim % len(shape) for dim in dims} & set(seen.at) else seen


def _split(seen: Seen, args: Sequence[Any], kwargs: Mapping[str, Any], shape: tuple[int, ...],
           out: tuple[int, ...]) -> Seen | None:
    return None if _given("dim", args, kwargs, 1, 0) % len(shape) in seen.at else seen


def _repeat(seen: Seen, args: Sequence[Any], kwargs: Mapping[str, Any], shape: tuple[int, ...],
            out: tuple[int, ...]) -> Seen | None:
    dim = _given("dim", args, kwargs, 1, None)
    return None if dim is None or dim % len(shape) in seen.at else seen


def _unbind(seen: Seen, args: Sequence[Any], kwargs: Mapping[str, Any], shape: tuple[int, ...],
            out: tuple[int, ...]) -> Seen | None:
    dim = _given("dim", args, kwargs, 0, 0) % len(shape)
    return None if dim in seen.at else seen.gathered([dim], shape, False)


def _narrow(seen: Seen, args: Sequence[Any], kwargs: Mapping[str, Any], shape: tuple[int, ...],
            out: tuple[int, ...]) -> Seen | None:
    dim, start = (_given(name, args, kwargs, at, 0) for at, name in enumerate(("dim", "start")))
    index: list[Any] = [slice(None)] * len(shape)
    index[dim] = slice(start, None)
    return _item(seen, tuple(index), shape)


def _unsqueeze(seen: Seen, args: Sequence[Any], kwargs: Mapping[str, Any], shape: tuple[int, ...],
               out: tuple[int, ...]) -> Seen | None:
    dim = _given("dim", args, kwargs, 0, 0) % len(out)
    rows, columns = (None if at is None else at + (at >= dim) for at in seen.at)
    return Seen(seen.sight, (rows, columns))


def _squeeze(seen: Seen, args: Sequence[Any], kwargs: Mapping[str, Any], shape: tuple[int, ...],
             out: tuple[int, ...]) -> Seen | None:
    dims = _given("dim", args, kwargs, 0, None)
    dims = range(len(shape)) if dims is None else [dims] if isinstance(dims, int) else dims
    return seen.gathered([dim for dim in dims if shape[dim] == 1], shape, False)


MOVES: dict[str, Move] = {
    "pad": _pad, "view": _reshape, "reshape": _reshape, "flatten": _reshape, "unflatten": _reshape,
    "permute": _permute, "transpose": _transpose, "swapaxes": _transpose, "swapdims": _transpose,
    "adjoint": _last_two, "roll": _roll, "channel_shuffle": lambda seen, *_: seen,
    "split": _split, "chunk": _split, "tensor_split": _split, "split_with_sizes": _split, "unbind": _unbind,
    "repeat_interleave": _repeat, "narrow": _narrow, "unsqueeze": _unsqueeze, "squeeze": _squeeze,
}
