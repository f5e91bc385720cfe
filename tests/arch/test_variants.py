"""Every registered variant, by existing: its counts, its contract, its names."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

import convatlas
from convatlas import count, registry, zoo
from convatlas.model import Convnet
from convatlas.parts import Counted, Subsample2d

GOLDEN = Path(__file__).parents[1] / "golden"
VARIANTS = sorted(registry.VARIANTS) if zoo.arch else []
SMALL = [name for name in VARIANTS if registry.VARIANTS[name].params < 1_000_000]
ONE_PER_FAMILY = sorted({v.family: v.name for v in sorted(registry.VARIANTS.values(), key=lambda v: -v.params)}.values())


def build(name: str, **fields: object) -> Convnet:
    """A small enough network to run: the widest layers of the large ones are on the meta device only."""
    return convatlas.create_model(name, **fields)


def meta(name: str, **fields: object) -> Convnet:
    with torch.device("meta"):
        return convatlas.create_model(name, **fields)


@pytest.mark.parametrize("name", VARIANTS)
def test_counts_are_the_registered_ones(name):
    model, variant = meta(name), registry.VARIANTS[name]
    assert count.params(model) == variant.params == sum(layer.params for layer in count.layers(model))
    assert count.macs(model) == variant.macs


@pytest.mark.parametrize("name", VARIANTS)
def test_macs_equal_torchs_own_counter_where_it_can_count(name):
    model = meta(name).eval()
    if any(isinstance(m, Counted) and not isinstance(m, Subsample2d) for m in model.modules()):
        pytest.skip("has layers that torch's counter does not know; a hand count stands in the facts")
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, model.in_chans, *model.image_size, device="meta"))
    assert counter.get_total_flops() == 2 * count.macs(model)


@pytest.mark.parametrize("name", VARIANTS)
def test_contract(name):
    model = meta(name).eval()
    x = torch.empty(3, model.in_chans, *model.image_size, device="meta")
    last = model.forward_features(x)
    assert last.shape[:2] == (3, model.num_features)
    assert model.forward_head(last).shape == model(x).shape == (3, model.num_classes)
    assert model.forward_head(last, pre_logits=True).shape == (3, model.head_hidden_size)
    maps = model.features(x)
    assert [m.shape[1] for m in maps] == [f["num_chs"] for f in model.feature_info]
    reductions = [f["reduction"] for f in model.feature_info]
    assert reductions == sorted(set(reductions))
    for feature in model.feature_info:
        assert model.get_submodule(feature["module"]) is not None
    assert model.get_classifier() is model.head.classifier
    assert model.name == name


@pytest.mark.parametrize("name", VARIANTS)
def test_names_inside_the_state_dict_are_golden(name):
    """`python -m tests.golden_names` style regeneration is not offered: a changed name breaks people's files."""
    golden = yaml.safe_load((GOLDEN / "state_dict.yaml").read_text())
    assert name in golden, f"add {name} to tests/golden/state_dict.yaml (benchmarks/golden.py prints it)"
    assert {k: "×".join(map(str, v.shape)) or "scalar" for k, v in meta(name).state_dict().items()} == golden[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_specification_is_a_value(name):
    spec = registry.VARIANTS[name].spec
    assert spec == replace(spec) and hash(spec) == hash(replace(spec))
    assert registry.change(spec, yaml.safe_load(yaml.safe_dump(registry.plain(spec)))) == spec
    assert registry.changed(name, replace(spec, num_classes=3)) == {"num_classes": 3}


@pytest.mark.parametrize("name", VARIANTS)
def test_fields_every_specification_has(name):
    model = meta(name, num_classes=7, in_chans=2)
    x = torch.empty(2, 2, *model.image_size, device="meta")
    assert model(x).shape == (2, 7)
    bare = meta(name, num_classes=0)
    y = bare(torch.empty(2, bare.in_chans, *bare.image_size, device="meta"))
    assert y.shape == (2, bare.head_hidden_size)


@pytest.mark.parametrize("name", VARIANTS)
def test_docstring_says_idea_mirrors_departs(name):
    about = zoo.describe(registry.VARIANTS[name])
    assert all(about[key] for key in ("title", "Idea", "Mirrors", "Departs"))
    assert registry.VARIANTS[name].recipe in convatlas.recipes.names()


@pytest.mark.parametrize("name", SMALL)
def test_forward_and_backward(name):
    """No NaN, and a gradient for every parameter, with one image and with several."""
    model = build(name)
    for images in (1, 4):
        model.zero_grad()
        scores = model(torch.randn(images, model.in_chans, *model.image_size))
        scores.square().sum().backward()
        assert scores.isfinite().all()
        for parameter_name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name
            assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", SMALL)
def test_checkpointing_changes_nothing(name):
    model = build(name)
    x = torch.randn(2, model.in_chans, *model.image_size)
    model(x).sum().backward()
    plain = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model.set_grad_checkpointing()
    model(x).sum().backward()
    for gradient, parameter in zip(plain, model.parameters(), strict=True):
        assert torch.equal(gradient, parameter.grad)


@pytest.mark.parametrize("name", SMALL)
def test_reset_classifier(name):
    model = build(name).double()
    model.reset_classifier(3)
    x = torch.randn(2, model.in_chans, *model.image_size, dtype=torch.float64)
    assert model(x).shape == (2, 3) and model.spec.num_classes == model.num_classes == 3
    model.reset_classifier(0)
    assert model(x).shape == (2, model.head_hidden_size)


@pytest.mark.parametrize("name", SMALL)
def test_eight_images_are_memorised(name):
    model = build(name)
    x, labels = torch.rand(8, model.in_chans, *model.image_size).round() * 2 - 1, torch.arange(8) % 10
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x), labels).backward()
        optimiser.step()
    assert (model(x).argmax(1) == labels).all()


@pytest.mark.parametrize("name", SMALL)
def test_traceable_exportable_compilable(name):
    model = build(name).eval()
    x = torch.randn(2, model.in_chans, *model.image_size)
    expected = model(x)
    assert torch.equal(torch.fx.symbolic_trace(model)(x), expected)
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))
    torch.testing.assert_close(exported.module()(x[:1].repeat(3, 1, 1, 1)), model(x[:1].repeat(3, 1, 1, 1)))
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(x), expected)


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_channels_last_and_bfloat16(name):
    fields = {} if registry.VARIANTS[name].params < 1_000_000 else {"num_classes": 10}
    model = build(name, **fields).eval()
    x = torch.randn(1, model.in_chans, *model.image_size)
    with torch.inference_mode():
        expected = model(x)
        last = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
        torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
        assert model.bfloat16()(x.bfloat16()).isfinite().all()
