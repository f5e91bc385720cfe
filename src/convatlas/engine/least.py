"""Least batches: BatchNorm over a 1×1 map has one value per channel of an image, and no variance of one image alone."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from ..errors import ConvatlasError
from ..net.model import Convnet, by, meta_image, meta_state
from ..parts import ShapesOnly
from ..run import Run, Train
from .auxiliary import WithAuxiliary
from .distributed import World
from .freeze import matching

LARGEST = 1024      # side of the images that are tried


def least_part(model: nn.Module, train: Train, processes: int = 1) -> int:
    """Images that a forward pass of training needs: 2 where a BatchNorm that learns sees maps of 1×1, at the network's
    own size and in its side classifiers too, otherwise 1.

    BatchNorm that stays frozen (`engine.freeze.keep_still`) or is synchronised over several processes needs one.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms or not isinstance(model, Convnet) or (train.sync_bn and processes > 1):
        return 1
    still, least = _still(model, train), _Least()
    frozen = [norm for norm in norms if (own := list(norm.parameters(recurse=False))) and still.issuperset(own)]
    _pass(model, model.image_size, least, frozen)
    return least.images


def _pass(model: Convnet, size: tuple[int, int], mode: ShapesOnly, frozen: Sequence[nn.Module] = ()) -> None:
    """A forward pass of training on the meta device, side classifiers included, with `frozen` modules as in evaluation.
    """
    modes = {module: module.training for module in model.modules()}
    outer, prefix = (WithAuxiliary(model), "net.") if model.aux else (model, "")
    try:
        outer.train()
        for module in frozen:
            module.eval()
        with torch.no_grad(), mode:
            functional_call(outer, meta_state(model, prefix), (meta_image(model, size),))
    finally:
        for module, training in modes.items():
            module.training = training


class _Least(ShapesOnly):
    """While active: the images that every BatchNorm in training mode finds enough."""

    def __init__(self) -> None:
        super().__init__()
        self.images = 1

    def __torch_function__(self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        if func is F.batch_norm and (kwargs or {})["training"] and args[0][0, 0].numel() == 1:
            self.images = 2
        return super().__torch_function__(func, types, args, kwargs)


def _still(model: nn.Module, train: Train) -> set[nn.Parameter]:
    """The parameters that never move."""
    frozen, thawed = (set[str]().union(*(matching(model, pattern, "train.freeze") for pattern in patterns))
                      for patterns in (train.freeze, [pattern for _, pattern in train.unfreeze]))
    return {parameter for name, parameter in model.named_parameters()
            if not parameter.requires_grad or name in frozen - thawed}


def learns(model: Convnet) -> bool:
    """True if images of the network's own size leave no map empty, its side classifiers' included."""
    return model.accepts(model.image_size) and (not model.aux or _sides_fit(model, model.image_size))


def check_batch(model: nn.Module, run: Run, here: World) -> None:
    """A ConvatlasError, if side classifiers do not fit the images, or a process would have to learn from one image
    where the network needs two (`least_part`).
    """
    if isinstance(model, Convnet) and model.aux and not _sides_fit(model, model.image_size):
        low, high = max(model.image_size), LARGEST
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if _sides_fit(model, (middle, middle)) else (middle, high)
        raise ConvatlasError(f"images of {by(model.image_size)} are too small for the side classifiers of "
                             f"{model.name}, which training needs: the least is {high}×{high}, or build it without "
                             "them (--set model.fields.aux=false)")
    accumulate = run.train.accumulate or 1
    least, parts = least_part(model, run.train, here.size), here.size * accumulate
    if run.data.batch_size >= least * parts:
        return
    shared = [f"{here.size} processes"] * (here.size > 1)
    shared += [f"train.accumulate = {accumulate} parts"] * (accumulate > 1)
    over = f" over {' of '.join(reversed(shared))}" if shared else ""
    raise _alone(model, f"data.batch_size = {run.data.batch_size}{over} leaves one: set --batch-size {least * parts} "
                 "or more" + (", or fewer parts" if accumulate > 1 else ""))


def _sides_fit(model: Convnet, size: tuple[int, int]) -> bool:
    """True if the side classifiers find maps in images of this size; computed on the meta device."""
    try:
        _pass(model, size, ShapesOnly())
    except (RuntimeError, ValueError):
        return False
    return True


def least_batch(model: nn.Module, run: Run, count: int, here: World, tell: Callable[[str], None]) -> int:
    """Images that each batch of an epoch over `count` must have for all processes; a shorter last one is joined to the
    one before, which is told. Raises ConvatlasError where there are too few.
    """
    least, full = here.size * least_part(model, run.train, here.size), run.data.batch_size
    if least == here.size:
        return 1
    if count < least:
        raise _alone(model, f"there are {count} to learn from" + (f", for {here.size} processes" if here.size > 1
                                                                  else ""))
    if 0 < count % full < least and count > full:
        tell(f"The last batch of each epoch has {full + count % full} images instead of {full} and then {count % full},"
             f" because {_needs(model)}.")
    return least


def _alone(model: nn.Module, found: str) -> ConvatlasError:
    return ConvatlasError(f"{_needs(model)}, and {found}; a larger --image-size helps too")


def _needs(model: nn.Module) -> str:
    assert isinstance(model, Convnet)
    return (f"{model.name} takes at least two images at once in training on {by(model.image_size)} pixels, where "
            "BatchNorm sees a 1×1 map")
