"""The classifier of loaded weights, brought to the classes of the data by their names."""

import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from ..errors import ConvatlasError, some
from ..net.model import Convnet
from ..net.segmenter import Segmenter

IMAGENET = 1000
WORDNET = re.compile(r"n\d{8}")     # ImageNet's folders, whose order is that of its classes


def of_classes(model: Convnet, classes: Sequence[str]) -> None:
    """Bring `model`, whose classes its weights name, to the data's `classes`: in another order the classifier's rows
    are put in that order; for other names there is a new classifier. The report of loading tells it.

    Names are the same regardless of case, `_` and `-`. A network that segments, whose scores are added up from several
    layers, is refused in another order.
    """
    known = model.card.classes
    if not known or len(known) != model.num_classes or len(classes) != len(known):
        return
    numbers = {plain(name): number for number, name in enumerate(known)}
    folders = len(classes) == IMAGENET and all(WORDNET.fullmatch(name) for name in classes)
    if len(numbers) < len(known) or (folders and not any(WORDNET.fullmatch(name) for name in known)):
        return
    order = [numbers.get(plain(name), -1) for name in classes]
    if order == list(range(len(known))):
        return
    if sorted(order) != list(range(len(known))):
        others = [name for name, number in zip(classes, order, strict=True) if number < 0]
        model.reset_classifier(model.num_classes)
        _tell(model, f"its classes are others than the data's (it knows {some(known)}, the data has {some(others)}): "
                     "the classifier is newly initialised")
    elif isinstance(model, Segmenter):
        raise ConvatlasError(f"the weights know the data's classes in another order, {some(known)}: give the masks' "
                             "numbers, or the list of classes, that order")
    else:
        for head in (model.head, *model.aux.values()):
            _reorder(head.get_submodule("classifier"), torch.tensor(order))
        _tell(model, f"its classes are the data's in another order ({some(known)}): the classifier was put in theirs")
    model.card = replace(model.card, classes=())


def _reorder(classifier: nn.Module, order: torch.Tensor) -> None:
    """Every tensor with a row per class."""
    with torch.no_grad():
        for tensor in classifier.state_dict().values():
            if tensor.shape[:1] == order.shape:
                tensor.copy_(tensor[order.to(tensor.device)])


def plain(name: str) -> str:
    """A class's name regardless of case, `_` and `-`."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _tell(model: Convnet, sentence: str) -> None:
    was = model.card.provenance
    if was.report is not None:
        model.card = replace(model.card, provenance=replace(was, report=replace(was.report, notes=(*was.report.notes,
                                                                                                   sentence))))
