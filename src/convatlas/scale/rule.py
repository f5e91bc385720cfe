"""Rule of compound scaling, for every family: a specification made deeper, wider, for larger images (Tan & Le 2019).

Depth multiplies the blocks of every stage and rounds up, width the channels, as EfficientNet's authors do. Channels are
rounded as a family's own paper rounds them; where it names no way, a family with a multiplier of its own takes the
nearest whole number (so does DenseNet's k), and one without the nearest multiple of 8. A multiplier is relative to the
specification that is given, and 1 leaves everything as it is. Rates (dropout, stochastic depth) stay: papers chose them
by hand.
"""

from collections.abc import Iterable, Sequence
from functools import singledispatch
from math import ceil, gcd
from typing import Any, TypeVar

from ..arch.allcnn import AllCNN
from ..arch.convnext import ConvNeXt
from ..arch.convnext_isotropic import ConvNeXtIsotropic
from ..arch.densenet import DenseNet
from ..arch.densenet_cifar import DenseNetCifar
from ..arch.efficientnet import EfficientNet
from ..arch.mobilenet_v1 import MobileNetV1
from ..arch.mobilenet_v2 import MobileNetV2
from ..arch.mobilenet_v3 import MobileNetV3
from ..arch.preact_resnet import PreactResNet
from ..arch.preact_resnet_cifar import PreactResNetCifar
from ..arch.replknet import RepLKNet
from ..arch.repvgg import RepVGG
from ..arch.resnet import ResNet
from ..arch.resnet_cifar import ResNetCifar
from ..arch.resnext import ResNeXt
from ..arch.resnext_cifar import ResNeXtCifar
from ..arch.senet import SENet
from ..arch.slak import SLaK
from ..arch.unet import UNet
from ..arch.unet_encoder import EncoderUNet
from ..arch.vgg import VGG
from ..arch.wide_resnet import WideResNet
from ..arch.wide_resnet_imagenet import WideResNetImageNet
from ..errors import ConvatlasError
from ..net.card import adapter
from ..net.model import Spec
from ..net.registry import change, variant
from ..parts import times

Item = TypeVar("Item")
Changes = dict[str, Any]
TINY = 1e-9         # 10 · 1.1 is 11.000000000000002, and that is no reason for a twelfth layer


def scaled(spec: Spec, *, depth: float = 1, width: float = 1, image_size: int | tuple[int, int] | None = None) -> Spec:
    """The specification with `depth` times the layers, `width` times the channels and images of `image_size` (None: as
    they are), each rounded as its paper does.

    The multipliers are relative to `spec`; with 1 and 1 it comes back equal. Raises ConvatlasError for a family that
    has no such dimensions, and for what its specification refuses.
    """
    for name, value in (("depth", depth), ("width", width)):
        if not 0 < value < 1e4:
            raise ConvatlasError(f"{name} = {value!r} is refused: it multiplies, and must be more than 0 and less than "
                                 "10,000")
    known = {field: getattr(spec, field) for field in type(spec).__dataclass_fields__}
    spec = adapter(type(spec)).validate_python(known)       # tables that were given as lists
    changes = {} if depth == width == 1 else multiplied(spec, depth, width)
    return change(spec, changes if image_size is None else {**changes, "image_size": image_size})


@singledispatch
def multiplied(spec: Spec, depth: float, width: float) -> Changes:
    """The fields that change, by the specification's class; ConvatlasError where there is no rule for it."""
    known = sorted(kind.__name__ for kind in multiplied.registry if kind is not object)
    raise ConvatlasError(f"{type(spec).__name__} has no rule by which it is scaled: those that have one are "
                         f"{', '.join(known)}")


def layers(count: int, depth: float) -> int:
    """`depth` times as many layers, rounded up (EfficientNet's authors: `round_repeats`); one at least."""
    return max(1, ceil(count * depth - TINY))


def channels(count: int, width: float, multiple: int = 8) -> int:
    """`width` times as many channels, the nearest multiple of `multiple`; as they are where width is 1."""
    return count if width == 1 else times(count, width, multiple)


def factor(value: float, by: float) -> float:
    """A specification's own multiplier times another, without the traces of binary fractions."""
    return round(value * by, 9)


def stretched(rows: Sequence[Item], count: int) -> list[Item]:
    """So many rows: each as often as its share, in their order; of fewer, the first of each share."""
    return [rows[i * len(rows) // count] for i in range(count)]


# -- multipliers of their own ------------------------------------------------------------------------------------------


@multiplied.register
def _(spec: EfficientNet, depth: float, width: float) -> Changes:
    """Its own fields: channels to multiples of 8 and never below 90 %, layers up (Tan & Le 2019, authors' code)."""
    return {"depth": factor(spec.depth, depth), "width": factor(spec.width, width)}


@multiplied.register
def _(spec: MobileNetV1, depth: float, width: float) -> Changes:
    """The width multiplier of section 3.3; depth as in Table 3 of Tan & Le 2019, over the rows of its Table 1."""
    return {"width": factor(spec.width, width),
            "table": tuple(row._replace(layers=layers(row.layers, depth)) for row in spec.table)}


@multiplied.register
def _(spec: MobileNetV2, depth: float, width: float) -> Changes:
    """The width multiplier of section 6.1, under which the last convolution is not narrowed; depth multiplies n."""
    return {"width": factor(spec.width, width),
            "table": tuple(row._replace(n=layers(row.n, depth)) for row in spec.table)}


@multiplied.register
def _(spec: MobileNetV3, depth: float, width: float) -> Changes:
    """Its width multiplier; depth repeats the rows between two that differ in their output, the striding one once."""
    cuts = [i for i, row in enumerate(spec.table) if i == 0 or row.s > 1 or row.out != spec.table[i - 1].out]
    runs = [spec.table[i:j] for i, j in zip(cuts, [*cuts[1:], None], strict=True)]
    table = [row if strides else row._replace(s=1) for run in runs
             for row, strides in _deeper(run, [row.s for row in run], depth)]
    return {"width": factor(spec.width, width), "table": tuple(table)}


@multiplied.register
def _(spec: ResNetCifar | PreactResNetCifar, depth: float, width: float) -> Changes:
    """Blocks per stage, n; filters to the nearest whole number."""
    return {"n": layers(spec.n, depth), "width": factor(spec.width, width)}


@multiplied.register
def _(spec: WideResNet, depth: float, width: float) -> Changes:
    """WRN-d-k: N = (d − 4)/6 units per stage; all filters, the stem's too, so that k stays a whole number."""
    units = layers((spec.depth - 4) // 6, depth)
    return {"depth": 6 * units + 4, "width": factor(spec.width, width)}


@multiplied.register
def _(spec: VGG, depth: float, width: float) -> Changes:
    """Convolutions of each block (Table 1's columns add 3×3 ones from left to right); all channels, fc6 and fc7 too."""
    return {"table": tuple(tuple(stretched(block, layers(len(block), depth))) for block in spec.table),
            "width": factor(spec.width, width), "fc": channels(spec.fc, width, 1)}


@multiplied.register
def _(spec: AllCNN, depth: float, width: float) -> Changes:
    """Convolutions of each block; what reduces comes once. Kernels to the nearest whole number."""
    blocks = (tuple(row if strides else row._replace(stride=1)
                    for row, strides in _deeper(block, [row.stride for row in block], depth)) for block in spec.table)
    return {"table": tuple(blocks), "width": factor(spec.width, width)}


@multiplied.register
def _(spec: SLaK, depth: float, width: float) -> Changes:
    """Blocks of each stage; its own multiplier of channels, rounded down as its authors do."""
    return {"blocks": _each(spec.blocks, depth), "width": factor(spec.width, width)}


@multiplied.register
def _(spec: RepVGG, depth: float, width: float) -> Changes:
    """Its multipliers a and b, so that channels are multiples of 8, which groups divide; the layers of all stages but
    the last, which has one on purpose (section 3.4: its channels would have most of the parameters).
    """
    *most, last = spec.layers
    return {"layers": (*(layers(count, depth) for count in most), last),
            "a": spec.a if width == 1 else times(64, spec.a * width, 8) / 64,
            "b": spec.b if width == 1 else times(512, spec.b * width, 8) / 512}


# -- tables of channels ------------------------------------------------------------------------------------------------


@multiplied.register
def _(spec: ResNet | PreactResNet, depth: float, width: float) -> Changes:
    """Blocks of each stage, planes of all (Tan & Le 2019, Table 3, scale ResNet-50 so)."""
    return {"table": _trunk(spec.table, depth, width)}


@multiplied.register
def _(spec: SENet, depth: float, width: float) -> Changes:
    """As ResNet; a gate's channels follow by its reduction."""
    return {"net": _trunk(spec.net, depth, width)}


@multiplied.register
def _(spec: ResNeXt | WideResNetImageNet, depth: float, width: float) -> Changes:
    """As ResNet: cardinality stays, a group's channels grow with the planes and are rounded down, stage by stage."""
    return {"depths": _trunk(spec.depths, depth, width)}


@multiplied.register
def _(spec: ResNeXtCifar, depth: float, width: float) -> Changes:
    """Blocks per stage; planes, and a group's channels in the same proportion as far as planes divide 64 of them."""
    planes = channels(spec.planes, width)
    step = planes // gcd(planes, 64)
    return {"blocks": layers(spec.blocks, depth), "planes": planes,
            "width": spec.width if width == 1 else times(spec.width, planes / spec.planes, step)}


@multiplied.register
def _(spec: DenseNet, depth: float, width: float) -> Changes:
    """Layers of each block, the growth rate k, and the stem's 2k. A layer more widens all behind it: cost grows faster
    than depth.
    """
    return {"layers": _each(spec.layers, depth), **_growth(spec, width)}


@multiplied.register
def _(spec: DenseNetCifar, depth: float, width: float) -> Changes:
    """As DenseNet, with one number for all three blocks."""
    return {"layers": layers(spec.layers, depth), **_growth(spec, width)}


@multiplied.register
def _(spec: ConvNeXt | RepLKNet, depth: float, width: float) -> Changes:
    """Blocks and channels of each stage."""
    return {"blocks": _each(spec.blocks, depth), "channels": tuple(channels(count, width) for count in spec.channels)}


@multiplied.register
def _(spec: ConvNeXtIsotropic, depth: float, width: float) -> Changes:
    """Blocks and channels, which all stages share."""
    return {"blocks": layers(spec.blocks, depth), "channels": channels(spec.channels, width)}


@multiplied.register
def _(spec: UNet, depth: float, width: float) -> Changes:
    """Levels, each new one with twice the channels of the one above; two convolutions per level stay."""
    widths = list(spec.widths)[:max(2, layers(len(spec.widths), depth))]
    while len(widths) < layers(len(spec.widths), depth):
        widths.append(2 * widths[-1])
    return {"widths": tuple(channels(count, width) for count in widths)}


@multiplied.register
def _(spec: EncoderUNet, depth: float, width: float) -> Changes:
    """The encoder by its own rule; the decoder's levels follow from it, and only their channels grow."""
    fields = dict(spec.encoder_fields)
    encoder = change(variant(spec.encoder).spec, fields, spec.encoder)
    fields |= multiplied(encoder, depth, width)
    return {"encoder_fields": tuple(fields.items()),
            "decoder_widths": tuple(channels(count, width) for count in spec.decoder_widths)}


def _each(counts: Iterable[int], depth: float) -> tuple[int, ...]:
    return tuple(layers(count, depth) for count in counts)


def _trunk(row: Any, depth: float, width: float) -> Any:
    """A row with blocks conv2 to conv5 and planes, multiplied."""
    return row._replace(**{stage: layers(getattr(row, stage), depth) for stage in ("conv2", "conv3", "conv4", "conv5")},
                        planes=channels(row.planes, width))


def _growth(spec: DenseNet | DenseNetCifar, width: float) -> Changes:
    return {"growth": channels(spec.growth, width, 1), "stem_channels": channels(spec.stem_channels, width, 1)}


def _deeper(rows: Sequence[Item], strides: Sequence[int], depth: float) -> list[tuple[Item, bool]]:
    """`depth` times the rows, and False for those that must lose their stride. Those that stride come first, once; the
    others share the rest, and where there are none the last that strides does.
    """
    count = layers(len(rows), depth)
    first = next((i for i, stride in enumerate(strides) if stride == 1), len(rows))
    head, rest = list(rows[:first]), list(rows[first:])
    more = max(0, count - first)
    return [*((row, True) for row in head), *((row, bool(rest)) for row in stretched(rest or head[-1:], more))]
