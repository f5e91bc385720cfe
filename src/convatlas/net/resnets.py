"""Residual networks for ImageNet: the stem, stages and head of ResNet and its successors (He et al. 2016, Table 1)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, Protocol

from torch import nn

from ..errors import ConvatlasError
from ..parts import (
    Act,
    Block,
    BlockExcite,
    MakeNorm,
    PoolKind,
    StemPool,
    conv_norm,
    he_normal_,
    residual_stages,
    torch_linear,
    with_act,
)
from .model import Convnet, Spec, pooled


class ResidualSpec(Spec, Protocol):
    """Fields that their specifications have in common."""

    @property
    def stem(self) -> Literal["imagenet", "cifar"]:
        """7×7/2 and max-pool, or 3×3 for small images."""

    @property
    def act(self) -> Act:
        """The activation."""

    @property
    def output_stride(self) -> Literal[8, 16, 32]:
        """The reduction beyond which convolutions dilate instead of striding."""

    @property
    def norm_eps(self) -> float:
        """BatchNorm's ε."""

    @property
    def drop_rate(self) -> float:
        """Dropout before the classifier."""

    @property
    def drop_path_rate(self) -> float:
        """Stochastic depth of the last block; from 0 it rises linearly."""

    @property
    def global_pool(self) -> PoolKind:
        """Mean, maximum, or both."""


def check_drop_path(shortcut: str, rate: float) -> None:
    """A ConvatlasError for stochastic depth in a network without shortcuts, where it would do nothing."""
    if shortcut == "none" and rate:
        raise ConvatlasError(f"drop_path_rate = {rate:g} drops what a shortcut passes by, and shortcut = 'none' leaves "
                             "none: give one of them up")


def residual_net(spec: ResidualSpec, block: Block, depths: Sequence[int], *, expansion: int = 4,
                 pool: StemPool = "symmetric", excite: BlockExcite | None = None,
                 stem: Callable[[MakeNorm], nn.Module] | None = None, width: int | None = None,
                 planes: int = 64) -> Convnet:
    """Network of 7×7/2, 3×3/2 max-pool, `depths` blocks of 1, 2, 4 and 8 times `planes`, mean, classifier.

    With `stem` "cifar" a 3×3 stands for the 7×7 and the max-pool. Input (N, in_chans, H, W); maps of `width` channels
    (default: `planes`) at H/2, then `expansion` times the planes at H/4 to H/32. The argument `stem` makes another
    stem, of `width` maps.
    Weights are drawn as in the Torch release: fan-out, the classifier's bias zero.
    """
    norm, width = partial(nn.BatchNorm2d, eps=spec.norm_eps), width or planes
    small = spec.stem == "cifar"
    kernel, stride = (3, 1) if small else (7, 2)
    front: nn.Module = nn.Identity() if stem else conv_norm(spec.in_chans, width, kernel, stride, norm=norm)
    stages = residual_stages(partial(block, norm=norm), depths, width, planes=planes, expansion=expansion,
                             before=1 if small else 4, pool=None if small else pool, excite=excite,
                             output_stride=spec.output_stride, drop_path_rate=spec.drop_path_rate)
    head = pooled(8 * planes * expansion, spec.num_classes, pool=spec.global_pool, drop_rate=spec.drop_rate,
                  classifier=torch_linear)
    if stem:        # after the rest: SENet's weights have always been drawn so, and a seed is to give the same ones
        front = stem(norm)
    he_normal_(nn.ModuleList([front, *stages]))
    return with_act(Convnet(spec, front, stages, head), spec.act)
