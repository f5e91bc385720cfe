"""Rewrites: each rule alone, and every family as a whole."""

import pytest
import torch
from torch import nn

import convatlas
from convatlas.deploy.graph.pack import can_pack, pack
from convatlas.deploy.graph.rewrite import _means_last, _rewrite_chain, rewrite
from convatlas.net import registry
from convatlas.net.fold import _fold
from convatlas.parts import LayerNorm2d, LayerScale, Parallel, conv_norm
from laws import SHALLOW, build, images
from parity import randomized

CHAINS = {
    "a LayerNorm's affine map goes into the linear layer": (
        nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 5)), (2, 3, 4, 6), lambda c: c[0].weight is None),
    "and into an unpadded convolution": (
        nn.Sequential(LayerNorm2d(6), nn.Conv2d(6, 5, 2, 2, bias=False)), (2, 6, 4, 4), lambda c: c[0].weight is None),
    "a padded one keeps it out": (
        nn.Sequential(LayerNorm2d(6), nn.Conv2d(6, 5, 3, padding=1)), (2, 6, 4, 4), lambda c: c[0].weight is not None),
    "layer scale goes into the linear layer before it": (
        nn.Sequential(nn.Linear(6, 5), LayerScale(5, 0.3)), (2, 3, 4, 6), lambda c: isinstance(c[1], nn.Identity)),
    "an average pool passes in front of a pointwise convolution": (
        nn.Sequential(nn.Conv2d(6, 5, 1), nn.Dropout(0.5), nn.AvgPool2d(2)), (2, 6, 5, 5),
        lambda c: isinstance(c[0], nn.AvgPool2d)),
    "but not in front of a larger one": (
        nn.Sequential(nn.Conv2d(6, 5, 3), nn.AvgPool2d(2)), (2, 6, 5, 5), lambda c: isinstance(c[1], nn.AvgPool2d)),
    "nor a pool that counts its border": (nn.Sequential(nn.Conv2d(6, 5, 1), nn.AvgPool2d(2, padding=1)), (2, 6, 4, 4),
                                          lambda c: isinstance(c[1], nn.AvgPool2d)),
}


@pytest.mark.parametrize("rule", CHAINS)
def test_each_rule_keeps_the_result(rule):
    chain, shape, done = CHAINS[rule]
    chain = randomized(chain.double())
    x = torch.randn(shape, dtype=torch.float64)
    with torch.no_grad():
        expected = chain(x)
        _rewrite_chain(chain)
        torch.testing.assert_close(chain(x), expected, rtol=0, atol=1e-12 * expected.abs().max().item())
    assert done(chain)


@pytest.mark.parametrize("join", [True, False])
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_a_mean_passes_behind_its_convolution_which_joins_the_others_or_not(count_include_pad, join):
    pool = nn.AvgPool2d(3, 1, 1, count_include_pad=count_include_pad)
    paths = Parallel({"a": conv_norm(8, 4, 1), "pool": nn.Sequential(pool, conv_norm(8, 3, 1)),
                      "max": nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_norm(8, 2, 1)),
                      "b": nn.Sequential(conv_norm(8, 5, 1), conv_norm(5, 6, 3))})
    paths = randomized(paths.double())
    x = torch.randn(2, 8, 7, 7, dtype=torch.float64)
    with torch.no_grad():
        expected = paths(x)
        merged = _fold(nn.Sequential(paths), join)[0]
        _means_last(merged)
        torch.testing.assert_close(merged(x), expected, rtol=0, atol=1e-12 * expected.abs().max().item())
    if not join:
        kinds = [type(m) for m in merged.pool.modules() if not isinstance(m, nn.Sequential | nn.Identity)]
        assert kinds == [nn.Conv2d, nn.AvgPool2d if not count_include_pad else nn.Conv2d, nn.ReLU]
        return
    assert merged.merged.out_channels == 4 + 5 + 3 and merged.order == [0, 2, None, 1]
    assert isinstance(list(merged.paths["pool"].modules())[1], nn.Identity)


def families() -> list[str]:
    """The smallest variant of each family."""
    large_first = sorted(convatlas.list_models(), key=lambda name: -registry.variant(name).params)
    return sorted({registry.variant(name).family: name for name in large_first}.values())


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if registry.variant(name).params
                                               > 30_000_000 else []) for name in families()])
def test_every_family_keeps_its_scores_rewritten_and_packed(name):
    model = randomized(build(name, **SHALLOW.get(name, {})).double())
    x = images(model, 2).double()
    with torch.inference_mode():
        expected = model(x)
        torch.testing.assert_close(rewrite(model)(x), expected, rtol=0, atol=1e-9 * expected.abs().max().item())
        model, x = model.float(), x.float()
        plain = model(x)
        torchs = rewrite(model, join=True)
        found = (pack(torchs, x[:1]) if can_pack() else torchs)(x)      # packed for one image, given two
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-4 * plain.abs().max().item())


def test_the_rules_find_what_they_are_for():
    convnext, densenet = rewrite(randomized(build("convnext_tiny"))), rewrite(randomized(build("densenet121")))
    assert not any(isinstance(m, LayerScale) for m in convnext.modules())
    blocks = [m for m in convnext.stages.modules() if isinstance(m, nn.LayerNorm)]
    assert blocks and all(m.weight is None for m in blocks)
    inception = rewrite(build("inception_v3"))
    assert not any(isinstance(m, nn.AvgPool2d) for m in inception.stages.modules())
    reduce = [type(m) for m in densenet.stages[1].reduce if not isinstance(m, nn.Identity)]
    assert reduce.index(nn.AvgPool2d) < reduce.index(nn.Conv2d)


def test_the_original_stays_as_it_is():
    model = randomized(build("convnext_tiny"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rewrite(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
