"""RepLKNet and SLaK: their block written out again, their branches as fewer convolutions, their tables counted by hand.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convatlas
from convatlas.net import registry
from convatlas.parts import ConvSum, DropPath, LargeKernel, Residual
from parity import randomized

T, S = (96, 192, 384, 768), (3, 3, 27, 3)
SMALL = {"channels": (8, 12, 16, 20), "blocks": (1, 1, 2, 1), "image_size": 64, "num_classes": 10}


def batch_norm(x, norm):
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)


def branch(x, layers, groups):
    high, wide = layers.conv.kernel_size        # odd, centred
    return batch_norm(F.conv2d(x, layers.conv.weight, padding=(high // 2, wide // 2), groups=groups), layers.norm)


def test_replk_block_written_out():
    model = randomized(convatlas.create_model("replknet_31b", **SMALL, inner=1.5).double())
    block, x = model.stages[0].blocks[0].branch, torch.randn(2, 8, 9, 9, dtype=torch.float64)
    y = F.relu(batch_norm(F.conv2d(batch_norm(x, block.norm1), block.conv1.weight), block.norm2))
    y = F.relu(branch(y, block.large.large, 12) + branch(y, block.large.small, 12))
    y = x + batch_norm(F.conv2d(y, block.conv2.weight), block.norm3)
    feed = model.stages[0].blocks[1].branch
    z = F.gelu(batch_norm(F.conv2d(batch_norm(y, feed.norm1), feed.conv1.weight), feed.norm2))
    z = y + batch_norm(F.conv2d(z, feed.conv2.weight), feed.norm3)
    with torch.inference_mode():
        torch.testing.assert_close(model.stages[0].blocks(x), z, rtol=1e-12, atol=1e-12)
    assert feed.conv1.out_channels == 32


def test_slak_block_written_out():
    model = randomized(convatlas.create_model("slak_tiny", **SMALL, layer_scale=0.5).double())
    block, x = model.stages[0].blocks[0].branch, torch.randn(2, 10, 16, 16, dtype=torch.float64)
    kernel = block.spatial
    y = branch(x, kernel.tall, 10) + branch(x, kernel.wide, 10) + branch(x, kernel.small, 10)
    y = F.layer_norm(y.permute(0, 2, 3, 1), (10,), block.norm.weight, block.norm.bias, 1e-6)
    y = F.gelu(y @ block.expand.weight.T + block.expand.bias) @ block.reduce.weight.T + block.reduce.bias
    with torch.inference_mode():
        torch.testing.assert_close(model.stages[0].blocks(x), x + 0.5 * y.permute(0, 3, 1, 2), rtol=1e-12, atol=1e-12)
    assert [m.conv.kernel_size for m in (kernel.tall, kernel.wide, kernel.small)] == [(51, 5), (5, 51), (5, 5)]


@pytest.mark.parametrize(("small", "strips", "kernels"), [
    (5, False, [(13, 13)]), (None, False, [(13, 13)]), (5, True, [(13, 5), (5, 13)]), (13, True, [(13, 13)])])
def test_branches_fold_into_the_fewest_multiply_adds(small, strips, kernels):
    part = randomized(LargeKernel(6, 13, small, strips=strips).double())
    folded = part.folded()
    convs = [m for m in folded.modules() if isinstance(m, nn.Conv2d)]
    assert [m.kernel_size for m in convs] == kernels and sum(m.bias is not None for m in convs) == 1
    assert isinstance(folded, ConvSum if len(kernels) > 1 else nn.Conv2d)
    x = torch.randn(2, 6, 17, 15, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), part(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["replknet_31b", "slak_tiny"])
def test_the_folded_network_has_the_same_scores(name):
    model = randomized(convatlas.create_model(name, **SMALL).double())
    folded = convatlas.fold(model)
    assert not any(isinstance(m, LargeKernel) for m in folded.modules())
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        expected = model(x)
        torch.testing.assert_close(folded(x), expected, rtol=0, atol=1e-11 * expected.abs().max().item())


@pytest.mark.parametrize(("name", "channels", "kernels", "small", "inner", "size"), [
    ("replknet_31b", (128, 256, 512, 1024), (31, 29, 27, 13), 5, 1.0, 224),
    ("replknet_31l", (192, 384, 768, 1536), (31, 29, 27, 13), 5, 1.0, 224),
    ("replknet_xl", (256, 512, 1024, 2048), (27, 27, 27, 13), 0, 1.5, 320)])
def test_replknet_counted_by_hand(name, channels, kernels, small, inner, size):
    rows, norms, cin, size = [], 0, channels[0], size // 4                       # rows: weights, outputs, map
    rows += [(27 * cin, cin, 2 * size), (9 * cin, cin, 2 * size), (cin * cin, cin, 2 * size), (9 * cin, cin, size)]
    for i, (cout, kernel, pairs) in enumerate(zip(channels, kernels, (2, 2, 18, 2), strict=True)):
        if i:
            rows += [(cin * cout, cout, size), (9 * cout, cout, size // 2)]
            size //= 2
        wide = int(cout * inner)
        rows += pairs * [(cout * wide, wide, size), (kernel**2 * wide, wide, size), (wide * cout, cout, size),
                         (4 * cout**2, 4 * cout, size), (4 * cout**2, cout, size)]
        rows += pairs * [(small**2 * wide, wide, size)] if small else []
        norms += pairs * 4 * cout
        cin = cout
    params = sum(weights + 2 * outputs for weights, outputs, _ in rows) + norms + 2 * cin + 1000 * cin + 1000
    macs = sum(weights * side * side for weights, _, side in rows) + 1000 * cin
    assert (params, macs) == (registry.variant(name).params, registry.variant(name).macs)


@pytest.mark.parametrize(("name", "channels", "blocks", "nonzero"), [
    ("slak_tiny", T, (3, 3, 9, 3), 30.47), ("slak_small", T, S, 54.78), ("slak_base", (128, 256, 512, 1024), S, 94.91)])
def test_slak_counted_by_hand(name, channels, blocks, nonzero):
    widths = [int(1.3 * c) for c in channels]
    weights, others, macs, cin, size = 48 * widths[0], 3 * widths[0], 48 * widths[0] * 56**2, widths[0], 56
    for i, (cout, kernel, repeats) in enumerate(zip(widths, (51, 49, 47, 13), blocks, strict=True)):
        if i:
            size //= 2
            weights, others, macs = weights + 4 * cin * cout, others + 2 * cin + cout, macs + 4 * cin * cout * size**2
        block = cout * (10 * kernel + 25) + 8 * cout**2
        weights, others, macs = (weights + repeats * block, others + repeats * 14 * cout,
                                 macs + repeats * block * size**2)
        cin = cout
    weights, others, macs = weights + 1000 * cin, others + 2 * cin + 1000, macs + 1000 * cin
    assert (weights + others, macs) == (registry.variant(name).params, registry.variant(name).macs)
    assert round((others + 0.6 * weights) / 1e6, 2) == nonzero


@pytest.mark.parametrize(("name", "peak"), [
    ("replknet_31b", 0.5), ("replknet_31l", 0.3), ("slak_tiny", 0.1), ("slak_small", 0.4), ("slak_base", 0.5)])
def test_rates_rise_evenly_to_the_peak(name, peak):
    with torch.device("meta"):
        model = convatlas.create_model(name)
    rates = [m.drop.rate if isinstance(m.drop, DropPath) else 0.0 for m in model.modules() if isinstance(m, Residual)]
    # a RepLK block and its feed-forward net share one rate
    rates = rates[::2] if name.startswith("replknet") else rates
    assert rates == pytest.approx([peak * i / (len(rates) - 1) for i in range(len(rates))])


def test_fields():
    with torch.device("meta"):
        model = convatlas.create_model("replknet_31b", stem="cifar", small=None, norm_eps=1e-3)
        assert model.stem(torch.empty(1, 3, 32, 32)).shape == (1, 128, 32, 32)
        whole = convatlas.create_model("slak_tiny", stem="cifar", strips=False, width=1.0, blocks=(1, 1, 1, 1),
                                       norm_eps=1e-3, global_pool="catavgmax")
        assert whole.stem(torch.empty(1, 3, 32, 32)).shape == (1, 96, 32, 32)
        assert whole(torch.empty(1, 3, 32, 32)).shape == (1, 1000)
    for net in (model, whole):
        assert {m.eps for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}
    assert [name for name, _ in model.stages[0].blocks[0].branch.large.named_children()] == ["large"]
    assert [name for name, _ in whole.stages[0].blocks[0].branch.spatial.named_children()] == ["large", "small"]


def test_weights_start_as_published():
    torch.manual_seed(0)
    slak = convatlas.create_model("slak_tiny", blocks=(1, 1, 1, 1), width=0.5)
    layers = [m for m in slak.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert abs(torch.cat([m.weight.flatten() for m in layers]).std().item() - 0.02) < 1e-4
    assert all(m.bias is None or m.bias.eq(0).all() for m in layers)
    conv = convatlas.create_model("replknet_31b", channels=(8, 16, 32, 512),
                                  blocks=(1, 1, 1, 1)).stages[3].blocks[1].branch.conv1
    bound = conv.in_channels ** -0.5
    assert conv.weight.abs().max() <= bound and abs(conv.weight.std().item() - bound / 3**0.5) < 1e-2 * bound
