"""AlexNet: its normalisation against the printed sum, its two halves, its initialisation; torchvision's equals ours."""

import pytest
import torch
from torch import nn

import convatlas
from convatlas import ConvatlasError
from convatlas.parts import LocalResponseNorm


def printed_formula(a, k=2.0, n=5, alpha=1e-4, beta=0.75):
    """b_i = a_i / (k + α Σ_{j=max(0,i−n/2)}^{min(N−1,i+n/2)} a_j²)^β, one map after the other."""
    b = torch.empty_like(a)
    maps = a.shape[1]
    for i in range(maps):
        low, high = max(0, i - n // 2), min(maps - 1, i + n // 2)
        b[:, i] = a[:, i] / (k + alpha * a[:, low:high + 1].square().sum(1)) ** beta
    return b


def test_response_normalisation_is_the_printed_sum():
    a = 100 * torch.randn(2, 12, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(LocalResponseNorm()(a), printed_formula(a), rtol=1e-12, atol=1e-12)


def test_response_normalisation_within_each_half():
    a = 100 * torch.randn(2, 12, 3, 3, dtype=torch.float64)
    halves = torch.cat([printed_formula(a[:, :6]), printed_formula(a[:, 6:])], dim=1)
    torch.testing.assert_close(LocalResponseNorm(groups=2)(a), halves, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(halves, printed_formula(a))


def test_the_authors_code_divides_alpha_by_n():
    a = 100 * torch.randn(2, 12, 3, 3, dtype=torch.float64)
    torchs = torch.nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)(a)
    torch.testing.assert_close(LocalResponseNorm(alpha=1e-4 / 5)(a), torchs, rtol=1e-12, atol=1e-12)


def test_fields_take_innovations_away():
    with torch.device("meta"):
        plain = convatlas.create_model("alexnet", lrn="none", pool_kernel=2, groups=1, act="tanh")
        halved = convatlas.create_model("alexnet", lrn="code", lrn_groups=2)
    assert not any(isinstance(m, LocalResponseNorm) for m in plain.modules())
    assert plain.stages[0].conv2.groups == 1 and plain.stages[0].pool1.kernel_size == 2
    norms = [m for m in halved.modules() if isinstance(m, LocalResponseNorm)]
    assert [(m.groups, m.alpha) for m in norms] == [(2, 2e-5), (2, 2e-5)]


@pytest.mark.parametrize("name", ["alexnet", "alexnet_owt"])
def test_cifar_stem(name):
    with torch.device("meta"):
        usual, small = (convatlas.create_model(name, stem=stem, num_classes=10) for stem in ("imagenet", "cifar"))
        assert small(torch.empty(1, 3, 32, 32)).shape == (1, 10)
    conv = small.stem.conv1
    assert (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
    assert list(small.state_dict()) == list(usual.state_dict()) and small.feature_info[0]["reduction"] == 1


def test_order_is_convolution_relu_normalisation_pool():
    with torch.device("meta"):
        model = convatlas.create_model("alexnet")
    assert list(dict(model.stem.named_children())) == ["conv1", "act1", "norm1"]
    assert list(dict(model.stages[0].named_children())) == ["pool1", "conv2", "act2", "norm2"]


@pytest.fixture(scope="module")
def started():
    torch.manual_seed(0)
    return convatlas.create_model("alexnet", num_classes=10)


def test_weights_start_as_section_5_says(started):
    layers = {name.rpartition(".")[2]: m for name, m in started.named_modules()
              if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)}
    assert len(layers) == 8
    for name, layer in layers.items():
        assert abs(layer.weight.std().item() - 0.01) < 5e-4 and abs(layer.weight.mean().item()) < 5e-4, name
        assert layer.bias.eq(1.0 if name in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0.0).all(), name


def test_other_sizes_are_pooled_to_six(started):
    started.eval()
    with torch.inference_mode():
        assert started(torch.randn(1, 3, 131, 163)).shape == (1, 10)


def test_torchvisions_alexnet_has_our_logits():
    from torchvision.models import alexnet

    theirs, ours = alexnet(num_classes=10).double().eval(), convatlas.create_model("alexnet_owt",
                                                                                   num_classes=10).double().eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    state = theirs.state_dict()
    names = list(ours.state_dict())
    assert len(names) == len(state)
    ours.load_state_dict(dict(zip(names, state.values(), strict=True)))
    for size in (224, 195):
        x = torch.randn(2, 3, size, size, dtype=torch.float64)
        with torch.inference_mode():
            torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-12)


def test_four_layers_for_cifar_are_cuda_convnets():
    torch.manual_seed(0)
    model = convatlas.create_model("alexnet_cifar").double().eval()
    weights = dict(model.named_parameters())
    for name, deviation in (("stem.conv1", 1e-4), ("stages.0.conv2", 0.01), ("stages.1.conv3", 0.01),
                            ("head.classifier", 0.01)):
        assert abs(weights[f"{name}.weight"].std().item() / deviation - 1) < 0.05, name
    assert all(bias.eq(0).all() for name, bias in weights.items() if name.endswith("bias"))
    x = 100 * torch.randn(2, 3, 32, 32, dtype=torch.float64)
    y = x
    for i, (stage, pool) in enumerate((("stem", "max"), ("stages.0", "avg"), ("stages.1", "avg")), start=1):
        y = torch.relu(torch.conv2d(y, weights[f"{stage}.conv{i}.weight"], weights[f"{stage}.conv{i}.bias"], padding=2))
        side = -(-(y.shape[2] - 3) // 2) + 1            # the last window is cut off by the border, and so is its mean
        windows = [[y[:, :, 2 * i:2 * i + 3, 2 * j:2 * j + 3] for j in range(side)] for i in range(side)]
        y = torch.stack([torch.stack([w.amax((2, 3)) if pool == "max" else w.mean((2, 3)) for w in row], -1)
                         for row in windows], -2)
    y = y.flatten(1) @ weights["head.classifier.weight"].T + weights["head.classifier.bias"]
    with torch.no_grad():
        torch.testing.assert_close(model(x), y, rtol=1e-12, atol=1e-12)


def test_four_layers_have_fields_to_take_away_and_add():
    with torch.device("meta"):
        other = convatlas.create_model("alexnet_cifar", act="tanh", lrn=True, pool_kernel=2, width=0.25)
    kinds = [type(m).__name__ for m in other.modules()]
    assert kinds.count("Tanh") == 3 and kinds.count("LocalResponseNorm") == 2 and "ReLU" not in kinds
    assert other.stem.conv1.out_channels == 8 and other.stages[0].pool1.kernel_size == 2


@pytest.mark.parametrize("width", [0, -1.0, float("inf"), float("nan")])
def test_no_width_is_refused(width):
    with pytest.raises(ConvatlasError, match=r"alexnet_cifar: width = .* must be more than 0"):
        convatlas.create_model("alexnet_cifar", width=width)


def test_narrow_layers_begin_with_larger_weights():
    """Sums of fewer terms keep their variance; the first layer reads the image, whatever the width."""
    torch.manual_seed(0)
    model = convatlas.create_model("alexnet", width=0.25, fc=256, num_classes=10)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [float(m.weight.std()) for m in layers] == pytest.approx([0.01, *[0.02] * 5, 0.04, 0.04], rel=0.1)
