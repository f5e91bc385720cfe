"""Layers by name, what they give while the network runs, and some images of many."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..data import ImageSet
from ..errors import ConvatlasError, nearest
from ..net.model import Convnet

See = Callable[[str, tuple[Tensor, ...], Tensor], None]     # (name of the layer, what it was given, what it gave)


def layer(model: Convnet, name: str) -> nn.Module:
    """The module called `name` among `model.named_modules()`; for an unknown name a ConvatlasError names the nearest.
    """
    known = {key: module for key, module in model.named_modules() if key}
    if name not in known:
        hint = nearest(name, known) or f"; its stages are {', '.join(stages(model))}"
        raise ConvatlasError(f"there is no layer {name!r} in {model.name}{hint}")
    found: nn.Module = known[name]
    return found


def stages(model: Convnet) -> list[str]:
    """Names of the stem, where there is one, and of the stages."""
    stem = [] if isinstance(model.stem, nn.Identity) else ["stem"]
    return [*stem, *(f"stages.{i}" for i in range(len(model.stages)))]


@contextmanager
def in_eval_mode(model: Convnet) -> Iterator[torch.device]:
    """The model in eval mode, put back at the end; yields the device it is on."""
    training = model.training
    model.eval()
    try:
        yield next(model.parameters()).device
    finally:
        model.train(training)


@contextmanager
def watching(model: Convnet, layers: Mapping[str, nn.Module], see: See) -> Iterator[torch.device]:
    """`in_eval_mode` without gradients; whenever one of `layers` has run, `see` is told."""
    hooks = [module.register_forward_hook(lambda _, given, output, name=name: see(name, given, output))
             for name, module in layers.items()]
    try:
        with torch.no_grad(), in_eval_mode(model) as device:
            yield device
    finally:
        for hook in hooks:
            hook.remove()


def spread(images: ImageSet, count: int | None) -> list[int]:
    """The numbers of `count` images, spread evenly over the set; of all where there are no more, or for None."""
    total = len(images)
    if count is None or count >= total:
        return list(range(total))
    found: list[int] = torch.linspace(0, total - 1, count, dtype=torch.float64).round().long().tolist()
    return found
