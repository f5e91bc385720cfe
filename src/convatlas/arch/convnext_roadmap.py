"""From ResNet-50 to ConvNeXt-T, step by step — Liu, Mao, Wu, Feichtenhofer, Darrell & Xie, "A ConvNet for the 2020s", CVPR
2022, Figure 2.

Idea    A ResNet is walked towards Swin, one design decision at a time, each measured: which of them made transformers
        good at images is then no matter of opinion.
Mirrors Section 2, Figure 2 and Table 10, in their order (`ROADMAP`): each step changes one field. The first network is ResNet-50,
        the last ConvNeXt-T without its layer scale.
Departs Weights begin as ConvNeXt's at every step, as part of the recipe. What the text leaves open: the patches keep
        BatchNorm and ReLU as the 7×7 has them, until activations go everywhere but between the 1×1 convolutions; a
        convolution has a bias unless BatchNorm follows it. `stem` "cifar" halves once: 3×3 and max-pool, or patches of
        2×2.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from ..net.model import Convnet, pooled
from ..net.registry import register
from ..parts import (
    ACTS,
    Act,
    LayerNorm2d,
    MakeNorm,
    PoolKind,
    Residual,
    conv2d,
    convnext_init_,
    convnext_linear,
    dilate,
    patch_down,
    pool_norm,
    ramp,
)

ROADMAP: Mapping[str, Mapping[str, object]] = {     # what each step changes of the network before it
    "ResNet-50": {},
    "stage ratio": {"blocks": (3, 3, 9, 3)},
    "patchify stem": {"patchify": True},
    "depthwise convolution": {"depthwise": True},
    "width": {"width": 96},
    "inverted bottleneck": {"inverted": True},
    "depthwise convolution first": {"order": "first"},
    "7×7 kernels": {"kernel": 7},
    "GELU": {"act": "gelu"},
    "fewer activations": {"acts": "one"},
    "fewer norms": {"norms": "one"},
    "LayerNorm": {"norm": "layer"},
    "separate downsampling": {"downsampling": "layer"},
}


@dataclass(frozen=True)
class ConvNeXtRoadmap:
    """`order`: where a block's k×k stands; `acts` one: before its last convolution only; `norms` one: behind its k×k only;
    `downsampling` block: the first k×k of a stage strides, layer: a 2×2 of its own does, with norms around all stages.
    """

    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    patchify: bool = False
    depthwise: bool = False
    width: int = 64
    inverted: bool = False
    order: Literal["middle", "first"] = "middle"
    kernel: int = 3
    act: Act = "relu"
    acts: Literal["each", "one"] = "each"
    norms: Literal["each", "one"] = "each"
    norm: Literal["batch", "layer"] = "batch"
    downsampling: Literal["block", "layer"] = "block"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    output_stride: Literal[8, 16, 32] = 32
    global_pool: PoolKind = "avg"
    drop_rate: float = 0.0
    drop_path_rate: float = 0.1
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224), scores (N, 1000)."""
        rates = ramp(self.drop_path_rate, sum(self.blocks), reach=True)
        plan = dilate((1, 2, 2, 2), self.output_stride, 4 if self.stem == "imagenet" else 2)
        stem, first_pool = self.first()
        stages: list[nn.Module] = []
        cin = self.width
        for i, (blocks, (stride, dilation, rest)) in enumerate(zip(self.blocks, plan, strict=True)):
            planes = self.width * 2**i
            cout = planes if self.inverted else 4 * planes
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            if i == 0:
                layers.update(first_pool)
            elif self.downsampling == "layer":
                layers["down"] = nn.Sequential(OrderedDict(norm=self.make_norm(cin),
                                                           conv=patch_down(cin, cout, stride, dilation)))
                cin, stride = cout, 1
            units = []
            for j in range(blocks):
                here = (stride, dilation) if j == 0 and self.downsampling == "block" else (1, rest)
                units.append(self.block(cin, planes, cout, *here, next(rates)))
                cin = cout
            layers["blocks"] = nn.Sequential(*units)
            stages.append(nn.Sequential(layers))
        after = {"norm": pool_norm(cin, self.global_pool)} if self.downsampling == "layer" else None
        model = Convnet(self, stem, stages, pooled(cin, self.num_classes, pool=self.global_pool, drop_rate=self.drop_rate,
                                                   classifier=convnext_linear, after=after))
        convnext_init_(model)
        return model

    @property
    def make_norm(self) -> MakeNorm:
        return nn.BatchNorm2d if self.norm == "batch" else LayerNorm2d

    def first(self) -> tuple[nn.Module, Mapping[str, nn.Module]]:
        """The stem, and the pooling that the first stage begins with."""
        imagenet = self.stem == "imagenet"
        if self.patchify:
            side = 4 if imagenet else 2
            return self.unit(nn.Conv2d(self.in_chans, self.width, side, side, bias=self.norm == "layer"),
                             norm=True, act=self.acts == "each"), {}
        kernel, stride = (7, 2) if imagenet else (3, 1)
        conv = conv2d(self.in_chans, self.width, kernel, stride, bias=self.norm == "layer")
        return self.unit(conv, norm=True, act=self.acts == "each"), {"pool": nn.MaxPool2d(3, 2, 1)}

    def block(self, cin: int, planes: int, cout: int, stride: int, dilation: int, drop: float) -> nn.Module:
        """A bottleneck, or an inverted one: k×k and two 1×1 convolutions, and a shortcut."""
        inner = 4 * planes if self.inverted else planes
        spatial = inner if self.order == "middle" else cin
        kk = partial(conv2d, spatial, spatial, self.kernel, stride, dilation=dilation,
                     groups=spatial if self.depthwise else 1)
        mix1, mix2 = partial(conv2d, cin, inner, 1), partial(conv2d, inner, cout, 1)
        named = [("mix1", mix1), ("mix2", mix2)]
        named.insert(0 if self.order == "first" else 1, ("spatial", kk))
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, (name, make) in enumerate(named):
            norm = self.norms == "each" or name == "spatial"
            layers[name] = self.unit(make(bias=not norm or self.norm == "layer"), norm=norm,
                                     act=i == 1 or (i == 0 and self.acts == "each"))
        across = None if (cin, stride) == (cout, 1) else self.unit(
            conv2d(cin, cout, 1, stride, bias=self.norm == "layer"), norm=True, act=False)
        return Residual(nn.Sequential(layers), across, ACTS[self.act]() if self.acts == "each" else None, drop)

    def unit(self, conv: nn.Conv2d, *, norm: bool, act: bool) -> nn.Sequential:
        """Convolution (→ norm) (→ activation)."""
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
        if norm:
            layers["norm"] = self.make_norm(conv.out_channels)
        if act:
            layers["act"] = ACTS[self.act]()
        return nn.Sequential(layers)


def step(name: str) -> dict[str, object]:
    """Fields of the network after that step of `ROADMAP`."""
    fields: dict[str, object] = {}
    for label, changes in ROADMAP.items():
        fields |= changes
        if label == name:
            return fields
    raise KeyError(name)


register("convnext_roadmap", ConvNeXtRoadmap(), params=25_557_032, macs=4_089_184_256, recipe="convnext")
