"""BN-Inception: its modules written out again with torch's functions, Google's padding, stem and widths, its
initialisation.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convatlas
from convatlas.parts import SameMaxPool2d


def unit(state, path, x, stride=1):
    """max(0, BN(W ∗ x)), with W's own size telling its padding."""
    weight = state[f"{path}.conv.weight"]
    norm = [state[f"{path}.norm.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
    return F.relu(F.batch_norm(F.conv2d(x, weight, None, stride, weight.shape[-1] // 2), *norm, eps=1e-3))


def module(state, name, x, *, stride=1, pool="avg", same=False):
    """Figure 5's paths, one after the other."""
    def u(path, y, stride=1):
        return unit(state, f"{name}.{path}", y, stride)
    paths = [] if stride == 2 else [u("point", x)]
    paths.append(u("three.conv", u("three.reduce", x), stride))
    paths.append(u("stacked.conv2", u("stacked.conv1", u("stacked.reduce", x)), stride))
    if stride == 2:
        paths.append(F.max_pool2d(x, 3, 2, ceil_mode=True))         # Caffe's
    else:
        pooled = F.avg_pool2d(x, 3, 1, 1, count_include_pad=not same) if pool == "avg" else F.max_pool2d(x, 3, 1, 1)
        paths.append(u("pool.proj", pooled))
    return torch.cat(paths, dim=1)


def written_out(state, x):
    """The whole network, as printed in Figure 5, at an even size of every map."""
    x = F.max_pool2d(unit(state, "stem.conv1", x, 2), 3, 2, ceil_mode=True)
    x = F.max_pool2d(unit(state, "stages.0.conv2", unit(state, "stages.0.reduce2", x)), 3, 2, ceil_mode=True)
    for stage, names in ((1, "3a 3b"), (2, "3c 4a 4b 4c 4d"), (3, "4e 5a 5b")):
        for name in names.split():
            path = f"stages.{stage}.inception_{name}"
            gated = f"{path}.excite.reduce.weight" in state
            x = module(state, path + ".paths" * gated, x, stride=2 if name in ("3c", "4e") else 1,
                       pool="max" if name == "5b" else "avg")
            if gated:
                s = F.relu(F.conv2d(x.mean((2, 3), keepdim=True),
                                    *(state[f"{path}.excite.reduce.{k}"] for k in ("weight", "bias"))))
                x = x * torch.sigmoid(F.conv2d(s, *(state[f"{path}.excite.expand.{k}"] for k in ("weight", "bias"))))
    return F.linear(x.mean((2, 3)), state["head.classifier.weight"], state["head.classifier.bias"])


@pytest.fixture
def randomly(request):
    torch.manual_seed(0)

    def make(name, **fields):
        from parity import randomized

        return randomized(convatlas.create_model(name, num_classes=10, **fields).double())
    return make


@pytest.mark.parametrize("name", ["bn_inception", pytest.param("se_bn_inception", marks=pytest.mark.slow)])
def test_the_network_is_figure_5_written_out(randomly, name):
    model, x = randomly(name), torch.randn(2, 3, 128, 128, dtype=torch.float64)      # 64, 32, 16, 8, 4
    with torch.inference_mode():
        expected = written_out(model.state_dict(), x)
        torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-9 * expected.abs().max().item())
    assert (expected[0] - expected[1]).abs().max() > 1e-6 * expected.abs().max()


def test_max_pools_round_up_and_meet_the_strided_convolutions_at_odd_sizes():
    x = torch.randn(1, 2, 28, 28)
    assert torch.equal(SameMaxPool2d(3, 2)(x), F.max_pool2d(x, 3, 2, ceil_mode=True))
    with torch.device("meta"):
        model = convatlas.create_model("bn_inception")
        assert model(torch.empty(2, 3, 193, 201)).shape == (2, 1000)


def test_same_is_tensorflows(randomly):
    """Strided windows start at the image's corner, means at the border divide by the pixels there are."""
    model = randomly("bn_inception", padding="same").eval()
    state, x = model.state_dict(), torch.randn(1, 192, 8, 8, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(model.stages[1].inception_3a(x),
                                   module(state, "stages.1.inception_3a", x, same=True))
        image = torch.randn(1, 3, 32, 32, dtype=torch.float64)
        shifted = F.conv2d(F.pad(image, (2, 3, 2, 3)), state["stem.conv1.conv.weight"], None, 2)
        torch.testing.assert_close(model.stem.conv1.conv(image), shifted)


def test_stems_and_widths():
    with torch.device("meta"):
        slim = convatlas.create_model("bn_inception", separable_stem=True, slim_widths=True)
        small = convatlas.create_model("bn_inception", stem="cifar", image_size=32)
        half = convatlas.create_model("se_bn_inception", excite={"reduction": 32})
    assert slim.stem.depthwise.weight.shape == (24, 1, 7, 7) and slim.stem.pointwise.conv.weight.shape == (64, 24, 1, 1)
    # TF-slim's own test constant: weights and three BatchNorm variables per channel, but biases and none in the stem
    trunk = [*slim.stem.modules(), *slim.stages.modules()]
    weights = sum(m.weight.numel() for m in trunk if isinstance(m, nn.Conv2d))
    channels = sum(m.num_features for m in trunk if isinstance(m, nn.BatchNorm2d)) - 64
    assert weights + 3 * channels + 64 == 10_173_112
    assert ([f["num_chs"] for f in small.feature_info] == [320, 608, 1024]
            and [f["reduction"] for f in small.feature_info] == [1, 2, 4])
    assert half.stages[1].inception_3a.excite.reduce.out_channels == 256 // 32


def test_weights_start_as_in_googles_release():
    torch.manual_seed(0)
    model = convatlas.create_model("bn_inception", drop_rate=0.25)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            std = (0.09 if name.endswith(".reduce.conv") else 0.1
                   if name.endswith(("proj.conv", "reduce2.conv")) else None)
            if std is None:
                std = (2.6 / layer.weight[0].numel()) ** 0.5
            assert layer.weight.abs().max() <= 2 * std + 1e-6, name
            # what truncation at two deviations leaves
            assert abs(layer.weight.std().item() / std - 0.88) < 0.02, name
    assert {(m.eps, m.momentum) for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-3, 3e-4)}
    assert model.head.classifier.bias.eq(0).all() and model.head.hidden.drop.p == 0.25


def test_the_release_has_caffes_epsilon():
    """And older files that name se_bn_inception keep the epsilon they were trained with."""
    with torch.device("meta"):
        found = {name: {m.eps for m in convatlas.create_model(name).modules() if isinstance(m, nn.BatchNorm2d)}
                 for name in ("se_bn_inception", "se_bn_inception_v1")}
    assert found == {"se_bn_inception": {1e-3}, "se_bn_inception_v1": {1e-5}}
