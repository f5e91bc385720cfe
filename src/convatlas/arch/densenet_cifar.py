"""DenseNet for CIFAR — Huang, Liu, van der Maaten & Weinberger, "Densely Connected Convolutional Networks", CVPR 2017.

Idea    Three dense blocks at 32, 16 and 8 pixels, of equal length; with bottlenecks and compression (BC) a network of
        250 layers is accurate on CIFAR with a third of its rivals' parameters.
Mirrors Section 3, "Implementation Details", and Table 2: a network of depth L has (L − 4)/3 layers per block, (L − 4)/6
        with bottlenecks, for those are two convolutions deep.
Departs Nothing. The released Torch code begins with 2k maps in the basic networks too (`stem_channels=24` for k = 12),
        which does not give the parameters of Table 2. Results without augmentation had `drop_rate=0.2`.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from math import floor, sqrt

from torch import nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import Act, DenseBlock, PoolKind, conv2d, dense_layer, he_normal_, linear, transition, with_act


@dataclass(frozen=True)
class DenseNetCifar:
    """Three blocks of `layers` layers; `bottleneck` and `compression` < 1 make DenseNet-BC of the basic network."""

    layers: int
    growth: int
    stem_channels: int = 16
    bottleneck: bool = False
    compression: float = 1.0
    recompute: bool = False
    norm_eps: float = 1e-5
    drop_rate: float = 0.0
    act: Act = "relu"
    global_pool: PoolKind = "avg"
    num_classes: int = 10
    in_chans: int = 3
    image_size: int | tuple[int, int] = 32

    def build(self) -> Convnet:
        """Input (N, 3, 32, 32), scores (N, 10)."""
        norm = partial(nn.BatchNorm2d, eps=self.norm_eps)
        # neither normalised nor rectified: the first layer does both
        stem = conv2d(self.in_chans, self.stem_channels, 3)
        stages: list[nn.Module] = []
        cin = self.stem_channels
        for i in range(3):
            stage: OrderedDict[str, nn.Module] = OrderedDict()
            if i > 0:
                cin, wide = floor(cin * self.compression), cin
                stage["reduce"] = transition(wide, cin, dropout=self.drop_rate, norm=norm)
            widths = range(cin, cin + self.layers * self.growth, self.growth)
            stage["layers"] = DenseBlock(
                [dense_layer(width, self.growth, bottleneck=self.bottleneck, dropout=self.drop_rate, norm=norm)
                 for width in widths], self.recompute)
            cin += self.layers * self.growth
            if i == 2:
                stage.update(norm=norm(cin), act=nn.ReLU())
            stages.append(nn.Sequential(stage))
        # U(−1/√cin, 1/√cin) and bias 0, as in the Torch release
        classifier = linear(partial(nn.init.kaiming_uniform_, a=sqrt(5)))
        model = Convnet(self, stem, stages, pooled(cin, self.num_classes, pool=self.global_pool, classifier=classifier))
        he_normal_(model)
        return with_act(model, self.act)


def bc(layers: int, growth: int) -> DenseNetCifar:
    """DenseNet-BC: bottlenecks, θ = 0.5, and 2k maps to begin with."""
    return DenseNetCifar(layers, growth, stem_channels=2 * growth, bottleneck=True, compression=0.5)


#                                     layers per block  k
register("densenet_40_12_cifar",      DenseNetCifar(12, 12), params=1_019_722, macs=264_812_928, recipe="densenet_cifar")
register("densenet_100_12_cifar",     DenseNetCifar(32, 12), params=6_979_642, macs=1_769_516_448, recipe="densenet_cifar")
register("densenet_100_24_cifar",     DenseNetCifar(32, 24), params=27_249_082, macs=6_889_347_744, recipe="densenet_cifar")
register("densenet_bc_100_12_cifar",  bc(16, 12), params=769_162, macs=287_929_692, recipe="densenet_cifar")
register("densenet_bc_250_24_cifar",  bc(41, 24), params=15_324_406, macs=5_418_785_724, recipe="densenet_cifar")
register("densenet_bc_190_40_cifar",  bc(31, 40), params=25_624_430, macs=9_301_945_740, recipe="densenet_cifar")
register("densenet_bc_40_36_cifar",   bc(6, 36), params=1_542_682, macs=647_298_936, recipe="densenet_cifar")
register("densenet_bc_40_60_cifar",   bc(6, 60), params=4_261_690, macs=1_795_836_360, recipe="densenet_cifar")
