"""ConvNeXt — Liu, Mao, Wu, Feichtenhofer, Darrell & Xie, "A ConvNet for the 2020s", CVPR 2022.

Idea    A ResNet walked step by step towards Swin: patches for a stem, depthwise 7×7, an inverted bottleneck, one GELU
        and one LayerNorm per block. It beats Swin: the design mattered, attention did not.
Mirrors Section 3 (channels C and blocks B of each variant), Figure 4 (the block), Table 9 (its last column), Table 5 of
        the appendix (initialisation N(0, 0.02²), layer scale 10⁻⁶, rates of stochastic depth).
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
    LayerNorm2d,
    PoolKind,
    conv2d,
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
class ConvNeXt:
    """`layer_scale` is what the factors of each block's channels start from; 0 takes them away; `excite` weighs what each MLP
    gives.
    """

    channels: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]
    kernel: int = 7
    layer_scale: float = 1e-6
    excite: Excite | None = None
    act: Act = "gelu"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    output_stride: Literal[8, 16, 32] = 32
    global_pool: PoolKind = "avg"
    norm_eps: float = 1e-6
    drop_rate: float = 0.0
    drop_path_rate: float = 0.1
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224), scores (N, 1000)."""
        cin, rates, eps = self.channels[0], ramp(self.drop_path_rate, sum(self.blocks), reach=True), self.norm_eps
        patches = (nn.Conv2d(self.in_chans, cin, 4, 4) if self.stem == "imagenet"
                   else nn.Conv2d(self.in_chans, cin, 3, padding=1))
        stem = nn.Sequential(OrderedDict(conv=patches, norm=LayerNorm2d(cin, eps)))
        stages: list[nn.Module] = []
        plan = dilate((1, 2, 2, 2), self.output_stride, 4 if self.stem == "imagenet" else 1)
        for cout, blocks, (stride, first, rest) in zip(self.channels, self.blocks, plan, strict=True):
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            if stages:
                layers["down"] = nn.Sequential(OrderedDict(norm=LayerNorm2d(cin, eps), conv=patch_down(cin, cout, stride, first)))
            layers["blocks"] = nn.Sequential(*(
                convnext_block(conv2d(cout, cout, self.kernel, groups=cout, dilation=rest, bias=True), cout,
                               layer_scale=self.layer_scale, drop=next(rates), eps=eps, excite=self.excite) for _ in range(blocks)))
            stages.append(nn.Sequential(layers))
            cin = cout
        head = pooled(cin, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate,
                      classifier=convnext_linear, after={"norm": pool_norm(cin, self.global_pool, eps)})
        model = Convnet(self, stem, stages, head)
        convnext_init_(model)
        return with_act(model, self.act, "gelu")


#                                    channels                blocks         rates for ImageNet-1k from scratch; XL saw ImageNet-22k only
register("convnext_tiny",   ConvNeXt((96, 192, 384, 768),    (3, 3, 9, 3)),
         params=28_589_128, macs=4_455_531_264, recipe="convnext")
register("convnext_small",  ConvNeXt((96, 192, 384, 768),    (3, 3, 27, 3), drop_path_rate=0.4),
         params=50_223_688, macs=8_683_712_256, recipe="convnext")
register("convnext_base",   ConvNeXt((128, 256, 512, 1024),  (3, 3, 27, 3), drop_path_rate=0.5),
         params=88_591_464, macs=15_354_729_472, recipe="convnext")
register("convnext_large",  ConvNeXt((192, 384, 768, 1536),  (3, 3, 27, 3), drop_path_rate=0.5),
         params=197_767_336, macs=34_361_433_600, recipe="convnext")
register("convnext_xlarge", ConvNeXt((256, 512, 1024, 2048), (3, 3, 27, 3), drop_path_rate=0.2),
         params=350_196_968, macs=60_921_030_656, recipe="convnext")
