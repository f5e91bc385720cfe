"""DenseNet — Huang, Liu, van der Maaten & Weinberger, "Densely Connected Convolutional Networks", CVPR 2017.

Idea    x_l = H_l([x_0, …, x_{l−1}]) (eq. 2): each layer reads every earlier map of its block and adds k maps of its
        own, so that narrow layers suffice and gradients reach all of them directly.
Mirrors Table 1, DenseNet-BC: layers per block, bottleneck 4k, compression θ = 0.5; 161 (k = 48) is from the first
        version.
Departs Nothing. `recompute` trades time for memory and changes no result; `drop_rate` follows each convolution but the
        first, as on CIFAR, and is 0 for ImageNet; `densenet264d` is the field's, with three 3×3 convolutions for the
        7×7 one.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from math import floor, sqrt
from typing import Literal

from torch import nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import Act, DenseBlock, PoolKind, conv_norm, dense_layer, he_normal_, linear, transition, with_act


@dataclass(frozen=True)
class DenseNet:
    """`stem_channels` is 2k; `compression` is θ; `recompute` keeps only each layer's k maps during training."""

    layers: tuple[int, ...]
    growth: int = 32
    stem_channels: int = 64
    bottleneck: bool = True
    compression: float = 0.5
    stem: Literal["imagenet", "deep", "cifar"] = "imagenet"
    recompute: bool = False
    norm_eps: float = 1e-5
    drop_rate: float = 0.0
    act: Act = "relu"
    global_pool: PoolKind = "avg"
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224), scores (N, 1000)."""
        norm = partial(nn.BatchNorm2d, eps=self.norm_eps)
        stages: list[nn.Module] = []
        cin = self.stem_channels
        for depth in self.layers:
            stage: OrderedDict[str, nn.Module] = OrderedDict()
            if stages:
                cin, wide = floor(cin * self.compression), cin
                stage["reduce"] = transition(wide, cin, dropout=self.drop_rate, norm=norm)
            elif self.stem != "cifar":
                stage["reduce"] = nn.MaxPool2d(3, 2, 1)
            widths = range(cin, cin + depth * self.growth, self.growth)
            stage["layers"] = DenseBlock(
                [dense_layer(width, self.growth, bottleneck=self.bottleneck, dropout=self.drop_rate, norm=norm)
                 for width in widths], self.recompute)
            cin += depth * self.growth
            if len(stages) + 1 == len(self.layers):
                stage.update(norm=norm(cin), act=nn.ReLU())
            stages.append(nn.Sequential(stage))
        # U(−1/√cin, 1/√cin) and bias 0, as in the Torch release
        classifier = linear(partial(nn.init.kaiming_uniform_, a=sqrt(5)))
        model = Convnet(self, self.first(), stages, pooled(cin, self.num_classes, pool=self.global_pool,
                                                           classifier=classifier))
        he_normal_(model)
        return with_act(model, self.act)

    def first(self) -> nn.Sequential:
        """The layers before the max-pool."""
        make = partial(conv_norm, norm=partial(nn.BatchNorm2d, eps=self.norm_eps))
        if self.stem == "deep":
            return nn.Sequential(make(self.in_chans, self.growth, 3, 2), make(self.growth, self.growth, 3),
                                 make(self.growth, self.stem_channels, 3))
        kernel, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        return make(self.in_chans, self.stem_channels, kernel, stride)


#                       layers per block of Table 1
register("densenet121", DenseNet((6, 12, 24, 16)), params=7_978_856, macs=2_834_161_664, recipe="densenet")
register("densenet169", DenseNet((6, 12, 32, 32)), params=14_149_480, macs=3_359_843_328, recipe="densenet")
register("densenet201", DenseNet((6, 12, 48, 32)), params=20_013_928, macs=4_291_365_888, recipe="densenet")
register("densenet264", DenseNet((6, 12, 64, 48)), params=33_337_704, macs=5_751_653_376, recipe="densenet")
register("densenet161", DenseNet((6, 12, 36, 24), growth=48, stem_channels=96), params=28_681_000, macs=7_727_907_072,
         recipe="densenet")
register("densenet264d", DenseNet((6, 12, 64, 48), growth=48, stem_channels=96, stem="deep"),
         params=72_736_216, macs=13_470_266_880, fidelity="field", recipe="densenet")
