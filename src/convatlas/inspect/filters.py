"""The kernels that look at the pixels themselves."""

import torch
from torch import Tensor, nn

from ..model import Convnet
from ..parts import LocalConv2d, TableConv2d


def first_filters(model: Convnet) -> Tensor | None:
    """The first layer's weights as pictures, (filters, in_chans, height, width); None where its kind is unknown.

    A fully connected first layer gives one picture of the whole input per unit, a local one a picture per position.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1:
            return module.weight.detach()
        if isinstance(module, TableConv2d) and module.full:
            return torch.unflatten(module.weight.detach(), 0, (module.cout, module.cin))
        if isinstance(module, LocalConv2d):
            return torch.unflatten(module.weight.detach().flatten(0, 1), 1, (module.cin, module.kernel, module.kernel))
        if isinstance(module, nn.Linear) and module.in_features == model.in_chans * model.image_size[0] * model.image_size[1]:
            return torch.unflatten(module.weight.detach(), 1, (model.in_chans, *model.image_size))
    return None
