"""Well-known releases other than torchvision's and timm's: their networks, told again with their names, and ours
compute the same.

Each network below has the attribute names, the order and the constants of the release's code; its sizes come from our
specification.
"""

import re
from collections import OrderedDict
from itertools import cycle, pairwise
from math import ceil
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convatlas
from convatlas import ConvatlasError, weights, zoo  # noqa: F401 - registers the networks
from convatlas.net import registry
from convatlas.net.fold import fold_structure
from convatlas.weights import files, foreign, tables
from parity import randomized

WRITTEN_BY_COMPARING = ("torchvision", "timm", "keras", "caffe")   # tested in tests of their own


def conv(cin, cout, kernel=1, stride=1, groups=1, bias=False):
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    return nn.Conv2d(cin, cout, (height, width), stride, (height // 2, width // 2), groups=groups, bias=bias)


def conv_bn(*args, act=None, names=("conv", "bn"), **kwargs):
    layers = (conv(*args, **kwargs), nn.BatchNorm2d(args[1]), act)
    return named(*((name, layer) for name, layer in zip((*names, "nonlinear"), layers, strict=True) if layer))


def named(*layers):
    return nn.Sequential(OrderedDict(layers))


def stack(*layers):
    """Modules and lists of them in a row."""
    return nn.Sequential(*(layer for entry in layers for layer in (entry if isinstance(entry, list) else [entry])))


def blocks(make, cin, plan):
    """[make(cin, cout, stride)] of each (cout, count, stride); only the first strides."""
    out = []
    for cout, count, stride in plan:
        out.append([make(cin if i == 0 else cout, cout, stride if i == 0 else 1) for i in range(count)])
        cin = cout
    return out


class Pooled(nn.Module):
    """Ends with the mean over the map and a linear layer."""

    def classify(self, x, name):
        return getattr(self, name)(x.mean((2, 3)))


# -- residual networks -------------------------------------------------------------------------------------------------


class ResidualBlock(nn.Module):
    """conv1, bn1, …; `shortcut` is what the projection is called. A bottleneck's 3×3 convolution strides."""

    def __init__(self, cin, cout, stride, kernels, shortcut):
        super().__init__()
        self.depth, self.name = len(kernels), shortcut
        width = cout if self.depth == 2 else cout // 4
        sizes = [cin, *[width] * (self.depth - 1), cout]
        for i, kernel in enumerate(kernels):
            first = i == kernels.index(3)
            setattr(self, f"conv{i + 1}", conv(sizes[i], sizes[i + 1], kernel, stride if first else 1))
            setattr(self, f"bn{i + 1}", nn.BatchNorm2d(sizes[i + 1]))
        if stride != 1 or cin != cout:
            setattr(self, shortcut, stack(conv(cin, cout, 1, stride), nn.BatchNorm2d(cout)))

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y if i == 1 else y.relu()))
        return (y + (getattr(self, self.name)(x) if hasattr(self, self.name) else x)).relu()


class ResNet(Pooled):
    def __init__(self, spec, stem, plan, kernels, shortcut, head):
        super().__init__()
        self.conv1, self.bn1, self.depth, self.head = conv(3, stem, 3), nn.BatchNorm2d(stem), len(plan), head
        for i, stage in enumerate(blocks(lambda *sizes: ResidualBlock(*sizes, kernels, shortcut), stem, plan)):
            setattr(self, f"layer{i + 1}", stack(stage))
        setattr(self, head, nn.Linear(plan[-1][0], spec.num_classes))

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        for i in range(self.depth):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.classify(x, self.head)


def akamaster_resnet(spec):
    """Shortcuts without parameters: every other pixel, and zeros on both sides of the channels."""
    model = ResNet(spec, 16, [(16, spec.n, 1), (32, spec.n, 2), (64, spec.n, 2)], (3, 3), "shortcut", "linear")
    for stage in (model.layer2, model.layer3):
        around = stage[0].conv2.out_channels // 4
        stage[0].shortcut = Slot(lambda x, around=around: nn.functional.pad(x[:, :, ::2, ::2],
                                                                            (0, 0, 0, 0, around, around)))
    return model


class Slot(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.forward = call


def chenyaofo_resnet(spec):
    return ResNet(spec, 16, [(16, spec.n, 1), (32, spec.n, 2), (64, spec.n, 2)], (3, 3), "downsample", "fc")


def wide_plan(spec):
    expand = 1 if spec.table.block == "basic" else 4
    return [(64 * 2**i * expand, count, 1 if i == 0 else 2) for i, count in enumerate(spec.table[1:5])]


def kuangliu_resnet(spec):
    return ResNet(spec, 64, wide_plan(spec), (3, 3) if spec.table.block == "basic" else (1, 3, 1), "shortcut", "linear")


class WeiaicunzaiBlock(nn.Module):
    def __init__(self, cin, cout, stride, basic):
        super().__init__()
        inner = cout // 4
        sizes = ([(cin, cout, 3, stride), (cout, cout, 3)] if basic
                 else [(cin, inner), (inner, inner, 3, stride), (inner, cout)])
        self.residual_function = stack(*[[conv(*size), nn.BatchNorm2d(size[1]), nn.ReLU()] for size in sizes])[:-1]
        self.shortcut = (stack(conv(cin, cout, 1, stride), nn.BatchNorm2d(cout))
                         if stride != 1 or cin != cout else stack())

    def forward(self, x):
        return (self.residual_function(x) + self.shortcut(x)).relu()


class WeiaicunzaiResNet(Pooled):
    def __init__(self, spec):
        super().__init__()
        plan, basic = wide_plan(spec), spec.table.block == "basic"
        self.conv1 = stack(conv(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU())
        self.conv2_x, self.conv3_x, self.conv4_x, self.conv5_x = map(
            stack, blocks(lambda *s: WeiaicunzaiBlock(*s, basic), 64, plan))
        self.fc = nn.Linear(plan[-1][0], spec.num_classes)

    def forward(self, x):
        return self.classify(self.conv5_x(self.conv4_x(self.conv3_x(self.conv2_x(self.conv1(x))))), "fc")


class XternalzBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(cin), conv(cin, cout, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(cout), conv(cout, cout, 3)
        self.convShortcut = conv(cin, cout, 1, stride) if cin != cout else None

    def forward(self, x):
        y = self.bn1(x).relu()
        out = self.conv2(self.bn2(self.conv1(y)).relu())
        return out + (x if self.convShortcut is None else self.convShortcut(y))


class XternalzWideResNet(Pooled):
    def __init__(self, spec):
        super().__init__()
        count, k = (spec.depth - 4) // 6, spec.widen
        self.conv1 = conv(3, 16, 3)
        stages = blocks(XternalzBlock, 16, [(16 * k, count, 1), (32 * k, count, 2), (64 * k, count, 2)])
        self.block1, self.block2, self.block3 = (named(("layer", stack(stage))) for stage in stages)
        self.bn1, self.fc = nn.BatchNorm2d(64 * k), nn.Linear(64 * k, spec.num_classes)

    def forward(self, x):
        return self.classify(self.bn1(self.block3(self.block2(self.block1(self.conv1(x))))).relu(), "fc")


class SzagoruykoBlock(nn.Module):
    """Kernels are parameters, without a module of their own."""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.stride, self.bn0, self.bn1 = stride, nn.BatchNorm2d(cin), nn.BatchNorm2d(cout)
        self.conv0, self.conv1 = kernel(cin, cout, 3), kernel(cout, cout, 3)
        self.convdim = kernel(cin, cout, 1) if cin != cout else None

    def forward(self, x):
        first = self.bn0(x).relu()
        y = F.conv2d(first, self.conv0, stride=self.stride, padding=1)
        y = F.conv2d(self.bn1(y).relu(), self.conv1, padding=1)
        return y + (x if self.convdim is None else F.conv2d(first, self.convdim, stride=self.stride))


def kernel(cin, cout, side):
    return nn.Parameter(torch.randn(cout, cin, side, side) / side / cin**0.5)


class SzagoruykoWideResNet(Pooled):
    def __init__(self, spec):
        super().__init__()
        count, k = (spec.depth - 4) // 6, spec.widen
        self.conv0 = kernel(3, 16, 3)
        stages = blocks(SzagoruykoBlock, 16, [(16 * k, count, 1), (32 * k, count, 2), (64 * k, count, 2)])
        self.group0, self.group1, self.group2 = (named(*((f"block{i}", block) for i, block in enumerate(stage)))
                                                 for stage in stages)
        self.bn, self.fc = nn.BatchNorm2d(64 * k), nn.Linear(64 * k, spec.num_classes)

    def forward(self, x):
        x = F.conv2d(x, self.conv0, padding=1)
        return self.classify(self.bn(self.group2(self.group1(self.group0(x)))).relu(), "fc")


class Prlz77Block(nn.Module):
    def __init__(self, cin, cout, stride, groups, width):
        super().__init__()
        inner = groups * cout * width // 256
        self.conv_reduce, self.bn_reduce = conv(cin, inner), nn.BatchNorm2d(inner)
        self.conv_conv, self.bn = conv(inner, inner, 3, stride, groups), nn.BatchNorm2d(inner)
        self.conv_expand, self.bn_expand = conv(inner, cout), nn.BatchNorm2d(cout)
        self.shortcut = (conv_bn(cin, cout, 1, stride, names=("shortcut_conv", "shortcut_bn"))
                         if cin != cout else stack())

    def forward(self, x):
        y = self.bn(self.conv_conv(self.bn_reduce(self.conv_reduce(x)).relu())).relu()
        return (self.shortcut(x) + self.bn_expand(self.conv_expand(y))).relu()


class Prlz77ResNeXt(Pooled):
    def __init__(self, spec):
        super().__init__()
        self.conv_1_3x3, self.bn_1 = conv(3, 64, 3), nn.BatchNorm2d(64)
        stages = blocks(lambda *s: Prlz77Block(*s, spec.groups, spec.width), 64,
                        [(256 * 2**i, spec.blocks, 1 + (i > 0)) for i in range(3)])
        self.stage_1, self.stage_2, self.stage_3 = (
            named(*((f"stage_{i + 1}_bottleneck_{j}", block) for j, block in enumerate(stage)))
            for i, stage in enumerate(stages))
        self.classifier = nn.Linear(1024, spec.num_classes)

    def forward(self, x):
        return self.classify(self.stage_3(self.stage_2(self.stage_1(self.bn_1(self.conv_1_3x3(x)).relu()))),
                             "classifier")


class Sum(nn.Sequential):
    def forward(self, x):
        return sum(path(x) for path in self)


def cadene_block(cin, cout, stride, groups, inner):
    grouped = stack(conv(cin, inner), nn.BatchNorm2d(inner), nn.ReLU(),
                    conv(inner, inner, 3, stride, groups), nn.BatchNorm2d(inner), nn.ReLU())
    shortcut = stack(conv(cin, cout, 1, stride), nn.BatchNorm2d(cout)) if cin != cout else nn.Identity()
    return stack(Sum(stack(grouped, conv(inner, cout), nn.BatchNorm2d(cout)), shortcut), nn.Identity(), nn.ReLU())


class CadeneResNeXt(Pooled):
    def __init__(self, spec):
        super().__init__()
        plan = [(256 * 2**i, count, 1 if i == 0 else 2) for i, count in enumerate(spec.depths[:4])]
        inner = spec.groups * spec.width       # of the first stage
        stages = blocks(lambda *sizes: cadene_block(*sizes, spec.groups, inner * sizes[1] // 256), 64, plan)
        self.features = stack(conv(3, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
                              *map(stack, stages))
        self.last_linear = nn.Linear(2048, spec.num_classes)

    def forward(self, x):
        return self.classify(self.features(x), "last_linear")


# -- Inception ---------------------------------------------------------------------------------------------------------


class BasicConv(nn.Module):
    """`valid`: without padding."""

    def __init__(self, cin, cout, kernel=1, stride=1, valid=False):
        super().__init__()
        self.conv, self.bn = conv(cin, cout, kernel, stride), nn.BatchNorm2d(cout, eps=1e-3)
        if valid:
            self.conv.padding = (0, 0)

    def forward(self, x):
        return self.bn(self.conv(x)).relu()


def chain(cin, *layers):
    """BasicConvs of (cout, kernel, stride, valid); one alone is no sequence."""
    convs = []
    for layer in layers:
        convs.append(BasicConv(cin, *layer))
        cin = layer[0]
    return convs[0] if len(convs) == 1 else stack(convs)


class Branches(nn.Module):
    """branch0, branch1, … beside each other."""

    def __init__(self, *paths):
        super().__init__()
        for i, path in enumerate(paths):
            setattr(self, f"branch{i}", path)
        self.count = len(paths)

    def forward(self, x):
        return torch.cat([getattr(self, f"branch{i}")(x) for i in range(self.count)], 1)


class ScaledBlock(Branches):
    def __init__(self, cin, scale, *paths, act=True):
        super().__init__(*(chain(cin, *path) for path in paths))
        self.conv2d, self.scale, self.act = conv(sum(path[-1][0] for path in paths), cin, bias=True), scale, act

    def forward(self, x):
        y = self.conv2d(super().forward(x)) * self.scale + x
        return y.relu() if self.act else y


class CadeneInceptionResNetV2(Pooled):
    def __init__(self, spec):
        super().__init__()
        self.conv2d_1a, self.conv2d_2a, self.conv2d_2b = (BasicConv(3, 32, 3, 2, True), BasicConv(32, 32, 3, 1, True),
                                                          BasicConv(32, 64, 3))
        self.conv2d_3b, self.conv2d_4a, self.pool = (BasicConv(64, 80), BasicConv(80, 192, 3, 1, True),
                                                     nn.MaxPool2d(3, 2))
        average = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.mixed_5b = Branches(chain(192, (96,)), chain(192, (48,), (64, 5)), chain(192, (64,), (96, 3), (96, 3)),
                                 stack(average, BasicConv(192, 64)))
        self.mixed_6a = Branches(chain(320, (384, 3, 2, True)),
                                 chain(320, (256,), (256, 3), (384, 3, 2, True)), self.pool)
        self.mixed_7a = Branches(chain(1088, (256,), (384, 3, 2, True)), chain(1088, (256,), (288, 3, 2, True)),
                                 chain(1088, (256,), (288, 3), (320, 3, 2, True)), self.pool)
        block35 = 320, 0.17, [(32,)], [(32,), (32, 3)], [(32,), (48, 3), (64, 3)]
        block17 = 1088, 0.1, [(192,)], [(128,), (160, (1, 7)), (192, (7, 1))]
        block8 = 2080, 0.2, [(192,)], [(192,), (224, (1, 3)), (256, (3, 1))]
        repeats = zip((block35, block17, block8), spec.blocks, strict=True)
        self.repeat, self.repeat_1, self.repeat_2 = (stack([ScaledBlock(*block) for _ in range(count)])
                                                     for block, count in repeats)
        self.block8 = ScaledBlock(2080, 1.0, *block8[2:], act=False)
        self.conv2d_7b, self.last_linear = BasicConv(2080, 1536), nn.Linear(1536, spec.num_classes)

    def forward(self, x):
        x = self.pool(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x))))
        x = self.repeat(self.mixed_5b(self.pool(self.conv2d_4a(self.conv2d_3b(x)))))
        x = self.block8(self.repeat_2(self.mixed_7a(self.repeat_1(self.mixed_6a(x)))))
        return self.classify(self.conv2d_7b(x), "last_linear")


class AndreasveitLayer(nn.Module):
    def __init__(self, cin, growth, bottleneck):
        super().__init__()
        sizes = [(cin, 4 * growth), (4 * growth, growth, 3)] if bottleneck else [(cin, growth, 3)]
        for i, size in enumerate(sizes):
            setattr(self, f"bn{i + 1}", nn.BatchNorm2d(size[0]))
            setattr(self, f"conv{i + 1}", conv(*size))
        self.bottleneck = bottleneck

    def forward(self, x):
        y = self.conv1(self.bn1(x).relu())
        return torch.cat([x, self.conv2(self.bn2(y).relu()) if self.bottleneck else y], 1)


class AndreasveitDenseNet(Pooled):
    def __init__(self, spec):
        super().__init__()
        width, growth = 2 * spec.growth, spec.growth
        self.conv1 = conv(3, width, 3)
        for i in range(1, 4):
            layers = [AndreasveitLayer(width + j * growth, growth, spec.bottleneck) for j in range(spec.layers)]
            setattr(self, f"block{i}", named(("layer", stack(layers))))
            width += spec.layers * growth
            if i < 3:
                out = int(width * spec.compression)
                setattr(self, f"trans{i}", named(("bn1", nn.BatchNorm2d(width)), ("relu", nn.ReLU()),
                                                 ("conv1", conv(width, out)), ("pool", nn.AvgPool2d(2))))
                width = out
        self.bn1, self.fc = nn.BatchNorm2d(width), nn.Linear(width, spec.num_classes)

    def forward(self, x):
        x = self.trans2(self.block2(self.trans1(self.block1(self.conv1(x)))))
        return self.classify(self.bn1(self.block3(x)).relu(), "fc")


# -- the authors' own --------------------------------------------------------------------------------------------------


class RepVGGBlock(nn.Module):
    def __init__(self, cin, cout, stride, groups=1):
        super().__init__()
        self.rbr_identity = nn.BatchNorm2d(cin) if cin == cout and stride == 1 else None
        self.rbr_dense, self.rbr_1x1 = conv_bn(cin, cout, 3, stride, groups), conv_bn(cin, cout, 1, stride, groups)

    def forward(self, x):
        y = self.rbr_dense(x) + self.rbr_1x1(x)
        return (y if self.rbr_identity is None else y + self.rbr_identity(x)).relu()


class RepVGGDeployed(nn.Module):
    def __init__(self, cin, cout, stride, groups=1):
        super().__init__()
        self.rbr_reparam = conv(cin, cout, 3, stride, groups, bias=True)

    def forward(self, x):
        return self.rbr_reparam(x).relu()


class RepVGG(Pooled):
    def __init__(self, spec, block=RepVGGBlock):
        super().__init__()
        widths = [int(64 * 2**i * (spec.b if i == 3 else spec.a)) for i in range(4)]
        stem = min(64, int(64 * spec.a))
        self.stage0 = block(3, stem, 2)
        groups = cycle((1, spec.groups))        # every other block after the stem is grouped
        plan = [(width, count, 2) for width, count in zip(widths, spec.layers, strict=True)]
        self.stage1, self.stage2, self.stage3, self.stage4 = map(stack, blocks(
            lambda *sizes: block(*sizes, next(groups)), stem, plan))
        self.linear = nn.Linear(widths[-1], spec.num_classes)

    def forward(self, x):
        return self.classify(self.stage4(self.stage3(self.stage2(self.stage1(self.stage0(x))))), "linear")


class ChannelNorm(nn.LayerNorm):
    """Over the channels of a map (N, C, H, W)."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """`spatial` is (name, module)."""

    def __init__(self, width, scaled, spatial):
        super().__init__()
        self.spatial = spatial[0]
        setattr(self, *spatial)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1, self.pwconv2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.rand(width)) if scaled else None

    def forward(self, x):
        y = getattr(self, self.spatial)(x).permute(0, 2, 3, 1)
        y = self.pwconv2(F.gelu(self.pwconv1(self.norm(y))))
        return x + (y if self.gamma is None else self.gamma * y).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    def __init__(self, spec, widths, block):
        super().__init__()
        stem = stack(nn.Conv2d(3, widths[0], 4, 4), ChannelNorm(widths[0], eps=1e-6))
        downs = [stack(ChannelNorm(a, eps=1e-6), nn.Conv2d(a, b, 2, 2)) for a, b in pairwise(widths)]
        self.downsample_layers = nn.ModuleList([stem, *downs])
        self.stages = nn.ModuleList(stack([block(i, width) for _ in range(count)])
                                    for i, (width, count) in enumerate(zip(widths, spec.blocks, strict=True)))
        self.norm, self.head = nn.LayerNorm(widths[-1], eps=1e-6), nn.Linear(widths[-1], spec.num_classes)

    def forward(self, x):
        for down, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(down(x))
        return self.head(self.norm(x.mean((2, 3))))


def convnext(spec):
    return ConvNeXt(spec, spec.channels, lambda _, width: ConvNeXtBlock(
        width, spec.layer_scale > 0, ("dwconv", conv(width, width, 7, groups=width, bias=True))))


class ConvNeXtIsotropic(nn.Module):
    def __init__(self, spec):
        super().__init__()
        width = spec.channels
        self.stem = nn.Conv2d(3, width, 16, 16)
        self.blocks = stack(
            [ConvNeXtBlock(width, spec.layer_scale > 0, ("dwconv", conv(width, width, 7, groups=width, bias=True)))
             for _ in range(spec.blocks)])
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, spec.num_classes)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.stem(x)).mean((2, 3))))


class Strips(nn.Module):
    def __init__(self, width, kernel, small):
        super().__init__()
        self.Decom1, self.Decom2, self.small_conv = (
            conv_bn(width, width, size, groups=width) for size in ((kernel, small), (small, kernel), small))

    def forward(self, x):
        return self.Decom1(x) + self.Decom2(x) + self.small_conv(x)


def slak(spec):
    widths = [int(width * spec.width) for width in spec.channels]
    return ConvNeXt(spec, widths, lambda i, width: ConvNeXtBlock(
        width, True, ("large_kernel", Strips(width, spec.kernels[i], spec.small))))


class LargeKernel(nn.Module):
    def __init__(self, width, kernel, small):
        super().__init__()
        self.lkb_origin = conv_bn(width, width, kernel, groups=width)
        self.small_conv = conv_bn(width, width, small, groups=width) if small else None

    def forward(self, x):
        return self.lkb_origin(x) if self.small_conv is None else self.lkb_origin(x) + self.small_conv(x)


class RepLKBlock(nn.Module):
    def __init__(self, width, inner, kernel, small):
        super().__init__()
        self.prelkb_bn, self.pw1, self.pw2 = (nn.BatchNorm2d(width), conv_bn(width, inner, act=nn.ReLU()),
                                              conv_bn(inner, width))
        self.large_kernel = LargeKernel(inner, kernel, small)

    def forward(self, x):
        return x + self.pw2(self.large_kernel(self.pw1(self.prelkb_bn(x))).relu())


class RepLKFeedForward(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.preffn_bn, self.pw1, self.pw2 = nn.BatchNorm2d(width), conv_bn(width, 4 * width), conv_bn(4 * width, width)

    def forward(self, x):
        return x + self.pw2(F.gelu(self.pw1(self.preffn_bn(x))))


class RepLKNet(Pooled):
    def __init__(self, spec):
        super().__init__()
        widths, relu = spec.channels, nn.ReLU()
        first = widths[0]
        self.stem = stack(conv_bn(3, first, 3, 2, act=relu), conv_bn(first, first, 3, groups=first, act=relu),
                          conv_bn(first, first, act=relu), conv_bn(first, first, 3, 2, first, act=relu))
        self.stages = nn.ModuleList(named(("blocks", stack(*[
            [RepLKBlock(width, int(width * spec.inner), kernel, spec.small), RepLKFeedForward(width)]
            for _ in range(count)]))) for width, kernel, count in zip(widths, spec.kernels, spec.blocks, strict=True))
        self.transitions = nn.ModuleList(stack(conv_bn(a, b, act=relu), conv_bn(b, b, 3, 2, b, act=relu))
                                         for a, b in pairwise(widths))
        self.norm, self.head = nn.BatchNorm2d(widths[-1]), nn.Linear(widths[-1], spec.num_classes)

    def forward(self, x):
        x = self.stages[0](self.stem(x))
        for down, stage in zip(self.transitions, list(self.stages)[1:], strict=True):
            x = stage(down(x))
        return self.classify(self.norm(x), "head")


# -- mobile networks ---------------------------------------------------------------------------------------------------


def divisible(width, by=8):
    rounded = max(by, int(width + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * width else rounded


class SameConv(nn.Conv2d):
    """TensorFlow's padding: as much as the output's size needs, an odd pixel behind."""

    def forward(self, x):
        pads = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads))


def tf_bn(width):
    return nn.BatchNorm2d(width, eps=1e-3)


class MBConv(nn.Module):
    def __init__(self, cin, cout, stride, kernel, expand):
        super().__init__()
        width, squeezed = cin * expand, max(1, int(cin * 0.25))
        self.expand, self.skip = expand != 1, stride == 1 and cin == cout
        if self.expand:
            self._expand_conv, self._bn0 = SameConv(cin, width, 1, bias=False), tf_bn(width)
        self._depthwise_conv, self._bn1 = SameConv(width, width, kernel, stride, groups=width, bias=False), tf_bn(width)
        self._se_reduce, self._se_expand = SameConv(width, squeezed, 1), SameConv(squeezed, width, 1)
        self._project_conv, self._bn2 = SameConv(width, cout, 1, bias=False), tf_bn(cout)

    def forward(self, x):
        y = F.silu(self._bn0(self._expand_conv(x))) if self.expand else x
        y = F.silu(self._bn1(self._depthwise_conv(y)))
        y = self._se_expand(F.silu(self._se_reduce(y.mean((2, 3), keepdim=True)))).sigmoid() * y
        y = self._bn2(self._project_conv(y))
        return x + y if self.skip else y


class LukemelasEfficientNet(Pooled):
    STAGES = (      # kernel, expansion, channels, blocks, stride
        (3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 3, 2), (5, 6, 112, 3, 1), (5, 6, 192, 4, 2),
        (3, 6, 320, 1, 1))

    def __init__(self, spec):
        super().__init__()
        stem, last = divisible(32 * spec.width), divisible(1280 * spec.width)
        self._conv_stem, self._bn0 = SameConv(3, stem, 3, 2, bias=False), tf_bn(stem)
        plan = [(divisible(channels * spec.width), ceil(count * spec.depth), stride)
                for *_, channels, count, stride in self.STAGES]
        sizes = blocks(lambda *sizes: sizes, stem, plan)
        self._blocks = stack([MBConv(*each, kernel, expand)
                              for stage, (kernel, expand, *_) in zip(sizes, self.STAGES, strict=True)
                              for each in stage])
        self._conv_head, self._bn1 = SameConv(plan[-1][0], last, 1, bias=False), tf_bn(last)
        self._fc = nn.Linear(last, spec.num_classes)

    def forward(self, x):
        x = self._blocks(F.silu(self._bn0(self._conv_stem(x))))
        return self.classify(F.silu(self._bn1(self._conv_head(x))), "_fc")


class InvertedResidual(nn.Module):
    def __init__(self, cin, cout, stride, expand):
        super().__init__()
        width = cin * expand
        grow = [conv(cin, width), nn.BatchNorm2d(width), nn.ReLU6()] if expand != 1 else []
        self.conv = stack(grow, conv(width, width, 3, stride, width), nn.BatchNorm2d(width), nn.ReLU6(),
                          conv(width, cout), nn.BatchNorm2d(cout))
        self.skip = stride == 1 and cin == cout

    def forward(self, x):
        return x + self.conv(x) if self.skip else self.conv(x)


class MobileNetV2(Pooled):
    """`within`: whether the last convolution is one of the features, as in tonylins' code."""

    # channels, blocks, stride
    STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))

    def __init__(self, spec, within):
        super().__init__()
        stem, last = divisible(32 * spec.width), 1280
        plan = [(divisible(channels * spec.width), count, stride) for channels, count, stride in self.STAGES]
        first, *rest = blocks(lambda *sizes: sizes, stem, plan)
        features = [InvertedResidual(*first[0], 1), *(InvertedResidual(*sizes, 6) for stage in rest for sizes in stage)]
        end = stack(conv(plan[-1][0], last), nn.BatchNorm2d(last), nn.ReLU6())
        self.features = stack(stack(conv(3, stem, 3, 2), nn.BatchNorm2d(stem), nn.ReLU6()), features,
                              [end] if within else [])
        self.conv = nn.Identity() if within else end
        self.classifier = nn.Linear(last, spec.num_classes)

    def forward(self, x):
        return self.classify(self.conv(self.features(x)), "classifier")


class Wjc852456MobileNet(Pooled):
    def __init__(self, spec):
        super().__init__()
        sizes = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
        plan = [(int(width * spec.width), 1, stride) for width, stride in sizes]
        stem = int(32 * spec.width)
        self.model = stack(stack(conv(3, stem, 3, 2), nn.BatchNorm2d(stem), nn.ReLU()),
                           *blocks(lambda cin, cout, stride: stack(
                               conv(cin, cin, 3, stride, cin), nn.BatchNorm2d(cin), nn.ReLU(), conv(cin, cout),
                               nn.BatchNorm2d(cout), nn.ReLU()), stem, plan))
        self.fc = nn.Linear(plan[-1][0], spec.num_classes)

    def forward(self, x):
        return self.classify(self.model(x), "fc")


# -- segmentation ------------------------------------------------------------------------------------------------------


class WkentaroFCN(nn.Module):
    LAYERS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))

    def __init__(self, spec):
        super().__init__()
        self.scales = (0.01, 0.0001) if spec.fusion == "at_once" else (1, 1)
        self.stride, classes, cin = spec.stride, spec.num_classes, 3
        for i, widths in enumerate(self.LAYERS):
            for j, width in enumerate(widths):
                setattr(self, f"conv{i + 1}_{j + 1}", nn.Conv2d(cin, width, 3, padding=100 if cin == 3 else 1))
                cin = width
        self.fc6, self.fc7, self.score_fr = (nn.Conv2d(512, 4096, 7), nn.Conv2d(4096, 4096, 1),
                                             nn.Conv2d(4096, classes, 1))
        up = lambda stride: nn.ConvTranspose2d(classes, classes, 2 * stride, stride, bias=False)     # noqa: E731
        if self.stride < 32:
            self.score_pool4, self.upscore2 = nn.Conv2d(512, classes, 1), up(2)
        if self.stride < 16:
            self.score_pool3, self.upscore_pool4 = nn.Conv2d(256, classes, 1), up(2)
        self.last = {32: "upscore", 16: "upscore16", 8: "upscore8"}[self.stride]
        setattr(self, self.last, up(self.stride))

    def forward(self, image):
        x, pools = image, []
        for i, widths in enumerate(self.LAYERS):
            for j in range(len(widths)):
                x = getattr(self, f"conv{i + 1}_{j + 1}")(x).relu()
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
            pools.append(x)
        x = self.score_fr(self.fc7(self.fc6(x).relu()).relu())
        if self.stride < 32:
            x = self.upscore2(x)
            x = x + self.score_pool4(pools[3] * self.scales[0])[:, :, 5:5 + x.shape[2], 5:5 + x.shape[3]]
        if self.stride < 16:
            x = self.upscore_pool4(x)
            x = x + self.score_pool3(pools[2] * self.scales[1])[:, :, 9:9 + x.shape[2], 9:9 + x.shape[3]]
        off = {32: 19, 16: 27, 8: 31}[self.stride]
        return getattr(self, self.last)(x)[:, :, off:off + image.shape[2], off:off + image.shape[3]]


# -- the comparison ----------------------------------------------------------------------------------------------------


class Release(NamedTuple):
    build: object       # our specification → their network
    small: str          # one of its models, whose scores are compared
    fields: dict        # that make it small
    size: int


NARROW = {"channels": (8, 12, 16, 20), "blocks": (1, 2, 1, 1)}
RELEASES = {    # family, library
    ("resnet_cifar", "pytorch-cifar-models"): Release(chenyaofo_resnet, "cifar10_resnet20", {}, 32),
    ("resnet_cifar", "pytorch_resnet_cifar10"): Release(akamaster_resnet, "resnet20", {}, 32),
    ("resnet", "pytorch-cifar"): Release(kuangliu_resnet, "ResNet50", {}, 32),
    ("resnet", "pytorch-cifar100"): Release(WeiaicunzaiResNet, "resnet18", {}, 32),
    ("wide_resnet", "WideResNet-pytorch"): Release(XternalzWideResNet, "WRN-16-4", {}, 32),
    ("wide_resnet", "wide-residual-networks"): Release(SzagoruykoWideResNet, "WRN-16-4", {}, 32),
    ("resnext_cifar", "ResNeXt.pytorch"): Release(Prlz77ResNeXt, "resnext29_8x64d", {"width": 4}, 32),
    ("densenet_cifar", "densenet-pytorch"): Release(AndreasveitDenseNet, "DenseNet-BC-100-12", {"layers": 4}, 32),
    ("resnext", "pretrained-models.pytorch"): Release(CadeneResNeXt, "resnext101_32x4d", {"depths": (1, 2, 1, 1)}, 64),
    ("inception_resnet_v2", "pretrained-models.pytorch"): Release(CadeneInceptionResNetV2, "inceptionresnetv2",
                                                                  {"blocks": (1, 2, 1)}, 107),
    ("repvgg", "authors"): Release(RepVGG, "RepVGG-B1g4", {"a": 0.5, "b": 0.5, "layers": (2, 2, 3, 1)}, 64),
    ("repvgg", "authors-deploy"): Release(lambda spec: RepVGG(spec, RepVGGDeployed), "RepVGG-B1g4-deploy",
                                          {"a": 0.5, "b": 0.5, "layers": (2, 2, 3, 1)}, 64),
    ("convnext", "authors"): Release(convnext, "convnext_tiny", NARROW, 64),
    ("convnext_isotropic", "authors"): Release(ConvNeXtIsotropic, "convnext_isotropic_large",
                                               {"channels": 16, "blocks": 3}, 64),
    ("slak", "authors"): Release(slak, "SLaK_tiny", NARROW, 64),
    ("replknet", "authors"): Release(RepLKNet, "RepLKNet-31B", NARROW, 64),
    ("efficientnet", "efficientnet_pytorch"): Release(LukemelasEfficientNet, "efficientnet-b0", {}, 64),
    ("mobilenet_v2", "pytorch-mobilenet-v2"): Release(lambda spec: MobileNetV2(spec, within=True), "mobilenetv2_1.0",
                                                      {}, 64),
    ("mobilenet_v2", "mobilenetv2.pytorch"): Release(lambda spec: MobileNetV2(spec, within=False), "mobilenetv2_0.35",
                                                     {}, 64),
    ("mobilenet_v1", "pytorch-mobilenet-v1"): Release(Wjc852456MobileNet, "mobilenet", {"width": 0.25}, 64),
    ("fcn", "pytorch-fcn"): Release(WkentaroFCN, "fcn8s-atonce", {}, 40),
}
PEERS = [(key, peer) for key in RELEASES for peer in tables.peers(*key)]


def both(key, peer, fields):
    """(their network, ours, our name of each of their tensors)."""
    ours = registry.build(peer.ours, {**peer.fields, **fields})
    ours = fold_structure(ours) if peer.folded else ours
    theirs = RELEASES[key].build(ours.spec)
    shapes = [{name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} for model in (theirs, ours)]
    pairs, left = tables.pair(*shapes, tables.rules(*key, peer.name))
    assert not left
    assert sorted(pairs.values()) == sorted(shapes[1])
    assert all(tables.alike(shapes[0][name], shapes[1][new]) for name, new in pairs.items())
    return theirs, ours, pairs


def test_every_section_has_a_release():
    assert {key for key in tables.every() if key[1] not in WRITTEN_BY_COMPARING} == set(RELEASES)


@pytest.mark.parametrize(("key", "peer"), [
    pytest.param(key, peer, id=f"{'-'.join(key)}-{peer.name}", marks=pytest.mark.slow if peer.name == "resnet1202"
                 else []) for key, peer in PEERS])
def test_every_name_has_one_place(key, peer):
    weights.blank(lambda: both(key, peer, {}))


@pytest.mark.parametrize("key", RELEASES, ids=["-".join(key) for key in RELEASES])
def test_a_file_of_it_is_recognised(key):
    """By names and shapes, in the file that is called after it; with the fields that make ours the same function."""
    peer = next(peer for peer in tables.peers(*key) if peer.name == RELEASES[key].small)
    state = weights.blank(lambda: RELEASES[key].build(registry.build(peer.ours, peer.fields).spec)).state_dict()
    found = foreign.recognize(files.Foreign(f"{peer.name}.pth", "torch", state), registry.build, ours=peer.ours)
    assert (found.peer, found.left) == (peer, ())


@pytest.mark.parametrize("key", [pytest.param(key, marks=pytest.mark.slow if key[0] == "fcn" else [])
                                 for key in RELEASES], ids=["-".join(key) for key in RELEASES])
def test_scores_are_equal(key):
    """In float64, the release's random weights in our network."""
    release = RELEASES[key]
    peer = next(peer for peer in tables.peers(*key) if peer.name == release.small)
    theirs, ours, pairs = both(key, peer, release.fields)
    theirs, ours = randomized(theirs.double()), ours.double().eval()
    places = ours.state_dict()
    ours.load_state_dict({pairs[name]: tensor.reshape(places[pairs[name]].shape)
                          for name, tensor in theirs.state_dict().items()})
    x = torch.randn(2, 3, release.size, release.size, dtype=torch.float64)
    with torch.inference_mode():
        expected, scores = theirs(x), ours(x)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-9 * expected.abs().max().item())


# -- files as they were published --------------------------------------------------------------------------------------


def close(scores, expected):
    torch.testing.assert_close(scores.double(), expected.double(), rtol=0, atol=1e-5 * expected.abs().max().item())


def fused(conv, norm):
    """A convolution and its BatchNorm as kernel and bias, in float64."""
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return (conv.weight.double() * scale.view(-1, 1, 1, 1), norm.bias.double() - norm.running_mean.double() * scale)


def test_a_deployed_repvgg_loads_as_the_folded_network(tmp_path):
    """The authors' conversion, told again: its file gives the scores of the network before it."""
    spec = registry.build("repvgg_a0").spec
    whole = randomized(RepVGG(spec))
    state = {f"linear.{leaf}": tensor for leaf, tensor in whole.linear.state_dict().items()}
    for name, block in whole.named_modules():
        if isinstance(block, RepVGGBlock):
            kernel, bias = fused(block.rbr_dense.conv, block.rbr_dense.bn)
            small, more = fused(block.rbr_1x1.conv, block.rbr_1x1.bn)
            kernel, bias = kernel + F.pad(small, (1, 1, 1, 1)), bias + more
            if block.rbr_identity is not None:
                same = nn.Conv2d(len(bias), len(bias), 3, bias=False)
                nn.init.dirac_(same.weight)
                unit, more = fused(same, block.rbr_identity)
                kernel, bias = kernel + unit, bias + more
            state |= {f"{name}.rbr_reparam.weight": kernel.float(), f"{name}.rbr_reparam.bias": bias.float()}
    path = tmp_path / "RepVGG-A0-deploy.pth"
    torch.save(state, path)
    ours = convatlas.load(path)
    assert ours.card.folded and {row.what for row in ours.card.provenance.report.rows} == {"loaded"}
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        close(ours(x), whole(x))
    convatlas.save(ours, tmp_path / "ours.safetensors")
    with torch.inference_mode():
        assert torch.equal(convatlas.load(tmp_path / "ours.safetensors")(x), ours(x))
    with pytest.raises(ConvatlasError, match="cannot be undone"):
        convatlas.load_weights(convatlas.create_model("repvgg_a0"), path)
    with torch.inference_mode():
        folded = convatlas.fold(convatlas.create_model("repvgg_a0").eval())
        convatlas.load_weights(folded, path)
        assert torch.equal(folded(x), ours(x))


def test_slak_loads_under_both_of_its_names(tmp_path):
    """Since July 2022 the authors' code calls the strips LoRA1 and LoRA2, before that Decom1 and Decom2."""
    spec = registry.build("slak_tiny").spec
    with torch.device("meta"):
        state = slak(spec).state_dict()
    found = []
    for word in ("Decom", "LoRA"):
        names = {name.replace("Decom", word): tensor for name, tensor in state.items()}
        assert any(word in name for name in names)
        known = foreign.recognize(files.Foreign("checkpoint.pth", "pytorch", names), registry.build)
        found.append(sorted(known.pairs.values()))
        assert known.peer.name == "SLaK_tiny" and not known.left
    assert found[0] == found[1]


def test_densenet_loads_as_torchvision_published_it(tmp_path):
    """The published files have dots in their names that the library takes out while it loads them."""
    from torchvision.models import densenet121

    theirs = randomized(densenet121(weights=None))
    state = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): tensor
             for name, tensor in theirs.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    torch.save(state, tmp_path / "densenet121-a639ec97.pth")
    ours = convatlas.load(tmp_path / "densenet121-a639ec97.pth")
    assert ours.card.preprocess is not None
    x = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        close(ours(x), theirs(x))


def test_a_wide_resnet_of_the_authors_loads_from_their_checkpoint(tmp_path):
    """`model.pt7` holds flat parameters, an epoch, and an optimizer's state."""
    theirs = randomized(SzagoruykoWideResNet(registry.build("wide_resnet16_4_cifar").spec))
    params = {name: tensor for name, tensor in theirs.state_dict().items() if "num_batches" not in name}
    assert {"conv0", "group0.block0.conv0", "group0.block0.bn0.running_mean", "bn.weight", "fc.bias"} <= params.keys()
    torch.save({"params": params, "epoch": 200, "optimizer": {"state": {}}}, tmp_path / "model.pth")
    ours = convatlas.load(tmp_path / "model.pth")
    assert ours.name == "wide_resnet16_4_cifar" and ours.card.preprocess.crop_pct == 1
    x = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        close(ours(x), theirs(x))


def test_releases_that_differ_are_told_apart_by_their_files_names(tmp_path):
    """EfficientNet-PyTorch gives away two trainings, AdvProp's with pixels from -1 to 1."""
    state = LukemelasEfficientNet(registry.build("efficientnet_b0").spec).state_dict()
    means = {"efficientnet-b0-355c32eb.pth": (0.485, 0.456, 0.406), "adv-efficientnet-b0-b64d5a18.pth": (0.5, 0.5, 0.5)}
    for name, mean in means.items():
        torch.save(state, tmp_path / name)
        assert convatlas.load(tmp_path / name, "efficientnet_b0").card.preprocess.mean == mean
    torch.save(state, tmp_path / "mine.pth")
    model = convatlas.load(tmp_path / "mine.pth", "efficientnet_b0")
    assert model.card.preprocess is None
    assert any("releases of this network differ" in note for note in model.card.provenance.report.notes)
