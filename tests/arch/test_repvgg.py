"""RepVGG: timm's equals ours; the branches' sum is one convolution; the tables of the paper counted again."""

import pytest
import torch
from torch import nn

import convatlas
from convatlas.net import registry
from convatlas.parts import RepConv
from parity import assert_equal_logits, randomized

PEERS = [("timm", name, name, {}, {}) for name in (
    "repvgg_a0", "repvgg_a1", "repvgg_a2", "repvgg_b0", "repvgg_b1", "repvgg_b1g4", "repvgg_b2", "repvgg_b2g4",
    "repvgg_b3", "repvgg_b3g4")]
A, B = (2, 4, 14, 1), (4, 6, 16, 1)
TABLE_3 = {"a0": (A, 0.75, 2.5), "a1": (A, 1, 2.5), "a2": (A, 1.5, 2.75),
           "b0": (B, 1, 2.5), "b1": (B, 2, 4), "b2": (B, 2.5, 5), "b3": (B, 3, 5)}
NAMES = convatlas.list_models("repvgg_*")


@pytest.mark.parametrize("row", [PEERS[0], *(pytest.param(row, marks=pytest.mark.slow) for row in PEERS[1:])],
                         ids=lambda row: row[1])
def test_timm_has_our_scores(row):
    library, name, ours, fields, kwargs = row
    assert_equal_logits(library, name, ours, 64, fields, kwargs)


@pytest.mark.parametrize(("cin", "cout", "stride", "groups"), [(6, 6, 1, 1), (8, 8, 1, 4), (6, 8, 1, 2), (8, 8, 2, 2)])
def test_branches_fold_into_one_convolution(cin, cout, stride, groups):
    conv = randomized(RepConv(cin, cout, 3, stride, groups=groups).double())
    assert ("skip" in dict(conv.named_children())) == (cin == cout and stride == 1)
    folded = conv.folded()
    assert (type(folded) is nn.Conv2d and folded.kernel_size == (3, 3) and folded.bias is not None
            and folded.groups == groups)
    x = torch.randn(2, cin, 9, 8, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), conv(x), rtol=1e-12, atol=1e-12)


def test_folding_leaves_the_branches_as_they_are():
    conv = randomized(RepConv(4, 4).double())
    before = {name: tensor.clone() for name, tensor in conv.state_dict().items()}
    conv.folded()
    assert all(torch.equal(tensor, before[name]) for name, tensor in conv.state_dict().items())


def test_the_folded_network_is_a_chain_of_convolutions_with_the_same_scores():
    model = randomized(convatlas.create_model("repvgg_a0", image_size=64, num_classes=10).double())
    folded = convatlas.fold(model)
    kinds = [type(m) for m in folded.modules()]
    assert kinds.count(nn.Conv2d) == 22 and nn.BatchNorm2d not in kinds and RepConv not in kinds
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        expected = model(x)
        torch.testing.assert_close(folded(x), expected, rtol=0, atol=1e-11 * expected.abs().max().item())


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_multiply_adds_by_the_paper_s_tables(name):
    layers, a, b = TABLE_3[name[7:9]]
    groups = int(name[10:] or 1)
    widths = [int(64 * a), int(128 * a), int(256 * a), int(512 * b)]
    units = [(3, min(64, widths[0]), 112, 1)]
    for i, (width, repeats) in enumerate(zip(widths, layers, strict=True)):
        for _ in range(repeats):
            units.append((units[-1][1], width, 56 >> i, groups if len(units) % 2 == 0 and 2 <= len(units) <= 26 else 1))
    starts = {0, 1, *(1 + sum(layers[:i]) for i in range(4))}
    params = macs = 0
    for number, (cin, cout, size, g) in enumerate(units):
        params += 10 * cin * cout // g + 4 * cout + (2 * cout if number not in starts else 0)
        macs += 10 * cin * cout // g * size * size
    variant = registry.VARIANTS[name]
    assert (params + 1000 * widths[-1] + 1000, macs + 1000 * widths[-1]) == (variant.params, variant.macs)


def test_every_second_layer_is_grouped():
    with torch.device("meta"):
        model = convatlas.create_model("repvgg_b1g4")
    convs = [m.large.conv.groups for m in model.modules() if isinstance(m, RepConv)]
    assert convs == [1] + [1, 4] * 13 + [1]


def test_fields():
    with torch.device("meta"):
        small = convatlas.create_model("repvgg_a0", stem="cifar", norm_eps=1e-3, drop_rate=0.25)
        assert small.stem(torch.empty(1, 3, 32, 32)).shape == (1, 48, 32, 32)
    assert small.feature_info[-1]["reduction"] == 16
    assert {m.eps for m in small.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}
    assert small.head.hidden.drop.p == 0.25


def test_weights_start_as_torch_starts_them():
    torch.manual_seed(0)
    model = convatlas.create_model("repvgg_a0", num_classes=10)
    conv = model.stages[2][1].conv.large.conv
    bound = 1 / (conv.weight[0].numel() ** 0.5)
    assert (0.99 * bound < conv.weight.abs().max() <= bound
            and abs(conv.weight.std().item() - bound / 3**0.5) < 1e-2 * bound)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.weight.eq(1).all() and m.bias.eq(0).all() and m.momentum == 0.1 for m in norms)
