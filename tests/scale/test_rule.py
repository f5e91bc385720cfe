"""The rule of compound scaling, family by family."""

from dataclasses import fields, replace

import pytest

from convatlas import ConvatlasError, arch, scaled
from convatlas.arch import efficientnet, mobilenet_v2
from convatlas.net import registry
from convatlas.net.layers import macs
from convatlas.net.meta import blank
from convatlas.net.segmenter import Segmenter
from convatlas.scale.rule import multiplied

assert arch
#   one variant of each family that is scaled, and what 1.2 times the depth and 1.1 times the width make of its fields
FAMILIES = {
    "resnet18": {"table": ("basic", 3, 3, 3, 3, 72)},
    "resnet50": {"table": ("bottleneck", 4, 5, 8, 4, 72)},
    "preact_resnet18": {"table": ("basic", 3, 3, 3, 3, 72)},
    "resnet20_cifar": {"n": 4, "width": 1.1},
    "preact_resnet110_cifar": {"n": 22, "width": 1.1},
    "wide_resnet28_10_cifar": {"depth": 34, "width": 1.1},
    "wide_resnet50_2": {"depths": (4, 5, 8, 4, 72)},
    "resnext50_32x4d": {"depths": (4, 5, 8, 4, 72)},
    "resnext29_8x64d_cifar": {"blocks": 4, "planes": 72, "width": 72},
    "se_resnet18": {"net": ("basic", 3, 3, 3, 3, 1, 64, False, 72)},
    "vgg16_c": {"table": ((3, 3, 3), (3, 3, 3), (3, 3, 3, 1), (3, 3, 3, 1), (3, 3, 3, 1)), "width": 1.1, "fc": 4506},
    "all_cnn_c": {"width": 1.1},
    "densenet121": {"layers": (8, 15, 29, 20), "growth": 35, "stem_channels": 70},
    "densenet_bc_100_12_cifar": {"layers": 20, "growth": 13, "stem_channels": 26},
    "mobilenet_v1": {"width": 1.1, "table": ((64, 2, 1), (128, 3, 2), (256, 3, 2), (512, 8, 2), (1024, 3, 2))},
    "mobilenet_v2": {"width": 1.1},
    "mobilenet_v3_small": {"width": 1.1},
    "efficientnet_b0": {"width": 1.1, "depth": 1.2},
    "repvgg_a0": {"layers": (3, 5, 17, 1), "a": 0.875, "b": 2.75},
    "repvgg_b1g4": {"layers": (5, 8, 20, 1), "a": 2.25, "b": 4.40625},
    "convnext_tiny": {"blocks": (4, 4, 11, 4), "channels": (104, 208, 424, 848)},
    "convnext_isotropic_small": {"blocks": 22, "channels": 424},
    "replknet_31b": {"blocks": (3, 3, 22, 3), "channels": (144, 280, 560, 1128)},
    "slak_tiny": {"blocks": (4, 4, 11, 4), "width": 1.43},
    "unet": {"widths": (72, 144, 280, 560, 1128, 2256)},
    "unet_resnet34": {"encoder_fields": (("table", ("basic", 4, 5, 8, 4, 72)),),
                      "decoder_widths": (280, 144, 72, 32, 16)},
}


def spec(name: str):
    return registry.variant(name).spec


@pytest.mark.parametrize(("number", "width", "depth", "image", "dropout"), [    # efficientnet_builder.py
    (1, 1.0, 1.1, 240, 0.2), (2, 1.1, 1.2, 260, 0.3), (3, 1.2, 1.4, 300, 0.3), (4, 1.4, 1.8, 380, 0.4),
    (5, 1.6, 2.2, 456, 0.4), (6, 1.8, 2.6, 528, 0.5), (7, 2.0, 3.1, 600, 0.5)])
def test_the_published_networks_come_out_of_the_rule(number, width, depth, image, dropout):
    found = scaled(spec("efficientnet_b0"), depth=depth, width=width, image_size=image)
    assert replace(found, drop_rate=dropout) == spec(f"efficientnet_b{number}")


def test_published_layers_and_channels_of_b7():
    """Counted by hand from Table 1: ⌈3.1 · layers⌉ blocks, twice the channels to a multiple of 8."""
    b7 = blank(scaled(spec("efficientnet_b0"), depth=3.1, width=2, image_size=600).build)
    assert [len(stage) for stage in b7.stages] == [4, 7, 7, 10, 10, 13, 4]
    weights = dict(b7.named_parameters())
    assert [len(weights[f"stages.{i}.0.project.conv.weight"]) for i in range(7)] == [
        32, 48, 80, 160, 224, 384, 640]


@pytest.mark.parametrize("name", [name for name, each in registry.VARIANTS.items()
                                  if multiplied.dispatch(type(each.spec)) is not multiplied.dispatch(object)])
def test_ones_leave_everything_as_it_is(name):
    assert scaled(spec(name)) == scaled(spec(name), depth=1.0, width=1.0) == spec(name)
    assert scaled(spec(name), image_size=1000) == replace(spec(name), image_size=1000)


def test_every_class_with_a_rule_has_a_row_here():
    assert {type(spec(name)) for name in FAMILIES} | {object} == set(multiplied.registry)


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_is_multiplied_and_rounded_its_own_way(name):
    before, after = spec(name), scaled(spec(name), depth=1.2, width=1.1)
    changed = {each.name: getattr(after, each.name) for each in fields(before)
               if getattr(after, each.name) != getattr(before, each.name)}
    assert FAMILIES[name].items() <= changed.items() and changed.keys() - FAMILIES[name].keys() <= {"table"}


def test_rows_are_repeated_without_their_stride():
    v2 = scaled(spec("mobilenet_v2"), depth=1.2)
    assert [row.n for row in v2.table] == [2, 3, 4, 5, 4, 4, 2]
    v3 = scaled(spec("mobilenet_v3_large"), depth=2)
    assert [row.s for row in v3.table] == [1, 1, 2, 1, 1, 1, 2, *[1] * 5, 2, *[1] * 11, 2, *[1] * 5]
    assert [row.out for row in v3.table] == [16] * 2 + [24] * 4 + [40] * 6 + [80] * 8 + [112] * 4 + [160] * 6
    first = scaled(spec("all_cnn_b_imagenet"), depth=2).table[0]
    assert [(row.kernel, row.stride) for row in first] == [(11, 4), (1, 1), (1, 1), (1, 1)]


def test_a_network_that_was_narrowed_is_scaled_from_there():
    narrow = replace(spec("mobilenet_v2"), width=0.35)
    assert scaled(narrow, width=2).width == 0.7
    assert scaled(scaled(narrow, width=1.1), width=1 / 1.1) == narrow
    lists = replace(spec("efficientnet_b0"), table=[list(row) for row in efficientnet.TABLE_1])
    assert scaled(lists, depth=1.1).build().stages
    few = replace(spec("mobilenet_v2"), table=[list(row) for row in mobilenet_v2.TABLE_2[:3]])
    assert [row.n for row in scaled(few, depth=3).table] == [3, 6, 9]


def test_planes_widen_the_whole_trunk():
    half = blank(scaled(spec("se_resnet18"), width=0.5).build)
    assert [shape[0] for shape in half.shapes((64, 64))] == [32, 32, 64, 128, 256]
    wide = blank(scaled(spec("resnext50_32x4d"), width=2).build)
    assert wide.stages[0][1].branch.conv.conv.weight.shape == (256, 8, 3, 3)      # 32×8d
    assert wide.num_features == 4096
    deep = blank(scaled(spec("senet154"), width=0.5, depth=0.1).build)
    assert [shape[0] for shape in deep.shapes((64, 64))] == [64, 128, 256, 512, 1024]


def test_a_layer_more_is_not_made_of_a_binary_fraction():
    assert scaled(replace(spec("resnet20_cifar"), n=10), depth=1.1).n == 11
    assert scaled(spec("resnet20_cifar"), depth=0.01, width=0.001).n == 1


@pytest.mark.parametrize(("name", "wanted", "says"), [
    ("lenet5", {"depth": 2}, "LeNet5 has no rule"),
    ("resnet18", {"depth": 0}, "depth = 0 is refused"),
    ("resnet18", {"width": -1}, "width = -1 is refused"),
    ("resnet18", {"width": float("nan")}, "width = nan is refused"),
    ("resnet18", {"image_size": 0}, "image_size = 0 is refused")])
def test_what_cannot_be_scaled_is_refused(name, wanted, says):
    with pytest.raises(ConvatlasError, match=says):
        scaled(spec(name), **wanted)


def grows(name: str, changes: list[dict[str, float]]) -> None:
    """Multiply-adds do not fall as a network is scaled, and its maps shrink as much as before."""
    nets = [blank(scaled(spec(name), **each).build) for each in changes]
    costs = [macs(net) for net in nets]
    assert costs == sorted(costs) and costs[0] < costs[-1]
    if not isinstance(nets[0], Segmenter):
        assert len({net.feature_info[-1]["reduction"] for net in nets}) == 1


@pytest.mark.parametrize("dimension", ["depth", "width"])
def test_multiply_adds_grow_with_each_dimension(dimension):
    grows("resnet20_cifar", [{dimension: by} for by in (0.3, 0.7, 1, 1.1, 1.6)])


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dimension", ["depth", "width"])
def test_multiply_adds_grow_with_each_dimension_in_every_family(name, dimension):
    # a U-Net that is deeper without padding needs larger images
    grows("unet_same" if name == "unet" else name, [{dimension: by} for by in (0.3, 0.7, 1, 1.1, 1.6, 2)])
