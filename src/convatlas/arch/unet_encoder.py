"""U-Net on any classifier's trunk — after Ronneberger, Fischer & Brox, MICCAI 2015; the form that the field settled on
(about 2018).

Idea    A trained classifier already knows how to contract an image: its maps take the place of the left half of the U,
        and only the right half has to be learned from masks.
Mirrors The decoder of Yakubovskiy's segmentation_models_pytorch, "Unet": each level doubles by nearest neighbours, gets
        the map of the same resolution beside it, and convolves twice with BatchNorm; the last levels have no map to
        get.
Departs From the paper: up-sampling without weights in place of up-convolutions, padding, scores from a 3×3 convolution.
        From the library: any image size (edges are repeated up to the trunk's stride, and the scores cropped), any
        trunk of ours whose maps halve, the maps being its last at each resolution; He initialisation throughout the
        decoder.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConvatlasError
from ..net.model import Convnet, pair
from ..net.registry import build, register
from ..net.segmenter import Decoder, Segmenter
from ..parts import conv_norm, he_normal_

Plain = bool | int | float | str | None
Value = Plain | tuple[Plain | tuple[Plain, ...], ...]        # a number, a word, a list, a table


class Level(nn.Module):
    """x (N, cin, H, W) doubled, with `across` (N, skip, 2H, 2W) beside it if there is one, to (N, cout, 2H, 2W)."""

    def __init__(self, cin: int, skip: int, cout: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(conv_norm(cin + skip, cout, 3), conv_norm(cout, cout, 3))

    def forward(self, x: Tensor, across: Tensor | None) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        y: Tensor = self.convs(x if across is None else torch.cat([x, across], dim=1))
        return y


class Levels(nn.Module):
    """From the trunk's maps to one as large as the image; `at[i]` is the index of the map that level i gets, None for
    none.
    """

    def __init__(self, levels: Sequence[Level], at: Sequence[int | None]) -> None:
        super().__init__()
        self.levels, self.at = nn.ModuleList(levels), tuple(at)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        x = maps[-1]
        for level, at in zip(self.levels, self.at, strict=True):
            x = level(x, None if at is None else maps[at])
        return x


class Cropped(Decoder):
    """Cropping of what the padding of the image has added."""

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:     # type: ignore[override]
        x = super().forward(maps, size)
        # not a slice, which torch.export fixes to images that need padding or to those that need none
        return F.pad(x, [0, size[1] - x.shape[3], 0, size[0] - x.shape[2]])


class OnEncoder(Segmenter):
    """A Segmenter whose images are padded at the bottom and right to multiples of `stride` by repeating their edges."""

    def __init__(self, spec: "EncoderUNet", encoder: Convnet, decoder: Decoder, stride: int) -> None:
        super().__init__(spec, encoder.stem, list(encoder.stages), decoder, encoder=encoder.name,
                         encoder_fields=dict(spec.encoder_fields))
        self.stride = stride

    def load_encoder(self, encoder: Convnet) -> None:
        """Begin from a trained classifier: its stem and stages are copied, its head is left.

        Another network is a ConvatlasError.
        """
        trunk = {name: tensor for name, tensor in encoder.state_dict().items() if name.startswith(("stem.", "stages."))}
        own = {name: tensor for name, tensor in self.state_dict().items() if name.startswith(("stem.", "stages."))}
        odd = sorted(name for name in own.keys() | trunk.keys()
                     if name not in own or name not in trunk or own[name].shape != trunk[name].shape)
        if odd:
            raise ConvatlasError(f"{encoder.name} is not the encoder of this {self.name}: they differ in {odd[0]}; "
                             "build both with the same fields (in_chans too)")
        self.load_state_dict(trunk, strict=False)

    def _maps(self, x: Tensor) -> Iterator[Tensor]:
        # by division, for OpenVINO knows no modulo of sizes
        high = (x.shape[2] + self.stride - 1) // self.stride * self.stride - x.shape[2]
        wide = (x.shape[3] + self.stride - 1) // self.stride * self.stride - x.shape[3]
        return super()._maps(F.pad(x, [0, wide, 0, high], mode="replicate"))


@dataclass(frozen=True)
class EncoderUNet:
    """`encoder` is the name of any classifier here, `encoder_fields` what to change of it, as pairs of field and value.

    `decoder_widths` are the channels of each level from the smallest map to the image; an encoder that halves fewer
    times takes the last of them; `skips` False hands nothing across.
    """

    encoder: str = "resnet34"
    encoder_fields: tuple[tuple[str, Value], ...] = ()
    decoder_widths: tuple[int, ...] = (256, 128, 64, 32, 16)
    skips: bool = True
    num_classes: int = 2
    in_chans: int = 3
    image_size: int | tuple[int, int] = 512

    def build(self) -> Segmenter:
        """Input (N, 3, H, W), output (N, 2, H, W)."""
        encoder = build(self.encoder, {**dict(self.encoder_fields), "num_classes": 0, "in_chans": self.in_chans})
        taps = self.taps(encoder)
        stride = max(taps)
        reductions = [stride >> i for i in range(1, stride.bit_length())]           # after each level
        if len(reductions) > len(self.decoder_widths):
            raise ConvatlasError(f"EncoderUNet: decoder_widths = {self.decoder_widths} are too few: {self.encoder} "
                                 f"halves the image {len(reductions)} times, and each needs one")
        skips = [taps.get(reduction, (None, 0)) if self.skips else (None, 0) for reduction in reductions]
        widths = [taps[stride][1], *self.decoder_widths[-len(reductions):]]
        levels = [Level(cin, skip, cout) for (cin, cout), (_, skip) in zip(pairwise(widths), skips, strict=True)]
        path = Levels(levels, [index for index, _ in skips])
        he_normal_(path, "fan_in")
        return OnEncoder(self, encoder, Cropped(path, widths[-1], self.num_classes, scores), stride)

    def taps(self, encoder: Convnet) -> dict[int, tuple[int, int]]:
        """Reduction → index and channels of each map; refused unless they are exactly 1/2, 1/4, 1/8 … of an image."""
        found = encoder.taps if len(encoder.stages) else []
        stride = max((reduction for *_, reduction in found), default=1)
        side = 2 * stride * -(-max(pair(encoder.image_size)) // stride)
        shapes = encoder.shapes((side, side)) if stride > 1 and encoder.accepts((side, side)) else []
        if not shapes or any(reduction.bit_count() != 1 or shapes[index][1] * reduction != side
                             for index, _, _, reduction in found):
            raise ConvatlasError(f"EncoderUNet: encoder = {self.encoder!r} is refused: its maps are not exactly 1/2, "
                                 "1/4, 1/8 … of the image, as those of resnet34, vgg16_bn and efficientnet_b0 are")
        return {reduction: (index, chs) for index, _, chs, reduction in found}


def scores(cin: int, classes: int) -> nn.Conv2d:
    conv = nn.Conv2d(cin, classes, 3, padding=1)
    he_normal_(conv, "fan_in")
    return conv


register("unet_resnet34", EncoderUNet(), params=24_436_514, macs=31_293_702_144, fidelity="field", recipe="unet")
register("unet_efficientnet_b0", EncoderUNet("efficientnet_b0"), params=5_834_846, macs=11_565_167_104,
         fidelity="field", recipe="unet")
register("unet_mobilenet_v2", EncoderUNet("mobilenet_v2"), params=4_005_090, macs=11_048_026_112,
         fidelity="field", recipe="unet")
register("unet_convnext_tiny", EncoderUNet("convnext_tiny"), params=31_928_898, macs=35_730_948_096,
         fidelity="field", recipe="unet")
