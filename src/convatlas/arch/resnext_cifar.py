"""ResNeXt for CIFAR — Xie, Girshick, Dollár, Tu & He, "Aggregated Residual Transformations for Deep Neural Networks",
CVPR 2017.

Idea    Cardinality, the number of parallel transformations in a block, helps more than width also where images are
        small.
Mirrors Section 5.3 and Table 7: three stages of three blocks, 29 layers, 8 or 16 groups of 64 channels in the first
        stage.
Departs The blocks normalise and rectify after their convolutions, as released; the text says before, and the authors'
        notes find the released order better.
"""

from dataclasses import dataclass
from functools import partial

from torch import nn

from ..errors import ConvatlasError
from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import (
    Act,
    BlockExcite,
    PoolKind,
    bottleneck,
    conv_norm,
    he_normal_,
    residual_stages,
    torch_linear,
    with_act,
)


@dataclass(frozen=True)
class ResNeXtCifar:
    """`groups` × `width`d; 9 · `blocks` + 2 layers; `excite` puts squeeze-and-excitation into every block.

    Blocks of the first stage give four times `planes` channels, their 3×3 has `groups` · `width`.
    """

    blocks: int = 3
    groups: int = 8
    width: int = 64
    planes: int = 64
    excite: BlockExcite | None = None
    act: Act = "relu"
    norm_eps: float = 1e-5
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    global_pool: PoolKind = "avg"
    num_classes: int = 10
    in_chans: int = 3
    image_size: int | tuple[int, int] = 32

    def build(self) -> Convnet:
        """Input (N, 3, 32, 32); maps of 256, 512 and 1024 channels at 32, 16 and 8 pixels; scores (N, 10)."""
        norm = partial(nn.BatchNorm2d, eps=self.norm_eps)
        if 64 * self.width % self.planes:
            raise ConvatlasError(f"ResNeXtCifar: planes = {self.planes} is refused: it must divide 64 · width = "
                                 f"{64 * self.width}")
        block = partial(bottleneck, groups=self.groups, width=64 * self.width // self.planes, norm=norm)
        stem = conv_norm(self.in_chans, self.planes, 3, norm=norm)
        stages = residual_stages(block, [self.blocks] * 3, self.planes, planes=self.planes, expansion=4, before=1,
                                 excite=self.excite, drop_path_rate=self.drop_path_rate)
        head = pooled(16 * self.planes, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate, classifier=torch_linear)
        he_normal_(nn.ModuleList([stem, *stages]))
        return with_act(Convnet(self, stem, stages, head), self.act)


register("resnext29_8x64d_cifar", ResNeXtCifar(groups=8), params=34_426_698, macs=5_387_266_048, recipe="resnext_cifar")
register("resnext29_16x64d_cifar", ResNeXtCifar(groups=16), params=68_155_210, macs=10_688_866_304,
         recipe="resnext_cifar")
