"""U-Net — Ronneberger, Fischer & Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015.

Idea    A contracting path sees what is there, an expanding path says where: each of its levels gets the map of the same
        resolution handed across, so that few training images are enough for sharp outlines.
Mirrors Figure 1: channels per level, valid 3×3 convolutions, 2×2 max-pools and up-convolutions, copies cropped at the
        centre.
Departs The paper names no dropout rate or place but "the end of the contracting path": 0.5 after its last two levels,
        as in the authors' release. The release also keeps 128 channels in the last up-convolution and rectifies after
        each (`up="release"`); Figure 1 halves and draws no rectifier. `unet_same` is how the field builds it today:
        padded convolutions with BatchNorm, three input channels, scores as large as the image.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal, cast

import torch
from torch import Tensor, nn

from ..net.registry import register
from ..net.segmenter import Decoder, Segmenter
from ..parts import Act, MakeNorm, Padding, conv_norm, crop_center, he_normal_, pad_to, with_act

Up = Literal["paper", "release", "overlap", "resize"]
FIGURE_1 = (64, 128, 256, 512, 1024)     # channels per level, from the top of the U to its bottom


class UpLevel(nn.Module):
    """Up-convolution, the copy from across beside it, two convolutions. x (N, cin, H, W), across (N, cout, ≥2H, ≥2W).

    Without `skip` the map from across gives its size at most.
    """

    def __init__(self, up: nn.Module, convs: nn.Module, valid: bool, skip: bool = True) -> None:
        super().__init__()
        self.up, self.convs, self.valid, self.skip = up, convs, valid, skip

    def forward(self, x: Tensor, across: Tensor) -> Tensor:
        x = self.up(x)
        if not self.valid:
            x = pad_to(x, across)
        if self.skip:
            x = torch.cat([x, crop_center(across, x) if self.valid else across], dim=1)
        y: Tensor = self.convs(x)
        return y


class Expanding(nn.Module):
    """The right half of the U: from the maps of the left half, top to bottom, to one map at the top."""

    def __init__(self, levels: Sequence[nn.Module]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(levels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        x = maps[-1]
        for level, across in zip(self.levels, reversed(maps[:-1]), strict=True):
            x = level(x, across)
        return x


def up_conv(cin: int, cout: int, how: Up) -> nn.Sequential:
    """A map twice as large. 2×2 with stride 2: each output sees one position, its N incoming nodes are cin.

    "overlap" is 3×3 with stride 2, whose outputs see 1, 2 and 4 positions; "resize" repeats each pixel and convolves 3×3.
    """
    if how == "resize":
        return nn.Sequential(OrderedDict(repeat=nn.Upsample(scale_factor=2, mode="nearest"),
                                         conv=nn.Conv2d(cin, cout, 3, padding=1)))
    conv = (nn.ConvTranspose2d(cin, cout, 3, stride=2, padding=1, output_padding=1) if how == "overlap"
            else nn.ConvTranspose2d(cin, cout, 2, stride=2))
    nn.init.normal_(conv.weight, std=sqrt(2 / cin * 4 / conv.weight[0, 0].numel()))     # 9/4 positions on average
    nn.init.zeros_(cast(Tensor, conv.bias))
    return nn.Sequential(OrderedDict([("conv", conv), *([("act", nn.ReLU())] if how == "release" else [])]))


def scores(cin: int, classes: int) -> nn.Conv2d:
    conv = nn.Conv2d(cin, classes, 1)
    he_normal_(conv, "fan_in")
    return conv


@dataclass(frozen=True)
class UNet:
    """`padding` same keeps every size; `up` release is the authors' released network; `skips` False hands nothing across.

    `up` overlap and resize are two ways to double a map that Odena et al. 2016 compare (Checkerboard Artifacts).
    """

    widths: tuple[int, ...] = FIGURE_1
    padding: Literal["valid", "same"] = "valid"
    norm: Literal["none", "batch"] = "none"
    up: Up = "paper"
    skips: bool = True
    drop_rate: float = 0.5
    act: Act = "relu"
    num_classes: int = 2
    in_chans: int = 1
    image_size: int | tuple[int, int] = 572

    def build(self) -> Segmenter:
        """Input (N, 1, 572, 572), output (N, 2, 388, 388); with padding as large as the input."""
        down = len(self.widths) - 1
        stem = self.convs(self.in_chans, self.widths[0])
        stages = []
        for i, (cin, cout) in enumerate(zip(self.widths, self.widths[1:], strict=False), start=1):
            layers = OrderedDict(pool=nn.MaxPool2d(2), convs=self.convs(cin, cout))
            if i > down - 2:
                layers["drop"] = nn.Dropout(self.drop_rate)
            stages.append(nn.Sequential(layers))
        path = Expanding([self.up_level(cout, cin, top=cin == self.widths[0])
                          for cin, cout in reversed(list(zip(self.widths, self.widths[1:], strict=False)))])
        he_normal_(nn.ModuleList([stem, *stages, path]), "fan_in")
        # going down, two 3×3 convolutions take 4 pixels from each level, and each must then halve without remainder
        step, rest = (2**down, 4 * (2**down - 1)) if self.padding == "valid" else (1, 0)
        net = Segmenter(self, stem, stages, Decoder(path, self.widths[0], self.num_classes, scores),
                        step=step, rest=rest)
        return with_act(net, self.act)

    def convs(self, cin: int, cout: int) -> nn.Sequential:
        padding: Padding = "valid" if self.padding == "valid" else "symmetric"
        norm: MakeNorm | None = nn.BatchNorm2d if self.norm == "batch" else None
        return nn.Sequential(conv_norm(cin, cout, 3, padding=padding, norm=norm),
                             conv_norm(cout, cout, 3, padding=padding, norm=norm))

    def up_level(self, cin: int, cout: int, top: bool) -> UpLevel:
        release = self.up == "release"
        width = cin if release and top else cout
        up = up_conv(cin, width, self.up)
        return UpLevel(up, self.convs(width + cout if self.skips else width, cout), self.padding == "valid", self.skips)


register("unet", UNet(), params=31_030_658, macs=150_428_424_448, recipe="unet")
register("unet_same", UNet(padding="same", norm="batch", in_chans=3, image_size=512), params=31_037_698,
         macs=192_686_325_760, fidelity="field", recipe="unet")
