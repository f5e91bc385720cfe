"""Branches and the kernel that they become: sums written out again, maps compared, a picture that can be read."""

import json

import pytest
import torch
from drawn import assert_readable, words

import convatlas
from convatlas.cli.inspections.fold import fold as command
from convatlas.errors import ConvatlasError
from convatlas.inspect.fold import draw, merge


@pytest.fixture(scope="module")
def trained():
    """A small RepVGG whose norms have seen something."""
    torch.manual_seed(0)
    net = convatlas.create_model("repvgg_a0", a=0.125, b=0.125, layers=(2, 1, 1, 1), stem="cifar", image_size=16,
                                 num_classes=3)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
    net.train()
    for _ in range(5):
        net(2 * torch.randn(8, 3, 16, 16) + 1)
    return net.eval()


def test_the_kernel_is_the_branches_sum_and_computes_their_map(trained):
    found = merge(trained, made=3)
    assert found.layer == "stages.0.1.conv" and found.maps == (3, 3)
    assert {name: tuple(kernel.weight.shape) for name, kernel in found.branches.items()} == {
        "skip": (1, 1), "small": (1, 1), "large": (3, 3)}
    (kernel,) = found.kernels
    module = trained.get_submodule("stages.0.1.conv")

    def scale(norm):
        return norm.weight[3] / (norm.running_var[3] + norm.eps).sqrt()

    expected = scale(module.large.norm) * module.large.conv.weight[3, 3]
    expected = expected.detach().clone()
    expected[1, 1] += (scale(module.skip) + scale(module.small.norm) * module.small.conv.weight[3, 3, 0, 0]).detach()
    torch.testing.assert_close(kernel.weight, expected)
    assert kernel.bias == pytest.approx(sum(branch.bias for branch in found.branches.values()), rel=1e-5)
    torch.testing.assert_close(found.after, found.before)
    assert 0 <= found.difference < 1e-5 * found.largest and found.scores < 1e-5 and not trained.training


def test_strips_stay_two_and_a_small_kernel_goes_into_one_of_them():
    net = convatlas.create_model("slak_tiny", channels=(4, 4, 8, 8), blocks=(1, 1, 1, 1), kernels=(11, 9, 7, 7),
                                 small=3, image_size=32, num_classes=2).eval()
    found = merge(net)
    assert [tuple(kernel.weight.shape) for kernel in found.kernels] == [(11, 3), (3, 11)]
    assert len(found.branches) == 3 and found.difference < 1e-5 * found.largest
    assert_readable(draw(found))


def test_what_does_not_merge_is_told(trained):
    with pytest.raises(ConvatlasError, match="lenet5 has no parallel branches"):
        merge(convatlas.create_model("lenet5"))
    with pytest.raises(ConvatlasError, match=r"'stages.0.1' of repvgg_a0 has no branches .* 'stem.conv' has"):
        merge(trained, "stages.0.1")
    with pytest.raises(ConvatlasError, match=r"map 8 is refused: .* makes maps 0 to 7"):
        merge(trained, "stem.conv", 8)
    with pytest.raises(ConvatlasError, match="has no parallel branches"):
        merge(convatlas.fold(trained))


def test_the_picture_can_be_read(trained):
    figure = draw(merge(trained))
    assert_readable(figure)
    told = " ".join(words(figure))
    assert "3 branches become 1 kernel" in told and "skip 1×1" in told and "of the largest" in told


def test_the_command(trained, tmp_path, capsys):
    path = convatlas.save(trained, tmp_path / "net.safetensors")
    command(str(path), layer="stem.conv", made=1, out=tmp_path / "fold.svg", json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["read"], told["made"]) == (1, 1) and set(told["branches"]) == {"small", "large"}
    assert told["difference"] < 1e-5 * told["largest"] and "<svg" in (tmp_path / "fold.svg").read_text()
