"""FCN — Long, Shelhamer & Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.

Idea    A classifier's fully connected layers are convolutions as large as their input: slid over a larger image they
        give a coarse map of scores, which finer maps refine and bilinear up-sampling returns to the image's size.
Mirrors Section 4.1 and 4.2, Figure 3 and the authors' VOC networks: strides, kernels and crops of every up-sampling.
Departs The authors' code freezes every up-sampling (`upsampling="fixed"`); the paper, and so we, learn those in between
        and fix the last. The paper's FCN-AlexNet is on CaffeNet, which pools before it normalises, with k = 1 and α/5:
        `fcn32s_caffenet`; `fcn32s_alexnet` is on AlexNet as printed. FCN-GoogLeNet was never released: it pads 100 as
        the others do, and its up-sampling kernel is AlexNet's, for with 64 no crop lands on whole pixels. The backbone
        begins as its own paper says, where the authors begin with its trained weights.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, cast

from torch import Tensor, nn

from ..net.model import Convnet
from ..net.registry import build, register
from ..net.segmenter import Decoder, Segmenter
from ..parts import Act, bilinear_up, convolution, crop, times, with_act


class Skip(NamedTuple):
    name: str
    at: int             # among the maps, from the last one
    channels: int
    scale: float        # of the map where all scores learn at once


FC7, POOL4, POOL3, LAST = (   # at  channels scale
    Skip("fc7",          -1, 4096, 1.0),
    Skip("pool4",        -3, 512,  0.01),
    Skip("pool3",        -5, 256,  0.0001),
    Skip("inception_5b", -1, 1024, 1.0),
)


class Row(NamedTuple):
    kernel: int                 # of the last up-sampling; those in between are 4×4 with stride 2
    crops: tuple[int, ...]      # pixels off the top and left of each finer score map, and of the result
    skips: tuple[Skip, ...]


VOC = {     # backbone, stride: kernel  crops  maps
    ("vgg16", 32):     Row(64, (19,),      (FC7,)),
    ("vgg16", 16):     Row(32, (5, 27),    (FC7, POOL4)),
    ("vgg16", 8):      Row(16, (5, 9, 31), (FC7, POOL4, POOL3)),
    ("alexnet", 32):   Row(63, (18,),      (FC7,)),
    ("caffenet", 32):  Row(63, (18,),      (FC7,)),
    ("googlenet", 32): Row(63, (98,),      (LAST,)),
}
FIELDS: dict[str, dict[str, Any]] = {"caffenet": {"lrn": "caffenet"}, "googlenet": {"aux": False}}


def zero_score(cin: int, classes: int) -> nn.Conv2d:
    conv = nn.Conv2d(cin, classes, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(cast(Tensor, conv.bias))
    return conv


class Scores(nn.Module):
    """Scores of the coarsest map, doubled and added to those of each finer one, enlarged to (N, classes, H, W)."""

    def __init__(self, spec: "FCN", _: int, classes: int) -> None:
        super().__init__()
        kernel, self.crops, skips = VOC[spec.backbone, spec.stride]
        self.scales = [skip.scale if spec.fusion == "at_once" else 1.0 for skip in skips]
        self.score = nn.ModuleDict({skip.name: zero_score(times(skip.channels, spec.width), classes) for skip in skips})
        self.up = nn.ModuleDict({skip.name: bilinear_up(classes, 4, 2, learned=spec.upsampling != "fixed")
                                 for skip in skips[1:]})
        self.up["image"] = bilinear_up(classes, kernel, spec.stride, learned=spec.upsampling == "learned")

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        inputs = (x if scale == 1 else x * scale for x, scale in zip(maps, self.scales, strict=True))
        coarse, *finer = (score(x) for score, x in zip(self.score.values(), inputs, strict=True))
        *doublings, last = self.up.values()
        for up, skip, offset in zip(doublings, finer, self.crops, strict=False):
            coarse = up(coarse)
            coarse = coarse + crop(skip, offset, coarse.shape[2], coarse.shape[3])
        return crop(last(coarse), self.crops[-1], *size)


class Skips(Decoder):
    """Hands the chosen maps to the scores; without classes it is the last one, fc7's (N, 4096, H/32, W/32)."""

    def __init__(self, spec: "FCN") -> None:
        skips = VOC[spec.backbone, spec.stride].skips
        super().__init__(nn.Identity(), times(skips[0].channels, spec.width), spec.num_classes, partial(Scores, spec))
        self.at = [skip.at for skip in skips]

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:     # type: ignore[override]
        chosen = [maps[at] for at in self.at]
        return cast(Tensor, self.classifier(chosen, size)) if self.num_classes else chosen[0]


@dataclass(frozen=True)
class FCN:
    """`fusion` staged begins with the coarser network's weights (`load_coarser`), at_once trains all scores together.

    `upsampling` says which kernels are trained: paper, all but the last; fixed, none; learned, all. `width` multiplies all
    maps; `batch_norm` normalises VGG-16's convolutions, which then learn without trained weights to begin from.
    """

    backbone: Literal["vgg16", "alexnet", "caffenet", "googlenet"] = "vgg16"
    stride: Literal[32, 16, 8] = 32
    fusion: Literal["staged", "at_once"] = "staged"
    upsampling: Literal["paper", "fixed", "learned"] = "paper"
    width: float = 1.0
    batch_norm: bool = False
    act: Act = "relu"
    drop_rate: float = 0.5
    num_classes: int = 21
    in_chans: int = 3
    image_size: int | tuple[int, int] = 500

    def build(self) -> Segmenter:
        """Input (N, 3, H, W), output (N, 21, H, W)."""
        if (self.backbone, self.stride) not in VOC:
            raise ValueError(f"FCN: stride = {self.stride} was published for vgg16 only: with {self.backbone} it is 32")
        inside = "alexnet" if self.backbone == "caffenet" else self.backbone
        fields = dict(FIELDS.get(self.backbone, {}))        # what differs: weights of another network are told by it
        if self.width != 1:
            fields |= {"width": self.width} | ({} if inside == "googlenet" else {"fc": times(FC7.channels, self.width)})
        if self.batch_norm and self.backbone != "vgg16":
            raise ValueError(f"FCN: batch_norm = True is for vgg16: with {self.backbone} it is False")
        fields |= {"batch_norm": True, "init": "he"} if self.batch_norm else {}
        if self.act != "relu":
            fields["act"] = self.act
        net = build(inside, {**fields, "in_chans": self.in_chans, "drop_rate": self.drop_rate, "num_classes": 0})
        for module in net.modules():
            if isinstance(module, nn.MaxPool2d):
                module.ceil_mode = True         # as Caffe's pools
        # so that the smallest image leaves something for fc6
        next(module for module in net.modules() if isinstance(module, nn.Conv2d)).padding = (100, 100)
        if self.backbone == "googlenet":        # nothing of its own is slid
            net.stages[-1].add_module("drop", nn.Dropout(self.drop_rate))
        stages = list(net.stages) if self.backbone == "googlenet" else self.sliding(net)
        return with_act(Segmenter(self, net.stem, stages, Skips(self), encoder=inside, encoder_fields=fields), self.act)

    def sliding(self, net: Convnet) -> list[nn.Module]:
        """Stages that end with the fully connected layers as convolutions."""
        fc6, fc7 = (module for module in net.head.modules() if isinstance(module, nn.Linear))
        # pools as stages of their own: pool3 and pool4 are maps that scores read
        stages = [part for stage in net.stages
                  for part in (cast(nn.Sequential, stage)[:1], cast(nn.Sequential, stage)[1:]) if len(part)]
        cin = [module for module in net.stages.modules() if isinstance(module, nn.Conv2d)][-1].out_channels
        top = OrderedDict(pool=stages.pop()[0], fc6=convolution(fc6, cin),
                          act6=nn.ReLU(), drop6=nn.Dropout(self.drop_rate),
                          fc7=convolution(fc7, fc7.in_features), act7=nn.ReLU(), drop7=nn.Dropout(self.drop_rate))
        return [*stages, nn.Sequential(top)]


register("fcn32s_vgg16", FCN(), params=134_346_581, macs=181_365_854_976, recipe="fcn")
register("fcn16s_vgg16", FCN(stride=16), params=134_364_410, macs=181_448_086_272, recipe="fcn")
register("fcn8s_vgg16", FCN(stride=8), params=134_376_863, macs=181_529_034_048, recipe="fcn")
register("fcn32s_alexnet", FCN("alexnet"), params=56_954_261, macs=21_424_487_968, recipe="fcn_alexnet")
register("fcn32s_caffenet", FCN("caffenet"), params=56_954_261, macs=21_424_487_968, fidelity="authors",
         recipe="fcn_alexnet")
register("fcn32s_googlenet", FCN("googlenet", drop_rate=0.4), params=5_995_077, macs=15_708_386_545,
         recipe="fcn_googlenet")
