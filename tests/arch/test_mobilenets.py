"""MobileNet v1 to v3: their peers' scores, the width rule, the blocks' order, initialisation, and what each field does.
"""

import pytest
import torch
from torch import nn

import convatlas
from convatlas.parts import DropPath, Residual, SameConv2d, SqueezeExcite, round_channels
from parity import assert_equal_logits, randomized

TIMM, SAME = {"norm_eps": 1e-5}, {"padding": "same"}
PEERS = [
    # library      peer                       ours                   fields                       peer's arguments
    ("timm", "mobilenetv1_100", "mobilenet_v1", {"act": "relu6", **TIMM}, {}),
    ("timm", "mobilenetv1_100", "mobilenet_v1", {"act": "relu6", "output_stride": 8, **TIMM}, {"output_stride": 8}),
    ("torchvision", "mobilenet_v2", "mobilenet_v2", TIMM, {}),
    ("timm", "mobilenetv2_100", "mobilenet_v2", {"output_stride": 16, **TIMM}, {"output_stride": 16}),
    ("timm", "mobilenetv2_140", "mobilenet_v2_140", TIMM, {}),
    ("timm", "mobilenetv2_075", "mobilenet_v2_075", TIMM, {}),
    ("timm", "mobilenetv2_050", "mobilenet_v2_050", TIMM, {}),
    ("timm", "mobilenetv2_035", "mobilenet_v2_035", TIMM, {}),
    ("torchvision", "mobilenet_v3_large", "mobilenet_v3_large", {}, {}),
    ("torchvision", "mobilenet_v3_small", "mobilenet_v3_small", {}, {}),
    ("timm", "mobilenetv3_large_100", "mobilenet_v3_large", TIMM, {}),
    ("timm", "mobilenetv3_large_075", "mobilenet_v3_large_075", TIMM, {}),
    ("timm", "mobilenetv3_small_100", "mobilenet_v3_small", TIMM, {}),
    ("timm", "mobilenetv3_small_075", "mobilenet_v3_small_075", TIMM, {}),
    ("timm", "tf_mobilenetv3_large_100", "mobilenet_v3_large", SAME, {}),
    ("timm", "tf_mobilenetv3_large_075", "mobilenet_v3_large_075", SAME, {}),
    ("timm", "tf_mobilenetv3_small_100", "mobilenet_v3_small", SAME, {}),
    ("timm", "tf_mobilenetv3_small_075", "mobilenet_v3_small_075", SAME, {}),
    ("timm", "tf_mobilenetv3_large_minimal_100", "mobilenet_v3_large_minimal", SAME, {}),
    ("timm", "tf_mobilenetv3_small_minimal_100", "mobilenet_v3_small_minimal", SAME, {}),
]
FAST = ("mobilenetv1_100", "mobilenetv2_035", "tf_mobilenetv3_small_075", "tf_mobilenetv3_small_minimal_100")


def lively(model):
    """Weights that keep a signal's size: as a peer initialises them, the image's share fades beside the norms' biases.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return randomized(model)


def meta(name, **fields):
    with torch.device("meta"):
        return convatlas.create_model(name, **fields)


@pytest.mark.parametrize(("library", "peer", "ours", "fields", "kwargs"), [
    pytest.param(*row, marks=() if row[1] in FAST else pytest.mark.slow) for row in PEERS])
def test_peer_computes_the_same(library, peer, ours, fields, kwargs, monkeypatch):
    monkeypatch.setattr("parity.randomized", lively)
    assert_equal_logits(library, peer, ours, 70, fields, kwargs)


@pytest.mark.parametrize(("wanted", "rounded"), [(1, 8), (8, 8), (11.2, 16), (12, 16), (20, 24), (18, 24), (33.6, 32),
                                                 (44, 48), (36, 40)])
def test_widths_are_multiples_of_eight_that_lose_at_most_a_tenth(wanted, rounded):
    assert round_channels(wanted) == rounded
    assert rounded % 8 == 0 and rounded >= 0.9 * wanted


@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.75])
def test_v1_widths_are_the_papers_products(alpha):
    """α times Table 1's channels are multiples of 8 already, except below 8."""
    model = meta("mobilenet_v1", width=alpha)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups == 1]
    wide = [32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    assert [c.out_channels for c in convs] == [int(alpha * c) for c in wide]


def test_v1_params_and_macs_of_squeeze_and_excitation():
    """One gate behind each of Table 1's thirteen pairs: two layers of C²/16 weights, with biases."""
    pairs = [64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    plain, gated = (convatlas.net.registry.variant(name) for name in ("mobilenet_v1", "se_mobilenet_v1"))
    assert gated.params - plain.params == sum(2 * c * (c // 16) + c // 16 + c for c in pairs)
    assert gated.macs - plain.macs == sum(2 * c * (c // 16) for c in pairs)


def test_v1_activation_and_full_convolutions():
    for act, kind in (("relu", nn.ReLU), ("relu6", nn.ReLU6)):
        acts = [m for m in meta("mobilenet_v1", act=act).modules() if isinstance(m, nn.ReLU | nn.ReLU6)]
        assert len(acts) == 27 and {type(a) for a in acts} == {kind}
    assert all(m.groups == 1 for m in meta("mobilenet_v1_full").modules() if isinstance(m, nn.Conv2d))
    assert [len(stage) for stage in meta("mobilenet_v1_shallow").stages] == [1, 2, 2, 1, 2]


@pytest.mark.parametrize(("alpha", "channels"), [(0.35, 1280), (0.75, 1280), (1.0, 1280), (1.4, 1792)])
def test_v2_last_convolution_grows_but_never_shrinks(alpha, channels):
    model = meta("mobilenet_v2", width=alpha)
    assert model.head_hidden_size == channels == model.head.hidden.expand.conv.out_channels


def test_v2_blocks():
    """Shortcuts exactly where stride is 1 and the channels stay; no activation after a projection; t = 1 expands
    nothing.
    """
    model = meta("mobilenet_v2")
    assert [[isinstance(block, Residual) for block in stage] for stage in model.stages] == [
        [i > 0 for i in range(n)] for n in (1, 2, 3, 4, 3, 3, 1)]
    assert list(dict(model.stages[0][0].named_children())) == ["depthwise", "project"]
    branch = model.stages[1][1].branch
    assert list(dict(branch.named_children())) == ["expand", "depthwise", "project"]
    assert [list(dict(part.named_children())) for part in branch] == [["conv", "norm", "act"], ["conv", "norm", "act"],
                                                                      ["conv", "norm"]]
    assert isinstance(branch.expand.act, nn.ReLU6) and isinstance(model.stages[1][1].act, nn.Identity)


def test_v3_squeeze_and_excitation_stands_between_depthwise_and_projection():
    model = meta("mobilenet_v3_large")
    block = model.stages[2][0]
    assert list(dict(block.named_children())) == ["expand", "depthwise", "excite", "project"]
    assert isinstance(block.excite.act, nn.ReLU) and isinstance(block.excite.gate, nn.Hardsigmoid)
    squeezed = [m.reduce.out_channels for m in model.modules() if isinstance(m, SqueezeExcite)]
    assert squeezed == [round_channels(exp / 4) for exp in (72, 120, 120, 480, 672, 672, 960, 960)]


@pytest.mark.parametrize("name", ["mobilenet_v3_large_minimal", "mobilenet_v3_small_minimal"])
def test_v3_minimal_has_neither_gates_nor_swish_nor_large_kernels(name):
    kinds = list(meta(name).modules())
    assert not any(isinstance(m, SqueezeExcite | nn.Hardswish | nn.Hardsigmoid) for m in kinds)
    assert {m.kernel_size for m in kinds if isinstance(m, nn.Conv2d)} == {(1, 1), (3, 3)}


def test_v3_heads_of_the_papers_first_version():
    model = meta("mobilenet_v3_small", head=1280, head_se=True)
    assert model.head_hidden_size == 1280 and model.head.hidden.fc.weight.shape == (1280, 576)
    assert model.stages[-1].excite.reduce.out_channels == 144
    assert model.head.hidden.fc.bias is not None


def test_v3_head_reads_what_pooling_gives():
    assert meta("mobilenet_v3_small", global_pool="catavgmax").head.hidden.fc.in_features == 2 * 576
    bare = meta("mobilenet_v3_small", global_pool="none", num_classes=0).eval()
    assert bare(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 576, 2, 2)


NAMES = ["mobilenet_v1_025", "mobilenet_v2_035", "mobilenet_v3_small_075", "mobilenet_v3_large_075"]


@pytest.mark.parametrize("name", NAMES)
def test_initialisation_is_tf_slims(name):
    """N(0, 0.09²) cut at ±0.18: its standard deviation is 0.8796 of the uncut one's; biases are zero."""
    torch.manual_seed(0)
    model = convatlas.create_model(name)
    weights = torch.cat([m.weight.flatten() for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)])
    assert weights.abs().max() <= 0.18
    assert abs(weights.mean()) < 1e-3 and weights.std().item() == pytest.approx(0.8796 * 0.09, rel=5e-3)
    assert all((m.bias == 0).all() for m in model.modules()
               if isinstance(m, nn.Conv2d | nn.Linear) and m.bias is not None)


@pytest.mark.parametrize(("name", "momentum", "drop"), [
    ("mobilenet_v1", 0.0003, 0.001), ("mobilenet_v2", 0.003, 0.2), ("mobilenet_v3_large", 0.01, 0.2)])
def test_constants(name, momentum, drop):
    model = meta(name)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(n.eps, n.momentum) for n in norms} == {(1e-3, momentum)}
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [drop]
    assert not any(isinstance(m, DropPath) for m in model.modules())
    other = meta(name, norm_eps=1e-5, norm_momentum=0.1, drop_rate=0.4)
    assert {(n.eps, n.momentum) for n in other.modules() if isinstance(n, nn.BatchNorm2d)} == {(1e-5, 0.1)}
    assert other.head.hidden.drop.p == 0.4


@pytest.mark.parametrize("name", NAMES)
def test_output_stride_cifar_stem_and_padding(name):
    image = torch.empty(2, 3, 224, 224, device="meta")
    for stride in (8, 16, 32):
        assert meta(name,
                    output_stride=stride).eval().forward_features(image).shape[2:] == (224 // stride, 224 // stride)
    small = meta(name, stem="cifar").eval()
    assert small.stem.conv.stride == (1, 1) and small.stem(image).shape[2:] == (224, 224)
    assert [f["reduction"] for f in small.feature_info] == [1, 2, 4, 8, 16]
    strided = [m for m in meta(name, padding="same").modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    assert len(strided) == 5 and all(isinstance(m, SameConv2d) for m in strided)
    assert not any(isinstance(m, SameConv2d) for m in meta(name).modules())
