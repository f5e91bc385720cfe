"""Pre-activation ResNet — He, Zhang, Ren & Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016, section 5.

Idea    Norm and ReLU before each convolution leave the shortcuts free from end to end; on ImageNet this lets 200 layers
        train to a lower error than 152.
Mirrors Facebook's fb.resnet.torch, preresnet.lua, and the paper's appendix: the stages of ResNet, the first activation
        right after conv1, one more after the last addition.
Departs Bottlenecks stride in their 3×3 as that code does; the paper does not say. `activate="unit"` moves the first
        activation from before the max-pool into the first unit, as timm's resnetv2 networks have it: the same tensors,
        but another function. `excite` adds squeeze-and-excitation at the end of each branch. Fewer layers than the paper's 152 and 200 are the field's.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from torch import nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import (
    Act,
    Excite,
    PoolKind,
    conv2d,
    dilate,
    he_normal_,
    preact_basic,
    preact_bottleneck,
    preact_unit,
    ramp,
    torch_linear,
    with_act,
)


class Column(NamedTuple):
    unit: Literal["basic", "bottleneck"]
    conv2: int      # units of 64 filters; a bottleneck gives four times as many channels
    conv3: int      # of 128
    conv4: int      # of 256
    conv5: int      # of 512
    planes: int = 64    # of conv2; each stage has twice as many as the one before


COLUMNS = {         # conv2_x … conv5_x
    18:  Column("basic",      2, 2,  2,  2),
    34:  Column("basic",      3, 4,  6,  3),
    50:  Column("bottleneck", 3, 4,  6,  3),
    101: Column("bottleneck", 3, 4,  23, 3),
    152: Column("bottleneck", 3, 8,  36, 3),
    200: Column("bottleneck", 3, 24, 36, 3),
}


@dataclass(frozen=True)
class PreactResNet:
    """`activate` says where the first norm and ReLU stand: at the end of the stem, or in the first unit, after the
    max-pool.
    """

    table: Column = COLUMNS[50]
    activate: Literal["stem", "unit"] = "stem"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    output_stride: Literal[8, 16, 32] = 32
    excite: Excite | None = None
    act: Act = "relu"
    norm_eps: float = 1e-5
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    global_pool: PoolKind = "avg"
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224); maps of 64 channels at 112, then sums, not yet activated, at 56, 28, 14 and 7; scores
        (N, 1000).
        """
        norm = partial(nn.BatchNorm2d, eps=self.norm_eps)
        small, cin, depths = self.stem == "cifar", self.table.planes, self.table[1:5]
        stem: OrderedDict[str, nn.Module] = OrderedDict(conv=conv2d(self.in_chans, cin, 3) if small
                                                        else conv2d(self.in_chans, cin, 7, 2))
        if self.activate == "stem":
            stem.update(norm=norm(cin), act=nn.ReLU())
        stages, drops = [], ramp(self.drop_path_rate, sum(depths), reach=True)
        plan = dilate((1, 2, 2, 2), self.output_stride, 1 if small else 4)
        for i, (units, (stride, first, rest)) in enumerate(zip(depths, plan, strict=True)):
            stage: OrderedDict[str, nn.Module] = OrderedDict()
            if i == 0 and not small:
                stage["pool"] = nn.MaxPool2d(3, 2, 1)
            cout = self.table.planes * 2**i * (1 if self.table.unit == "basic" else 4)
            for j in range(units):
                activated = i == j == 0 and self.activate == "stem"
                stage[str(j)] = self.unit(cin, cout, stride if j == 0 else 1,
                                          (first if j == 0 else rest, rest), activated, next(drops))
                cin = cout
            stages.append(nn.Sequential(stage))
        head = pooled(cin, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate,
                      before={"norm": norm(cin), "act": nn.ReLU()}, classifier=torch_linear)
        model = Convnet(self, nn.Sequential(stem), stages, head)
        he_normal_(model)
        return with_act(model, self.act)

    def unit(self, cin: int, cout: int, stride: int, dilation: tuple[int, int], activated: bool,
             drop: float) -> nn.Module:
        """branch(act(norm(x))) + x; where shapes change, a 1×1 convolution of the activated map is added, not x."""
        norm = partial(nn.BatchNorm2d, eps=self.norm_eps)
        if self.table.unit == "basic":
            layers = preact_basic(cin, cout, stride, dilation=dilation, norm=norm)
        else:
            layers = preact_bottleneck(cin, cout, (1, stride), dilation=dilation[0], norm=norm)
        if self.excite:
            layers["excite"] = self.excite.layer(cout)
        projection = conv2d(cin, cout, 1, stride) if cin != cout else None
        if activated:       # by the stem
            del layers["norm1"], layers["act1"]
        return preact_unit(layers, projection, shared=projection is not None and not activated, drop=drop)


register("preact_resnet18", PreactResNet(COLUMNS[18]), params=11_687_720, macs=1_814_073_344, fidelity="authors",
         recipe="preact_resnet")
register("preact_resnet34", PreactResNet(COLUMNS[34]), params=21_795_880, macs=3_663_761_408, fidelity="authors",
         recipe="preact_resnet")
register("preact_resnet50", PreactResNet(COLUMNS[50]), params=25_549_352, macs=4_089_184_256, fidelity="authors",
         recipe="preact_resnet")
register("preact_resnet101", PreactResNet(COLUMNS[101]), params=44_541_480, macs=7_801_405_440, fidelity="authors",
         recipe="preact_resnet")
register("preact_resnet152", PreactResNet(COLUMNS[152]), params=60_185_128, macs=11_513_626_624, fidelity="authors",
         recipe="preact_resnet")
register("preact_resnet200", PreactResNet(COLUMNS[200]), params=64_666_152, macs=15_007_481_856, fidelity="authors",
         recipe="preact_resnet")

register("resnetv2_18", PreactResNet(COLUMNS[18], "unit"), params=11_687_720, macs=1_814_073_344, fidelity="field",
         recipe="preact_resnet")
register("resnetv2_34", PreactResNet(COLUMNS[34], "unit"), params=21_795_880, macs=3_663_761_408, fidelity="field",
         recipe="preact_resnet")
register("resnetv2_50", PreactResNet(COLUMNS[50], "unit"), params=25_549_352, macs=4_089_184_256, fidelity="field",
         recipe="preact_resnet")
register("resnetv2_101", PreactResNet(COLUMNS[101], "unit"),
         params=44_541_480, macs=7_801_405_440, fidelity="field", recipe="preact_resnet")
register("resnetv2_152", PreactResNet(COLUMNS[152], "unit"),
         params=60_185_128, macs=11_513_626_624, fidelity="field", recipe="preact_resnet")
