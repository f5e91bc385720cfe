"""Isotropic ConvNeXt — Liu, Mao, Wu, Feichtenhofer, Darrell & Xie, "A ConvNet for the 2020s", CVPR 2022, section 3.3.

Idea    ConvNeXt's block in a network of one resolution, as ViT has: does the block carry without a pyramid? It does.
Mirrors Table 2: ViT's widths and one and a half times its blocks, 14×14 maps from patches of 16×16. Only the large one
        has layer scale, which the others train without.
Departs Nothing.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import (
    Act,
    Excite,
    PoolKind,
    conv2d,
    convnext_block,
    convnext_init_,
    convnext_linear,
    pool_norm,
    ramp,
    with_act,
)


@dataclass(frozen=True)
class ConvNeXtIsotropic:
    """`layer_scale` is what the factors of each block's channels start from; 0 takes them away; `excite` weighs what each MLP
    gives.
    """

    channels: int
    blocks: int
    layer_scale: float = 0.0
    excite: Excite | None = None
    act: Act = "gelu"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    global_pool: PoolKind = "avg"
    norm_eps: float = 1e-6
    drop_rate: float = 0.0
    drop_path_rate: float = 0.1
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224), scores (N, 1000)."""
        width, rates, eps = self.channels, ramp(self.drop_path_rate, self.blocks, reach=True), self.norm_eps
        patches = (nn.Conv2d(self.in_chans, width, 16, 16) if self.stem == "imagenet"
                   else nn.Conv2d(self.in_chans, width, 3, padding=1))
        blocks = nn.Sequential(*(
            convnext_block(conv2d(width, width, 7, groups=width, bias=True), width,
                           layer_scale=self.layer_scale, drop=next(rates), eps=eps, excite=self.excite) for _ in range(self.blocks)))
        head = pooled(width, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate,
                      classifier=convnext_linear, after={"norm": pool_norm(width, self.global_pool, eps)})
        model = Convnet(self, nn.Sequential(OrderedDict(conv=patches)), [blocks], head)
        convnext_init_(model)
        return with_act(model, self.act, "gelu")


#                                                      channels blocks
register("convnext_isotropic_small", ConvNeXtIsotropic(384,  18), params=22_308_712, macs=4_286_367_744, recipe="convnext")
register("convnext_isotropic_base",  ConvNeXtIsotropic(768,  18, drop_path_rate=0.2),
         params=87_083_752, macs=16_896_331_776, recipe="convnext")
register("convnext_isotropic_large", ConvNeXtIsotropic(1024, 36, layer_scale=1e-6, drop_path_rate=0.5),
         params=305_942_504, macs=59_699_224_576, recipe="convnext")
