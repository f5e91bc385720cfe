"""Every registered variant, by existing: its counts, its contract, its names."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

import convatlas
from convatlas import zoo
from convatlas.net import layers, registry
from convatlas.net.meta import blank
from convatlas.net.model import Convnet
from convatlas.net.segmenter import Segmenter
from convatlas.parts import Counted, ShapesOnly, Subsample2d
from laws import FEWER, LAWS, SHALLOW, build, images

GOLDEN = Path(__file__).parents[1] / "golden" / "state_dict.yaml"
VARIANTS = sorted(registry.VARIANTS) if zoo.arch else []
# one per family
SMALLEST = sorted({v.family: v.name for v in sorted(registry.VARIANTS.values(), key=lambda v: -v.macs)}.values())
SMALL = [name for name in SMALLEST if registry.VARIANTS[name].params < 1_000_000]
LIGHT = 20_000_000      # parameters, above which a family's laws are checked by `-m slow` only
COSTLY = dict.fromkeys(("compiled", "exported", "onnx", "memorised"), 1_500_000)        # the same for these laws
#   and these, which take seconds even with fewer blocks
DEEP = {("densenet_40_12_cifar", "onnx"), ("densenet_40_12_cifar", "compiled")}


@cache
def golden() -> dict[str, Any]:
    """The names as they were, read by the tests, not where they are collected."""
    return yaml.safe_load(GOLDEN.read_text(encoding="utf-8"))


@cache
def meta(name: str) -> Convnet:
    """The registered network on the meta device, in eval mode; shared by the tests of this process."""
    return changed(name)


def changed(name: str, **fields: object) -> Convnet:
    return blank(lambda: convatlas.create_model(name, **fields)).eval()


def image(model: Convnet, count: int = 2) -> torch.Tensor:
    return torch.empty(count, model.in_chans, *model.image_size, device="meta")


def shaped(run: Callable[[torch.Tensor], Any], x: torch.Tensor) -> Any:
    """`run(x)` for the shapes of what it returns."""
    with ShapesOnly():
        return run(x)


@pytest.mark.parametrize("name", SMALLEST)
def test_macs_equal_torchs_own_counter_where_it_can_count(name):
    model = meta(name)
    if any(isinstance(m, Counted) and not isinstance(m, Subsample2d) for m in model.modules()):
        pytest.skip("has layers that torch's counter does not know; a hand count stands in the facts")
    with ShapesOnly(), FlopCounterMode(display=False) as counter:
        model(image(model, 1))
    assert counter.get_total_flops() == 2 * layers.macs(model)


@pytest.mark.parametrize("name", VARIANTS)
def test_contract_and_golden_names(name):
    """What a network promises; and the names inside its state dict, for a changed one breaks people's files. One
    network of each family is listed whole, the others by a digest.
    """
    model = changed(name)
    assert name in golden(), f"add {name} to tests/golden/state_dict.yaml (benchmarks/golden.py does)"
    names = {k: "×".join(map(str, v.shape)) or "scalar" for k, v in model.state_dict().items()}
    known = golden()[name]
    assert (names if isinstance(known, dict) else sha256(repr(names).encode()).hexdigest()) == known
    # the facts' check compares the layers' sums, and multiply-adds
    assert layers.params(model) == registry.VARIANTS[name].params
    x = image(model)
    maps = shaped(model.features, x)
    assert [m.shape[1] for m in maps] == [f["num_chs"] for f in model.feature_info]
    reductions = [f["reduction"] for f in model.feature_info]
    assert reductions == sorted(set(reductions))
    for feature in model.feature_info:
        assert model.get_submodule(feature["module"]) is not None
    assert model.name == name
    if isinstance(model, Segmenter):
        assert shaped(model, x).shape[:2] == (2, model.num_classes)
        return
    last = maps[-1] if maps else x
    assert last.shape[:2] == (2, model.num_features)
    assert model.forward_head(last).shape == (2, model.num_classes)
    assert model.forward_head(last, pre_logits=True).shape == (2, model.head_hidden_size)
    assert model.get_classifier() is model.head.classifier


def test_a_specification_is_a_value():
    for name in VARIANTS:
        spec = registry.VARIANTS[name].spec
        assert spec == replace(spec) and hash(spec) == hash(replace(spec)), name
        assert registry.change(spec, yaml.safe_load(yaml.safe_dump(registry.plain(spec)))) == spec, name
        assert registry.card(name, {"num_classes": 3}).fields == {"num_classes": 3}, name
        assert registry.card(name).fields == {}, name


@pytest.mark.parametrize("name", SMALLEST)
def test_fields_every_specification_has(name):
    model = changed(name, num_classes=7, in_chans=2)
    assert shaped(model, image(model)).shape[:2] == (2, 7)
    bare = changed(name, num_classes=0)
    assert shaped(bare, image(bare)).shape[:2] == (2, bare.head_hidden_size)


@pytest.mark.parametrize("name", SMALLEST)
def test_optional_fields_do_what_they_say(name):
    spec = registry.plain(registry.VARIANTS[name].spec)
    if "stem" in spec:
        wide = changed(name, stem="cifar")
        assert wide.feature_info[0]["reduction"] == 1
        assert {m.stride for m in wide.stem.modules() if isinstance(m, torch.nn.Conv2d)} == {(1, 1)}
    if "output_stride" in spec:
        for stride in (8, 16):
            assert changed(name, output_stride=stride).feature_info[-1]["reduction"] == stride
    if "global_pool" in spec:
        model = changed(name, global_pool="catavgmax")
        assert shaped(model, image(model)).shape == (2, model.num_classes)
        bare = changed(name, global_pool="none", num_classes=0)
        assert shaped(bare, image(bare)).ndim == 4
    if "norm_eps" in spec:
        model = changed(name, norm_eps=0.25)
        kinds = (torch.nn.BatchNorm2d, torch.nn.LayerNorm)       # LayerNorm's, where there is no BatchNorm
        epsilons = [{m.eps for m in model.modules() if isinstance(m, kind)} for kind in kinds]
        assert (epsilons[0] or epsilons[1]) == {0.25}


def test_docstring_says_idea_mirrors_departs():
    for name, variant in registry.VARIANTS.items():
        about = zoo.describe(variant)
        assert all(about[key] for key in ("title", "Idea", "Mirrors", "Departs")), name
        assert variant.recipe in convatlas.recipes.names(), name


@pytest.mark.parametrize("name", SMALLEST)
def test_reset_classifier(name):
    model = changed(name).double()
    model.reset_classifier(3)
    x = image(model).double()
    assert shaped(model, x).shape[:2] == (2, 3) and model.spec.num_classes == model.num_classes == 3
    assert {p.dtype for p in model.parameters()} == {torch.float64} and not any(m.training for m in model.modules())
    model.reset_classifier(0)
    assert shaped(model, x).shape[:2] == (2, model.head_hidden_size)


@pytest.mark.parametrize("name", SMALL)
def test_checkpointing_changes_nothing(name):
    plain = build(name).train()
    again, x = deepcopy(plain), images(plain, 2)
    again.set_grad_checkpointing()
    for model in (plain, again):
        torch.manual_seed(1)        # the same dropout
        model(x).sum().backward()
    for theirs, ours in zip(plain.parameters(), again.parameters(), strict=True):
        assert torch.equal(theirs.grad, ours.grad)
    for theirs, ours in zip(plain.buffers(), again.buffers(), strict=True):     # BatchNorm has seen each batch once
        assert torch.equal(theirs, ours)


@pytest.mark.parametrize(("name", "law"), [
    pytest.param(name, law, marks=[] if registry.VARIANTS[name].params < COSTLY.get(law, LIGHT)
                 and (name, law) not in DEEP else pytest.mark.slow)
    for name in SMALLEST for law in LAWS])
def test_law(name, law, monkeypatch):
    if name in SHALLOW:
        monkeypatch.setitem(FEWER, name, SHALLOW[name])
    LAWS[law](name)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", SHALLOW)
def test_law_at_its_own_depth(name, law):
    LAWS[law](name)


def test_features_only():
    model = convatlas.create_model("alexnet_owt", features_only=True, out_indices=(-1, 0))
    x = torch.randn(1, 3, 64, 64)
    assert [m.shape[1] for m in model(x)] == model.channels() == [64, 256]
    with pytest.raises(convatlas.ConvatlasError, match=r"out_indices \[7\] is refused"):
        convatlas.create_model("alexnet_owt", features_only=True, out_indices=(1, 7))
    with pytest.raises(convatlas.ConvatlasError, match="features_only"):
        convatlas.create_model("alexnet_owt", out_indices=(1,))
