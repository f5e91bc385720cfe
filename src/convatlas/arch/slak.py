"""SLaK — Liu et al., "More ConvNets in the 2020s: Scaling up Kernels Beyond 51×51 using Sparsity", ICLR 2023.

Idea    ConvNeXt with 51×51 kernels, made affordable twice: each is the sum of two strips, 51×5 and 5×51, and a 5×5; and
        40 % of all weights stay zero, at places that move in training (`parts.Masks`), which pays for 1.3 times the
        width.
Mirrors Section 4 (the strips, the sparsity) and the authors' code (kernels 51, 49, 47, 13 of the four stages, 1.3 times
        ConvNeXt's channels, its blocks and its rates of stochastic depth).
Departs The network is dense: the masks belong to training, and `params` counts their zeros. Channels are cut off, not
        rounded, after the width factor, as in the authors' code; their BatchNorm is synchronised between devices, ours
        is not.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import (
    Act,
    Excite,
    LargeKernel,
    LayerNorm2d,
    PoolKind,
    convnext_block,
    convnext_init_,
    convnext_linear,
    dilate,
    patch_down,
    pool_norm,
    ramp,
    with_act,
)


@dataclass(frozen=True)
class SLaK:
    """`strips` False builds K×K whole, as RepLKNet does; `width` multiplies `channels`; `norm_eps` is BatchNorm's."""

    channels: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]
    kernels: tuple[int, int, int, int] = (51, 49, 47, 13)
    small: int = 5
    strips: bool = True
    width: float = 1.3
    layer_scale: float = 1e-6
    excite: Excite | None = None
    act: Act = "gelu"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    output_stride: Literal[8, 16, 32] = 32
    global_pool: PoolKind = "avg"
    norm_eps: float = 1e-5
    drop_rate: float = 0.0
    drop_path_rate: float = 0.1
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224), scores (N, 1000)."""
        norm = partial(nn.BatchNorm2d, eps=self.norm_eps)
        rates = ramp(self.drop_path_rate, sum(self.blocks), reach=True)
        widths = [int(channels * self.width) for channels in self.channels]
        cin = widths[0]
        patches = (nn.Conv2d(self.in_chans, cin, 4, 4) if self.stem == "imagenet"
                   else nn.Conv2d(self.in_chans, cin, 3, padding=1))
        stem = nn.Sequential(OrderedDict(conv=patches, norm=LayerNorm2d(cin)))
        stages: list[nn.Module] = []
        plan = dilate((1, 2, 2, 2), self.output_stride, 4 if self.stem == "imagenet" else 1)
        for cout, kernel, blocks, (stride, first, rest) in zip(widths, self.kernels, self.blocks, plan, strict=True):
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            if stages:
                layers["down"] = nn.Sequential(OrderedDict(norm=LayerNorm2d(cin), conv=patch_down(cin, cout, stride, first)))
            layers["blocks"] = nn.Sequential(*(
                convnext_block(LargeKernel(cout, kernel, self.small, strips=self.strips, dilation=rest, norm=norm),
                               cout, layer_scale=self.layer_scale, drop=next(rates), excite=self.excite) for _ in range(blocks)))
            stages.append(nn.Sequential(layers))
            cin = cout
        head = pooled(cin, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate,
                      classifier=convnext_linear, after={"norm": pool_norm(cin, self.global_pool)})
        model = Convnet(self, stem, stages, head)
        convnext_init_(model)
        return with_act(model, self.act, "gelu")


#                           channels               blocks
register("slak_tiny",  SLaK((96, 192, 384, 768),   (3, 3, 9, 3)),                      params=50_703_838, macs=8_704_776_370, recipe="slak")
register("slak_small", SLaK((96, 192, 384, 768),   (3, 3, 27, 3), drop_path_rate=0.4),
         params=91_131_820, macs=16_604_014_234, recipe="slak_small")
register("slak_base",  SLaK((128, 256, 512, 1024), (3, 3, 27, 3), drop_path_rate=0.5),
         params=157_950_792, macs=28_509_057_219, recipe="slak_small")
