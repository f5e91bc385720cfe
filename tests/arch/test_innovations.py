"""Squeeze-and-excitation, stochastic depth and activations as fields: where they are, what they are, and that none is
felt while it is off.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import convatlas
from convatlas import ConvatlasError
from convatlas.net import registry
from convatlas.net.meta import blank
from convatlas.net.model import Convnet
from convatlas.parts import ACTS, DropPath, Excite, ShapesOnly, SqueezeExcite

#   one network of each family: its places for a gate, and its shortcuts but for the first, whose rate is 0; counted by
#   hand from the papers' tables. None: there is no such field.
PLACES: dict[str, tuple[int | None, int | None]] = {
    "alexnet": (5, None), "alexnet_owt": (5, None), "vgg11": (8, None), "all_cnn_c": (8, None),
    "nin_cifar10": (3, None), "googlenet": (9, None), "googlenet_bn": (9, None), "bn_inception": (10, None),
    "inception_v3": (9, None), "inception_v4": (14, None),
    "inception_resnet_v1": (20, 19), "inception_resnet_v2": (40, 39),
    "resnet18": (8, 7), "resnet20_cifar": (9, 8), "preact_resnet18": (8, 7), "preact_resnet110_cifar": (54, 53),
    "wide_resnet16_4_cifar": (6, 5), "wide_resnet50_2": (16, 15), "resnext50_32x4d": (16, 15),
    "resnext29_8x64d_cifar": (9, 8), "se_resnet18": (8, 7), "mobilenet_v1": (13, None), "mobilenet_v2": (17, 10),
    "repvgg_a0": (22, None), "convnext_tiny": (18, 17), "convnext_isotropic_small": (18, 17), "slak_tiny": (18, 17),
    "replknet_31b": (24, 46),
    # a path from a network without gates to another
    "convnext_roadmap": (None, 15),
    # gates belong to the paper's tables: `se_ratio` takes them away
    "mobilenet_v3_large": (None, 9), "efficientnet_b0": (None, 9),
    # too few maps to squeeze; no block with a shortcut or with maps of its own; networks that segment
    **dict.fromkeys(("lecun1989_net5", "lecun1989_zipcode", "lenet1", "lenet4", "lenet5", "densenet121",
                     "densenet_40_12_cifar", "alexnet_cifar", "unet", "unet_resnet34", "fcn32s_vgg16"), (None, None)),
}
convatlas.list_models()         # reads every architecture's file
QUICK = ("all_cnn_c", "alexnet_owt", "nin_cifar10", "resnet20_cifar", "mobilenet_v2", "resnet18", "repvgg_a0")
SMALL = {"image_size": 64}


def shaped(name: str, **fields: object) -> Convnet:
    return blank(lambda: convatlas.create_model(name, **fields))


def count(model: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(each, kind) for each in model.modules())


def test_every_family_is_here():
    assert sorted(registry.variant(name).family for name in PLACES) == sorted(
        {variant.family for variant in registry.VARIANTS.values()})
    for name, places in PLACES.items():
        fields = registry.plain(registry.variant(name).spec)
        assert tuple(field in fields for field in ("excite", "drop_path_rate")) == tuple(x is not None for x in places)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
                                  for name, places in PLACES.items() if places[0] is not None])
def test_gates_are_counted_and_open_ones_are_none(name):
    plain, gated = shaped(name, **({} if name == "se_resnet18" else {"excite": None})), shaped(name, excite={})
    assert count(gated, SqueezeExcite) == PLACES[name][0]
    if name == "se_resnet18":
        return
    assert count(plain, SqueezeExcite) == 0
    gates = {f"{label}." for label, each in gated.named_modules() if isinstance(each, SqueezeExcite)}
    others = [value.shape for key, value in gated.state_dict().items() if not key.startswith(tuple(gates))]
    assert others == [value.shape for value in plain.state_dict().values()]
    with ShapesOnly():
        x = torch.empty(2, plain.in_chans, *plain.image_size, device="meta")
        assert gated.eval()(x).shape == plain.eval()(x).shape


@pytest.mark.parametrize("name", [
    "resnet20_cifar", "all_cnn_c", *(pytest.param(name, marks=pytest.mark.slow) for name in (
        "convnext_isotropic_small", "repvgg_a0", "googlenet", "mobilenet_v2_035", "preact_resnet18",
        "alexnet_owt"))])
def test_open_gates_are_not_felt_and_closed_ones_are(name):
    torch.manual_seed(0)
    fields = {} if "cifar" in name or "cnn" in name else SMALL
    plain = convatlas.create_model(name, **fields).eval().double()
    gated = convatlas.create_model(name, excite={}, **fields).eval().double()
    gates = {f"{label}.": each for label, each in gated.named_modules() if isinstance(each, SqueezeExcite)}
    keys = [key for key in gated.state_dict() if not key.startswith(tuple(gates))]
    gated.load_state_dict(dict(zip(keys, plain.state_dict().values(), strict=True)), strict=False)
    x = torch.randn(2, 3, *plain.image_size).double()

    def of(bias: float) -> Tensor:
        for gate in gates.values():
            nn.init.zeros_(gate.expand.weight)
            nn.init.constant_(gate.expand.bias, bias)
        with torch.no_grad():
            return gated(x)

    with torch.no_grad():
        expected = plain(x)
    torch.testing.assert_close(of(60.0), expected, rtol=1e-12, atol=1e-12 * expected.abs().max().item())
    assert (of(0.0) - expected).abs().max() > 1e-6 * expected.abs().max()      # half of everything


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
                                  for name, places in PLACES.items() if places[1] is not None])
def test_paths_that_can_be_dropped_are_counted(name):
    plain, deep = shaped(name, drop_path_rate=0.0), shaped(name, drop_path_rate=0.5)
    assert (count(plain, DropPath), count(deep, DropPath)) == (0, PLACES[name][1])
    rates = [each.rate for each in deep.modules() if isinstance(each, DropPath)]
    assert rates == sorted(rates) and rates[0] > 0 and 0.4 < rates[-1] <= 0.5
    assert list(plain.state_dict()) == list(deep.state_dict())


def test_dropped_paths_leave_predictions_alone_and_change_training():
    torch.manual_seed(0)
    plain = convatlas.create_model("mobilenet_v2_035", image_size=64, drop_rate=0.0)
    deep = convatlas.create_model("mobilenet_v2_035", image_size=64, drop_rate=0.0, drop_path_rate=0.9)
    deep.load_state_dict(plain.state_dict())
    x = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(plain.eval()(x), deep.eval()(x))
        assert not torch.equal(plain.train()(x), deep.train()(x))


def test_every_family_with_one_activation_can_have_another():
    without = {registry.variant(name).family for name in PLACES
               if "act" not in registry.plain(registry.variant(name).spec)}
    assert without == {"lecun1989", "zipcode", "lenet1", "lenet4",                  # a squashing function of their own
                       "mobilenet_v3", "replknet",                                  # two kinds, each in its place
                       "unet_encoder"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
                                  for name in PLACES if name != "lenet5"])
def test_every_activation_is_replaced_and_no_other_module(name):
    spec = registry.plain(registry.variant(name).spec)
    if "act" not in spec:
        return
    kind = type(ACTS[spec["act"]]())
    gates = {"excite": {}} if "excite" in spec else {}
    plain, other = shaped(name, **gates), shaped(name, act="mish", **gates)
    kept = count(plain, SqueezeExcite)                      # each gate has one of its own
    kept = kept if kind in (nn.ReLU, nn.SiLU) else 0
    assert count(other, kind) == kept and count(other, nn.Mish) == count(plain, kind) - kept > 0
    assert [type(each) for each in plain.modules() if type(each) is not kind] == [
        type(each) for each in other.modules() if type(each) not in (kind, nn.Mish)]
    assert list(plain.state_dict()) == list(other.state_dict())


@pytest.mark.parametrize("name", ["plain18", "plain20_cifar"])
def test_nothing_is_dropped_where_there_is_no_shortcut(name):
    with pytest.raises(ConvatlasError, match=r"drop_path_rate = 0\.5"):
        convatlas.create_model(name, drop_path_rate=0.5)


@pytest.mark.parametrize(("name", "gates"), [("efficientnet_b0", 16), ("mobilenet_v3_large", 8)])
def test_a_tables_gates_can_be_taken_away(name, gates):
    assert count(shaped(name), SqueezeExcite) == gates and count(shaped(name, se_ratio=0.0), SqueezeExcite) == 0


@pytest.mark.parametrize(("name", "field"), [("densenet121", "excite"), ("vgg16", "drop_path_rate")])
def test_a_field_that_has_no_place_says_so(name, field):
    with pytest.raises(ConvatlasError, match=f"no field '{field}': "):
        convatlas.create_model(name, **{field: 0.1})


def test_few_channels_are_squeezed_to_one():
    assert Excite().layer(8).reduce.out_channels == 1


def test_the_page_says_which_family_has_which_field():
    page = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    told = {cells[0].strip("`"): tuple(bool(cell) for cell in cells[1:]) for cells in rows if len(cells) == 6}
    fields = {registry.variant(name).family: registry.plain(registry.variant(name).spec) for name in PLACES}
    assert told == {family: ("excite" in has or "se_ratio" in has,
                             *(field in has for field in ("drop_path_rate", "act", "output_stride", "global_pool")))
                    for family, has in fields.items()}
    usual = {cells[0].strip("`"): cells[3] for cells in rows if len(cells) == 6 and cells[3]}
    assert all(fields[family]["act"] == act for family, act in usual.items())
