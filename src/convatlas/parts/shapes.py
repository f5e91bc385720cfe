"""Shape inference: a forward pass on the meta device without the operations that keep a map's shape.

torch infers elementwise shapes on the meta device in Python, normalisations by their whole formula: three quarters of
the time of a pass.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

KEEP = frozenset({F.batch_norm, F.layer_norm, F.gelu, F.hardsigmoid, F.hardswish, F.hardtanh, F.relu, F.relu6, F.silu,
                  torch.relu, torch.sigmoid, torch.tanh})
SUMS = frozenset({torch.add, Tensor.add, Tensor.add_})


def keeps(func: Any, args: tuple[Any, ...]) -> bool:
    """True of an operation on the meta device whose result has the shape of its first argument."""
    if func not in KEEP and func not in SUMS:
        return False
    x, y = args[0], args[1] if func in SUMS else args[0]
    return isinstance(x, Tensor) and x.is_meta and isinstance(y, Tensor) and x.shape == y.shape


class ShapesOnly(TorchFunctionMode):
    """While active, such operations give their first argument back."""

    def __torch_function__(self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        return args[0] if keeps(func, args) else func(*args, **(kwargs or {}))
