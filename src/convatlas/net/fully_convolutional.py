"""Networks that score every position: fully connected layers read as convolutions (Sermanet et al. 2014; Long et al.
2015).
"""

from collections import OrderedDict
from collections.abc import Iterator
from copy import deepcopy
from itertools import chain
from typing import cast

import torch
from torch import nn
from torch.func import functional_call

from ..errors import ConvatlasError
from ..parts import GlobalPool, ScaledTanh
from .model import Convnet, by, meta_image, meta_state, pair

POINTWISE = (nn.Identity, nn.Dropout, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.Hardswish, nn.GELU, ScaledTanh)
UNCHANGED = (nn.Identity, nn.Dropout)      # of these, what may follow a mean that is taken later


def fully_convolutional(model: Convnet) -> nn.Module:
    """A copy of `model` with a convolutional head: a map of scores (N, classes, H', W') for an image of any larger
    size.

    A first fully connected layer that reads k×k positions becomes a k×k convolution, the others 1×1. At the native size
    the map is 1×1 and holds the network's scores. Where the network averages over the whole map instead, every position
    of it gets scores, and their mean is the network's.
    """
    if not model.num_classes:
        raise ConvatlasError(f"{model.name} has no classifier, so there are no scores to map")
    copy = deepcopy(model)
    trunk = nn.Sequential(OrderedDict(stem=copy.stem, stages=nn.Sequential(*copy.stages)))
    with torch.no_grad():
        last = functional_call(trunk, meta_state(trunk), (meta_image(model, model.image_size),))
    trunk.append(nn.Sequential(OrderedDict(_convolutional(copy, (last.shape[2], last.shape[3])))))
    return trunk.train(model.training)


def _convolutional(model: Convnet, native: tuple[int, int]) -> Iterator[tuple[str, nn.Module]]:
    """The head's layers by name, for a trunk whose last map is `native` at the model's own size."""
    head = model.head
    if isinstance(head.classifier, nn.Conv2d):      # scores are means of maps already
        yield from (("classifier", head.classifier), ("output", head.output))
        return
    if not isinstance(head.hidden, nn.Sequential):
        raise _refused(model, head.hidden)
    # positions that the next fully connected layer reads; None: still a map
    kernel: tuple[int, int] | None = None
    averaged = False                                # over a whole map of more than one position
    for name, layer in chain(head.hidden.named_children(), (("classifier", head.classifier), ("output", head.output))):
        if isinstance(layer, GlobalPool | nn.AdaptiveAvgPool2d):
            size = (1, 1) if isinstance(layer, GlobalPool) else pair(cast(int | tuple[int, int], layer.output_size))
            averaged = size != native
            if (averaged and size != (1, 1)) or (isinstance(layer, GlobalPool) and layer.kind != "avg"):
                raise _refused(model, layer)
            kernel = size
        elif isinstance(layer, nn.Flatten):
            kernel = kernel or native
        elif isinstance(layer, nn.Linear) and kernel is not None:
            yield name, _convolution(layer, kernel)
            kernel = (1, 1)
        elif kernel is None or isinstance(layer, UNCHANGED if averaged else POINTWISE):
            yield name, layer
        else:
            raise _refused(model, layer)


def _convolution(layer: nn.Linear, kernel: tuple[int, int]) -> nn.Conv2d:
    """The fully connected layer as a convolution that reads `kernel` positions."""
    width = layer.in_features // (kernel[0] * kernel[1])
    conv = nn.Conv2d(width, layer.out_features, kernel, bias=layer.bias is not None, device=layer.weight.device,
                     dtype=layer.weight.dtype)
    with torch.no_grad():
        conv.weight.copy_(layer.weight.view_as(conv.weight))
        if conv.bias is not None:
            conv.bias.copy_(layer.bias)
    return conv


def _refused(model: Convnet, layer: nn.Module) -> ConvatlasError:
    return ConvatlasError(f"{model.name} has no convolutional form at {by(model.image_size)}: its head's "
                          f"{type(layer).__name__} ({layer.extra_repr()}) does not map position by position")
