"""Networks narrow enough to train in minutes, and what claims take away: fields, one at a time."""

import pytest
import torch
from torch import nn

import convatlas
from convatlas import ConvatlasError
from convatlas.net import layers, registry
from convatlas.net.meta import blank
from convatlas.parts import ConvSum, Parallel, Residual, times
from convatlas.recipes import recipe
from convatlas.run import resolve


def net(name: str, **fields: object) -> convatlas.net.model.Convnet:
    return convatlas.create_model(name, **{"num_classes": 10, "image_size": 32, **fields})


def kernels(model: nn.Module) -> list[tuple[int, ...]]:
    return [m.kernel_size for m in model.modules() if isinstance(m, nn.Conv2d)]


def learns(model: nn.Module, side: int = 32) -> None:
    """Every parameter gets a gradient."""
    scores = model.train()(torch.randn(2, 3, side, side))
    scores.square().sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


NARROW = {
    "alexnet": {"width": 0.125, "fc": 64, "stem": "cifar"},
    "alexnet_cifar": {"width": 0.25},
    "all_cnn_c": {"width": 0.125}, "allcnn_base_b": {"width": 0.125}, "strided_cnn_a": {"width": 0.125},
    "convpool_cnn_c": {"width": 0.125},
    "vgg11": {"width": 0.125, "fc": 64, "grid": 1}, "vgg19": {"width": 0.125, "fc": 64, "grid": 1},
    "googlenet": {"width": 0.125, "stem": "cifar", "aux": False, "lrn": False},
    "googlenet_bn": {"width": 0.125, "stem": "cifar", "aux": False},
    "inception_v3": {"width": 0.125, "stem": "cifar", "aux": False},
    "resnet20_cifar": {"width": 0.5}, "plain20_cifar": {"width": 0.5},
    "preact_resnet164_cifar": {"width": 0.25, "n": 2},
    "wide_resnet16_4_cifar": {"width": 0.5, "widen": 1},
    "resnext29_8x64d_cifar": {"planes": 16, "width": 4, "blocks": 1},
}


@pytest.mark.parametrize("name", NARROW)
def test_a_narrow_network_is_the_same_but_for_its_channels(name):
    narrow = net(name, **NARROW[name])
    learns(narrow)
    if name in ("preact_resnet164_cifar", "wide_resnet16_4_cifar", "resnext29_8x64d_cifar"):
        return
    taken = {field: value for field, value in NARROW[name].items() if field not in ("width", "fc")}
    whole = blank(lambda: net(name, **taken))
    assert list(narrow.state_dict()) == list(whole.state_dict()) and kernels(narrow) == kernels(whole)
    factor = NARROW[name]["width"]
    assert [f["num_chs"] for f in narrow.feature_info] == [factor * f["num_chs"] for f in whole.feature_info]


def test_channels_are_multiplied_to_the_nearest_and_never_to_none():
    assert [times(96, 0.25), times(10, 0.25), times(3, 0.1), times(96, 0.1, 2), times(5, 1.0)] == [24, 2, 1, 10, 5]


@pytest.mark.parametrize(("text", "kernel_sizes"), [
    ("[[7],[3],[3]]", [7, 3, 3]), ("[[3,3,3],[3],[3]]", [3, 3, 3, 3, 3])])
def test_vggs_table_is_read_from_the_command_line(text, kernel_sizes):
    run = resolve(recipe("vgg"), sets=[f"model.fields.table={text}", "model.fields.width=0.25", "model.fields.fc=32",
                                       "model.fields.grid=4"])
    model = net("vgg11", **run.model.fields)
    assert kernels(model) == [(k, k) for k in kernel_sizes]
    assert model.head.hidden.fc6.in_features == 64 * 4 * 4
    learns(model)


def test_a_seven_sees_what_three_threes_see():
    one, three = (blank(lambda table=table: net("vgg11", table=table, width=0.25, fc=32, grid=4))
                  for table in (((7,), (3,), (3,)), ((3, 3, 3), (3,), (3,))))
    rows = [{row.name: row.receptive_field for row in layers.layer_table(model)} for model in (one, three)]
    assert rows[0]["stem.conv1"] == rows[1]["stem.conv3"] == 7


def test_vgg_has_five_widths():
    with pytest.raises(ConvatlasError, match="6 blocks, and there are widths for 5"):
        net("vgg11", table=((3,),) * 6)


@pytest.mark.parametrize("name", ["googlenet", "googlenet_bn"])
def test_inceptions_paths_can_be_left_out(name):
    rows = [["3a", "" if name == "googlenet" else 0, 0, 0, 32, 0, 0, 0],
            ["3b", "pool" if name == "googlenet" else 3, 16, 8, 16, 4, 8, 8]]
    model = net(name, table=rows, stem="cifar", aux=False, width=0.5)
    first, second = (m for m in model.modules() if isinstance(m, Parallel))
    assert [label for label, _ in first.named_children()] == ["three"] and kernels(first) == [(3, 3)]
    assert [label for label, _ in second.named_children()] == ["point", "three", "five", "pool"]
    assert first(torch.randn(1, 96, 8, 8)).shape[1] == 16
    learns(model)


@pytest.mark.parametrize(("five", "expected"), [
    ("3x3", [(3, 3)]), ("5x5", [(5, 5)]), ("two_3x3", [(3, 3)] * 2), ("1x5_5x1", [(1, 5), (5, 1)])])
def test_a_five_is_factorised(five, expected):
    model = blank(lambda: convatlas.create_model("googlenet_bn", five=five, aux=False, stem="cifar"))
    path = next(m for m in model.modules() if isinstance(m, Parallel)).five
    assert kernels(path) == [(1, 1), *expected]
    x = torch.empty(1, 192, 12, 12, device="meta")
    assert path(x).shape == (1, 32, 12, 12)


def test_inception_v3_has_whole_kernels_and_fewer_modules():
    kept = ("5b", "6a", "6b", "7a", "7b")
    factors, whole = (net("inception_v3", width=0.125, stem="cifar", aux=False, modules=kept, factorized=factorized)
                      for factorized in (True, False))
    assert {size for size in kernels(factors) if size[0] != size[1]} == {(1, 7), (7, 1), (1, 3), (3, 1)}
    assert set(kernels(whole)) == {(1, 1), (3, 3), (5, 5), (7, 7)}
    assert [f["num_chs"] for f in factors.feature_info] == [f["num_chs"] for f in whole.feature_info]
    assert layers.params(whole) > 1.3 * layers.params(factors)
    learns(whole)
    with pytest.raises(ConvatlasError, match="modules"):
        net("inception_v3", modules=("5b", "9z"))


def test_resnexts_planes_divide():
    with pytest.raises(ConvatlasError, match="planes = 48 is refused"):
        net("resnext29_8x64d_cifar", planes=48, width=5)


def test_equal_parameters_at_other_cardinality():
    """Table 2's columns, narrow: 1 × 16d, 2 × 10d, 4 × 6d cost about the same."""
    with torch.device("meta"):
        counts = [layers.params(net("resnext29_8x64d_cifar", planes=16, groups=groups, width=width, blocks=3))
                  for groups, width in ((1, 16), (2, 10), (4, 6))]
    assert max(counts) / min(counts) < 1.06


def test_mobilenet_v2_without_what_its_title_says():
    plain, bent, bare = (blank(lambda fields=fields: net("mobilenet_v2_035", stem="cifar", **fields))
                         for fields in ({}, {"linear": False}, {"residual": False}))
    def count(model: nn.Module, kind: type[nn.Module]) -> int:
        return sum(isinstance(m, kind) for m in model.modules())

    assert count(bent, nn.ReLU6) == count(plain, nn.ReLU6) + 17
    assert (count(plain, Residual), count(bare, Residual)) == (10, 0)
    assert layers.params(plain) == layers.params(bent) == layers.params(bare)
    with pytest.raises(ConvatlasError, match="residual = False leaves none"):
        net("mobilenet_v2_035", residual=False, drop_path_rate=0.1)


@pytest.mark.parametrize(("fields", "branches"), [
    ({}, {"skip", "small", "large"}), ({"skip": False}, {"small", "large"}), ({"point": False}, {"skip", "large"}),
    ({"skip": False, "point": False}, {"large"})])
def test_repvgg_without_branches_folds_to_the_same_network(fields, branches):
    model = net("repvgg_a0", a=0.125, b=0.125, layers=(2, 1, 1, 1), stem="cifar", **fields)
    assert {label for m in model.modules() if isinstance(m, ConvSum) for label, _ in m.named_children()} == branches
    model.train()
    model(torch.randn(8, 3, 32, 32))
    model.double().eval()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    folded = convatlas.fold(model)
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), model(x), rtol=1e-9, atol=1e-9)
    assert [type(m) for m in folded.modules() if isinstance(m, ConvSum | nn.BatchNorm2d)] == []


@pytest.mark.parametrize("fields", [
    {"skips": False}, {"up": "overlap"}, {"up": "resize"}, {"skips": False, "padding": "valid", "image_size": 44}])
def test_unet_without_copies_and_with_other_ways_up(fields):
    given = {"widths": (4, 8, 16), "image_size": 40, "num_classes": 2} | fields
    model, usual = (convatlas.create_model("unet_same", **each)
                    for each in (given, given | {"skips": True, "up": "paper"}))
    learns(model, given["image_size"])
    side = given["image_size"]
    assert model.output_size(side, side) == usual.output_size(side, side)
    assert model.output_size(side + 4, side) == usual.output_size(side + 4, side)
    if fields.get("skips") is False:
        across = torch.randn(1, 3, side, side, requires_grad=True)
        assert layers.params(model) < layers.params(usual)
        maps = list(model.eval()._maps(across))
        cut = [m.detach() for m in maps[:-1]]
        torch.testing.assert_close(model.head([*[torch.randn_like(m) for m in cut], maps[-1]], (side, side)),
                                   model.head(maps, (side, side)), rtol=0, atol=0)


def test_unets_on_an_encoder_without_copies():
    with torch.device("meta"):
        usual, bare = (convatlas.create_model("unet_mobilenet_v2", image_size=64, skips=skips)
                       for skips in (True, False))
        assert usual(torch.empty(1, 3, 64, 64)).shape == bare(torch.empty(1, 3, 64, 64)).shape == (1, 2, 64, 64)
    assert layers.params(bare) < layers.params(usual)


@pytest.mark.parametrize(("name", "width"), [("fcn8s_vgg16", 1 / 32), ("fcn32s_alexnet", 1 / 16),
                                             ("fcn32s_googlenet", 1 / 16)])
def test_a_narrow_fcn_takes_its_encoder(name, width):
    torch.manual_seed(0)
    model = convatlas.create_model(name, width=width, act="silu", image_size=64, num_classes=2).eval()
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 2, 64, 64)
    assert not any(isinstance(m, nn.ReLU) for m in model.modules())
    encoder = convatlas.create_model(model.encoder, **model.encoder_fields)
    model.load_encoder(encoder)
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    assert torch.equal(first.weight, next(m for m in encoder.modules() if isinstance(m, nn.Conv2d)).weight)


def test_rows_travel_through_text():
    """A table as YAML gives it: lists, numbers, words."""
    for name, table in (("resnet20_cifar", [[32, 8, 1], [16, 16, 2]]), ("allcnn_base_a", [[[8, 5]], [[8, 3], [8, 1]]]),
                        ("alexnet_cifar", [[8, "max", 0.01], [8, "avg", 0.01]]),
                        ("mobilenet_v1", [[16, 1, 1], [32, 1, 2]])):
        spec = registry.card(name, {"table": table, "num_classes": 10, "image_size": 32}).spec
        with torch.device("meta"):
            assert spec.build()(torch.empty(2, 3, 32, 32)).shape == (2, 10)


def test_fcn_on_vgg_normalizes_where_it_is_asked_to():
    net = convatlas.create_model("fcn16s_vgg16", width=1 / 32, batch_norm=True, num_classes=2, image_size=32)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) == 13
    assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 2, 32, 32)
    with pytest.raises(ValueError, match="batch_norm = True is for vgg16"):
        convatlas.create_model("fcn32s_alexnet", batch_norm=True)
