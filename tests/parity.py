"""Peers' weights into our networks: layers are paired by the order in which they run, and by their shapes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

import convatlas


def peer(library: str, name: str, kwargs: Mapping[str, Any] | None = None) -> nn.Module:
    """A newly initialised network of timm or torchvision, with random statistics, in float64 and eval mode."""
    options = dict(kwargs or {})
    if library == "timm":
        import timm

        model = timm.create_model(name, pretrained=False, **options)
    else:
        import torchvision

        model = torchvision.models.get_model(name, weights=None, **options)
    return randomized(model.double())


def randomized(model: nn.Module) -> nn.Module:
    """Every normalisation with other than its initial values, so that a forgotten constant shows."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.1)
    return model.eval()


def transplant(source: nn.Module, target: nn.Module, x: Tensor) -> nn.Module:
    """`target` with the tensors of `source`; each layer takes those of the first unused layer of its shapes.

    Own parameters of other modules (layer scale …) are paired the same way. All tensors of both must be used.
    """
    ours, theirs = _order(target, x), _order(source, x)
    for name, tensors in ours:
        index = next((i for i, (_, other) in enumerate(theirs) if _shapes(other) == _shapes(tensors)), None)
        assert index is not None, f"nothing left for {name} {_shapes(tensors)}"
        _, other = theirs.pop(index)
        with torch.no_grad():
            for mine, his in zip(tensors, other, strict=True):
                mine.copy_(his.reshape(mine.shape))
    assert not theirs, f"unused: {[name for name, _ in theirs]}"
    return target


def assert_equal_logits(library: str, name: str, ours: str, size: int, fields: Mapping[str, Any] | None = None,
                        kwargs: Mapping[str, Any] | None = None) -> None:
    """Build both, give ours the peer's tensors, compare scores in float64 to 1e-9 of the largest."""
    theirs = peer(library, name, kwargs)
    mine = convatlas.create_model(ours, **(fields or {})).double().eval()
    x = torch.randn(2, mine.in_chans, size, size, dtype=torch.float64)
    transplant(theirs, mine, x)
    with torch.inference_mode():
        expected, scores = theirs(x), mine(x)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-9 * expected.abs().max().item())
    assert (expected.std() > 0
            and (expected[0] - expected[1]).abs().max() > 1e-6 * expected.abs().max()), "the comparison is blind"


def _order(model: nn.Module, x: Tensor) -> list[tuple[str, list[Tensor]]]:
    """(name, own tensors) of every module that has some, in the order in which modules first run; the rest behind."""
    names = {module: name for name, module in model.named_modules()}
    own = {module: _own(module) for module in names}
    order: list[nn.Module] = []
    hooks = [m.register_forward_pre_hook(lambda module, _: order.append(module) if module not in order else None)
             for m in names if own[m]]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    order += [m for m in names if own[m] and m not in order]
    return [(names[m], own[m]) for m in order]


def _own(module: nn.Module) -> list[Tensor]:
    buffers = [b for name, b in module.named_buffers(recurse=False)
               if b is not None and name in ("running_mean", "running_var")]
    return [*module.parameters(recurse=False), *buffers]


def _shapes(tensors: list[Tensor]) -> list[tuple[int, ...]]:
    """Shapes without the trailing ones, so that a 1×1 convolution and a linear layer are alike."""
    shapes = []
    for tensor in tensors:
        shape = list(tensor.shape)
        while len(shape) > 1 and shape[-1] == 1:
            shape.pop()
        shapes.append(tuple(shape))
    return shapes
