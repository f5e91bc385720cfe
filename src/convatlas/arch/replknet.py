"""RepLKNet — Ding, Zhang, Han & Ding, "Scaling Up Your Kernels to 31x31: Revisiting Large Kernel Design in CNNs", CVPR
2022.

Idea    A few very large depthwise kernels see more than many small ones. A 5×5 beside each helps it to train, and is
        added into its centre afterwards, as in RepVGG (`convatlas.fold`).
Mirrors Figure 4 (stem, blocks, transitions) and section 4 (kernels K, blocks B, channels C of 31B, 31L and XL); a block
        of B is a RepLK block and a ConvFFN. Weights start as torch starts them, as in the authors' code.
Departs Nothing. The paper's BatchNorm is synchronised between devices: an option of training, not of the network.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import Excite, LargeKernel, MakeNorm, PoolKind, Residual, conv_norm, dilate, ramp


def replk_block(channels: int, inner: int, kernel: int, small: int | None, dilation: int, drop: float, norm: MakeNorm,
                excite: Excite | None) -> nn.Module:
    """Norm → 1×1 → K×K depthwise → 1×1, and a shortcut."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        norm1=norm(channels), conv1=nn.Conv2d(channels, inner, 1, bias=False), norm2=norm(inner), act1=nn.ReLU(),
        large=LargeKernel(inner, kernel, small, dilation=dilation, norm=norm), act2=nn.ReLU(),
        conv2=nn.Conv2d(inner, channels, 1, bias=False), norm3=norm(channels))
    if excite:
        layers["excite"] = excite.layer(channels)
    return Residual(nn.Sequential(layers), drop=drop)


def conv_ffn(channels: int, inner: int, drop: float, norm: MakeNorm) -> nn.Module:
    """Norm → 1×1 → GELU → 1×1, and a shortcut: what a transformer has between two attentions."""
    return Residual(nn.Sequential(OrderedDict(
        norm1=norm(channels), conv1=nn.Conv2d(channels, inner, 1, bias=False), norm2=norm(inner), act=nn.GELU(),
        conv2=nn.Conv2d(inner, channels, 1, bias=False), norm3=norm(channels))), drop=drop)


@dataclass(frozen=True)
class RepLKNet:
    """`small` is the kernel trained beside each large one, None for none; `inner` widens a RepLK block inside.

    `excite` weighs what a RepLK block adds; a ConvFFN has no place for it.
    """

    channels: tuple[int, int, int, int]
    kernels: tuple[int, int, int, int] = (31, 29, 27, 13)
    blocks: tuple[int, int, int, int] = (2, 2, 18, 2)
    small: int | None = 5
    inner: float = 1.0
    excite: Excite | None = None
    stem: Literal["imagenet", "cifar"] = "imagenet"
    output_stride: Literal[8, 16, 32] = 32
    global_pool: PoolKind = "avg"
    norm_eps: float = 1e-5
    drop_rate: float = 0.0
    drop_path_rate: float = 0.3
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224), scores (N, 1000)."""
        norm = partial(nn.BatchNorm2d, eps=self.norm_eps)
        rates = ramp(self.drop_path_rate, sum(self.blocks), reach=True)
        cin = self.channels[0]
        stages: list[nn.Module] = []
        plan = dilate((1, 2, 2, 2), self.output_stride, 4 if self.stem == "imagenet" else 1)
        for cout, kernel, blocks, (stride, first, rest) in zip(self.channels, self.kernels, self.blocks, plan,
                                                               strict=True):
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            if stages:
                layers["down"] = nn.Sequential(OrderedDict(
                    mix=conv_norm(cin, cout, 1, norm=norm), reduce=conv_norm(cout, cout, 3, stride, groups=cout, dilation=first,
                                                                         norm=norm)))
            pairs: list[nn.Module] = []
            for _ in range(blocks):
                drop = next(rates)
                pairs += [replk_block(cout, int(cout * self.inner), kernel, self.small, rest, drop, norm, self.excite),
                          conv_ffn(cout, 4 * cout, drop, norm)]
            layers["blocks"] = nn.Sequential(*pairs)
            stages.append(nn.Sequential(layers))
            cin = cout
        head = pooled(cin, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate,
                      before={"norm": norm(cin)})
        return Convnet(self, self.first(norm), stages, head)

    def first(self, norm: MakeNorm) -> nn.Module:
        """The stem: 3×3/2, depthwise 3×3, 1×1, depthwise 3×3/2."""
        width = self.channels[0]
        if self.stem == "cifar":
            return conv_norm(self.in_chans, width, 3, norm=norm)
        return nn.Sequential(OrderedDict(
            reduce1=conv_norm(self.in_chans, width, 3, 2, norm=norm),
            depthwise=conv_norm(width, width, 3, groups=width, norm=norm),
            mix=conv_norm(width, width, 1, norm=norm), reduce2=conv_norm(width, width, 3, 2, groups=width, norm=norm)))


# 0.5: ImageNet-1k from scratch; else the default of the authors' code, for networks that are pre-trained on more
register("replknet_31b", RepLKNet((128, 256, 512, 1024), drop_path_rate=0.5), params=79_864_168,  macs=15_431_298_048, recipe="replknet")
register("replknet_31l", RepLKNet((192, 384, 768, 1536)),                     params=172_671_016, macs=32_780_739_072, recipe="replknet")
register("replknet_xl",  RepLKNet((256, 512, 1024, 2048), (27, 27, 27, 13), small=None, inner=1.5, image_size=320),
         params=335_435_752, macs=128_730_316_800, recipe="replknet")
