"""Networks of which only names and shapes matter: on the meta device, without the work of initialising numbers that are
not there.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Built = TypeVar("Built")
FILLS = frozenset({Tensor.fill_, Tensor.normal_, Tensor.uniform_, Tensor.zero_,
                   nn.init.constant_, nn.init.kaiming_normal_, nn.init.kaiming_uniform_, nn.init.normal_,
                   nn.init.trunc_normal_, nn.init.uniform_, nn.init.xavier_normal_, nn.init.xavier_uniform_})


class _Unfilled(TorchFunctionMode):
    """Whatever fills a tensor does nothing: on the meta device its draws are Python, and half of the time that a build
    takes.
    """

    def __torch_function__(self, func: Any, types: Sequence[type], args: Sequence[Any] = (),
                           kwargs: Mapping[str, Any] | None = None) -> Any:
        given = kwargs or {}
        if func in FILLS:
            return args[0] if args else given["tensor"]         # torch.nn.init hands itself on by names
        return func(*args, **given)


def blank(build: Callable[[], Built]) -> Built:
    """The model that `build` returns, with tensors on the meta device."""
    with torch.device("meta"), _Unfilled():
        return build()
