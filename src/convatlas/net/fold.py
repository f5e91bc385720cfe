"""Re-parameterisation: the same function with fewer layers, for any network made of these parts."""

import logging
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import ConvatlasError
from ..parts import Foldable, Parallel, fold_after, fold_before, unpadded
from .card import Folded as Folded
from .model import Convnet


def fold(model: Convnet) -> Convnet:
    """A copy of `model` that computes the same with fewer layers; `model` stays as it is.

    BatchNorm goes into the convolution before it, or after it where that has no padding; RepVGG's, RepLKNet's and
    SLaK's branches become one kernel; parallel 1×1 convolutions become one. The copy's `card.folded` says what was done
    and the largest difference on a random image of the network's size. A model in training mode is a ConvatlasError:
    its BatchNorm depends on the batch, and no fixed convolution equals it.
    """
    if any(module.training for module in model.modules()):
        raise ConvatlasError(f"{model.name} is in training mode, in which BatchNorm depends on the batch: call "
                             "model.eval() first")
    copy = fold_structure(deepcopy(model))
    like = next(model.parameters())
    dice = torch.Generator().manual_seed(0)
    image = torch.randn(1, model.in_chans, *model.image_size, generator=dice).to(like.device, like.dtype)
    with torch.inference_mode():
        expected, scores = model(image), copy(image)
    difference = (scores - expected).abs().max().item()
    done = Folded((_layers(model), _layers(copy)), (_params(model), _params(copy)), difference,
                  difference / max(expected.abs().max().item(), torch.finfo(like.dtype).tiny))
    copy.card = replace(copy.card, folded=done)
    logging.getLogger("convatlas").info("%s folded: %s", model.name, done)
    return copy


def fold_structure(model: Convnet, join: bool = True) -> Convnet:
    """Fold `model` itself, in place, without a comparison: what a folded file's tensors are loaded into.

    Without `join` parallel 1×1 convolutions stay apart.
    """
    _fold(model.eval(), join)
    return model


def _fold(module: nn.Module, join: bool = True) -> nn.Module:
    """`module` with everything below it folded, or what takes its place."""
    for name, child in list(module.named_children()):
        module.add_module(name, _fold(child, join))
    if type(module) is nn.Sequential:
        _fold_chain(module)
    return module.folded() if isinstance(module, Foldable) and (join or not isinstance(module, Parallel)) else module


def _fold_chain(chain: nn.Sequential) -> None:
    """Every normalisation in the chain into the convolution beside it; its place is taken by an identity."""
    before: tuple[nn.Sequential, str] | None = None
    for here in list(links(chain)):
        module = _at(here)
        last = None if before is None else _at(before)
        if isinstance(last, nn.Conv2d) and _fixed(module):
            assert before is not None and isinstance(module, nn.BatchNorm2d)
            before[0].add_module(before[1], fold_after(last, module))
            here[0].add_module(here[1], nn.Identity())
            continue                                    # the folded convolution may take another normalisation
        if last is not None and _fixed(last) and isinstance(module, nn.Conv2d) and unpadded(module):
            assert before is not None and isinstance(last, nn.BatchNorm2d)
            here[0].add_module(here[1], fold_before(last, module))
            before[0].add_module(before[1], nn.Identity())
        before = here


def links(chain: nn.Sequential) -> Iterator[tuple[nn.Sequential, str]]:
    """(owner, name) of the modules of a chain in their order, chains inside it included; identities are passed over."""
    for name, module in chain.named_children():
        if type(module) is nn.Sequential:
            yield from links(module)
        elif not isinstance(module, nn.Identity):
            yield chain, name


def _at(place: tuple[nn.Sequential, str]) -> nn.Module:
    return place[0].get_submodule(place[1])


def _fixed(module: nn.Module) -> bool:
    """A BatchNorm that keeps statistics, and so is an affine map once training is over."""
    return isinstance(module, nn.BatchNorm2d) and isinstance(module.running_mean, Tensor)


def _layers(model: nn.Module) -> int:
    return sum(not list(m.children()) and not isinstance(m, nn.Identity) for m in model.modules())


def _params(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
