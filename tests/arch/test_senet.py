"""SENet: peers' logits, and every ablation of the paper against its drawing."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convatlas
from convatlas.parts import BlockExcite, Excite, SqueezeExcite
from convatlas.run import Run, resolve
from parity import assert_equal_logits, randomized

PEERS = [
    ("timm", "legacy_seresnet50", "se_resnet50_v1", {}, {}),
    ("timm", "legacy_seresnet101", "se_resnet101_v1", {}, {}),
    ("timm", "legacy_seresnet152", "se_resnet152_v1", {}, {}),
    ("timm", "legacy_senet154", "senet154", {}, {}),
    ("timm", "senet154", "senet154", {"stem_pool": "symmetric"}, {}),
    ("timm", "seresnet50", "se_resnet50", {}, {}),
    ("timm", "seresnet50", "se_resnet50", {"output_stride": 8}, {"output_stride": 8}),
    ("timm", "seresnet101", "se_resnet101", {}, {}),
    ("timm", "seresnet152", "se_resnet152", {}, {}),
]


@pytest.mark.parametrize(("library", "theirs", "ours", "fields", "kwargs"),
                         [PEERS[0], *(pytest.param(*peer, marks=pytest.mark.slow) for peer in PEERS[1:])])
def test_peers_have_our_logits(library, theirs, ours, fields, kwargs):
    assert_equal_logits(library, theirs, ours, 75, fields, kwargs)


@pytest.mark.parametrize("depth", [18, pytest.param(34, marks=pytest.mark.slow)])
def test_timms_small_networks_have_our_logits_without_their_rounding(depth):
    """timm squeezes to a multiple of 8 channels: its stage of 64 has 8 where 64/16 = 4."""
    from timm.layers import SEModule

    exact = {"block_args": {"attn_layer": partial(SEModule, rd_divisor=1)}}
    assert_equal_logits("timm", f"seresnet{depth}", f"se_resnet{depth}", 75, {}, exact)


def meta(name, **fields):
    with torch.device("meta"):
        return convatlas.create_model(name, **fields)


def stage(**fields):
    """Two blocks with 128 channels, the first of which strides and projects."""
    return randomized(convatlas.create_model("se_resnet18", **fields).stages[1].double())


X = torch.randn(2, 64, 8, 8, dtype=torch.float64)


def test_standard():
    first, last = stage()
    y = first.branch.conv2(first.branch.conv1(X))
    y = F.relu(y * _gates(first.branch.se, y) + first.shortcut(X))
    torch.testing.assert_close(first(X), y)
    assert last.branch.se.reduce.out_channels == 8


def test_pre():
    first, _ = stage(excite={"position": "pre"})
    y = first.branch.conv2(first.branch.conv1(X * _gates(first.branch.se, X)))
    torch.testing.assert_close(first(X), F.relu(y + first.shortcut(X)))


def test_post():
    first, _ = stage(excite={"position": "post"})
    y = first.block(X)
    torch.testing.assert_close(y, F.relu(first.block.branch(X) + first.block.shortcut(X)))
    torch.testing.assert_close(first(X), y * _gates(first.se, y))


def test_identity():
    first, last = stage(excite={"position": "identity"})
    way = first.shortcut.way(X)
    y = first(X)
    torch.testing.assert_close(y,
                               F.relu(first.branch.conv2(first.branch.conv1(X)) + way * _gates(first.shortcut.se, way)))
    torch.testing.assert_close(last(y), F.relu(last.branch(y) + y * _gates(last.shortcut.se, y)))


def test_behind_the_3x3():
    block = meta("se_resnet50", excite={"position": "3x3"}).stages[0][1]
    assert list(dict(block.branch.named_children())) == ["reduce", "conv", "se", "expand"]
    assert block.branch.se.reduce.in_channels == 64


def _gates(se, x):
    """Equations 2 and 3, written out."""
    z = x.mean((2, 3))
    s = F.linear(z, se.reduce.weight.flatten(1), se.reduce.bias).relu()
    return torch.sigmoid(F.linear(s, se.expand.weight.flatten(1), se.expand.bias))[:, :, None, None]


def excite(**parts):
    return stage(excite=parts)[1].branch.se


Y = torch.randn(2, 128, 4, 4, dtype=torch.float64)


def test_squeeze():
    top = excite(squeeze="max")
    z = top.expand(F.relu(top.reduce(Y.amax((2, 3), keepdim=True))))
    torch.testing.assert_close(top(Y), Y * torch.sigmoid(z))
    none = excite(squeeze="none")        # "NoSqueeze": every pixel its own factors
    torch.testing.assert_close(none(Y), Y * torch.sigmoid(none.expand(F.relu(none.reduce(Y)))))


@pytest.mark.parametrize(("gate", "function"), [("sigmoid", torch.sigmoid), ("relu", F.relu), ("tanh", torch.tanh)])
def test_gate(gate, function):
    se = excite(gate=gate)
    torch.testing.assert_close(se(Y), Y * function(se.expand(F.relu(se.reduce(Y.mean((2, 3), keepdim=True))))))


def test_reduction_bias_and_stages():
    model = meta("se_resnet50", excite={"reduction": 8, "bias": False, "stages": (1, 3)})
    counts = [sum(isinstance(m, SqueezeExcite) for m in stage.modules()) for stage in model.stages]
    assert counts == [0, 4, 0, 3]
    layers = [m for m in model.modules() if isinstance(m, SqueezeExcite)]
    assert all(m.reduce.out_channels * 8 == m.reduce.in_channels and m.reduce.bias is None and m.expand.bias is None
               for m in layers)


@pytest.mark.parametrize("position", ["standard", "pre", "post", "identity"])
def test_resnets_take_the_same_fields(position):
    parts = {"reduction": 4, "position": position, "squeeze": "max", "gate": "tanh"}
    plain, ours = meta("resnet18", excite=parts), meta("se_resnet18", excite=parts)
    assert str(plain.stages) == str(ours.stages)


def test_older_files_fields_are_parts_of_excite():
    """Files and commands of before had one field for each part; what they leave out is as the network has it."""
    def excite(name, **fields):
        return meta(name, **fields).spec.excite

    assert excite("resnet50", se_reduction=4) == excite("resnet50", excite={"reduction": 4}) == BlockExcite(4)
    assert excite("se_resnet50", se_bias=False, se_stages=[1]) == BlockExcite(bias=False, stages=(1,))
    assert excite("resnet50", se_position="pre") is excite("se_vgg16", se_reduction=None, fc=8) is None
    assert excite("resnet20_cifar", se_reduction=0) is None and excite("resnet20_cifar", se_reduction=8) == Excite(8)
    #   a file's fields and then a command's, or the other way round: the later counts
    assert excite("resnet50", se_reduction=4, excite={"position": "pre"}) == BlockExcite(4, position="pre")
    assert excite("resnet50", excite={"position": "pre"}, se_reduction=4) == BlockExcite(4, position="pre")
    assert excite("resnet50", se_reduction=4, excite={"reduction": 8}) == BlockExcite(8)
    assert excite("resnet50", excite={"reduction": 8}, se_reduction=4) == BlockExcite(4)
    assert excite("resnet50", se_position="pre", se_reduction=4) == BlockExcite(4, position="pre")
    assert excite("resnet50", se_reduction=4, excite=None) is None
    sets = ["model.name=resnet20_cifar", "model.fields.se_reduction=4", "model.fields.excite.reduction=8"]
    run = resolve(Run(), sets=sets)
    assert excite(run.model.name, **run.model.fields) == Excite(8)


@pytest.mark.parametrize(("name", "given", "message"), [
    ("resnet50", {"position": "sideways"}, "resnet50: excite.position = 'sideways' is refused: Input should be"),
    ("resnet50", {"reductio": 4}, "excite.reductio = 4 is refused"),
    ("resnet50", {"reduction": 0}, "reduction of 1 or more, not 0"),
    ("vgg16", {"position": "pre"}, "excite.position = 'pre' is refused"),
    ("vgg16", BlockExcite(position="pre"), "excite.position = 'pre' is refused"),
    ("se_resnet50", None, "excite = None is refused"),
])
def test_what_a_network_does_not_take_is_refused(name, given, message):
    with pytest.raises(convatlas.ConvatlasError, match=message):
        meta(name, excite=given)


def test_senet154():
    model = meta("senet154")
    assert [m.out_channels for m in model.stem.modules() if isinstance(m, nn.Conv2d)] == [64, 64, 128]
    first = model.stages[1][0]
    assert first.branch.reduce.conv.out_channels == 256 and first.branch.conv.conv.out_channels == 512
    assert first.branch.conv.conv.groups == 64 and first.branch.conv.conv.stride == (2, 2)
    assert first.shortcut.conv.kernel_size == (3, 3) and model.stages[0][1].shortcut.conv.kernel_size == (1, 1)
    assert model.head.hidden.drop.p == 0.2
