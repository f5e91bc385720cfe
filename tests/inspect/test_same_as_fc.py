"""1×1 convolutions against fully-connected layers and sums written out."""

import json

import pytest
import torch
from drawn import assert_readable, words

import convatlas
from convatlas.cli.inspections.same_as_fc import same_as_fc as command
from convatlas.errors import ConvatlasError
from convatlas.inspect.same_as_fc import differences, draw, same_as_fc


@pytest.mark.parametrize("shape", [(3, 2, 4, 4), (1, 1, 1, 1), (7, 5, 3, 6)])
def test_both_are_the_sum_over_channels(shape):
    found = same_as_fc(*shape, seed=3)
    written = sum(found.weights[:, k, None, None] * found.image[k] for k in range(shape[0]))
    assert found.difference == 0 and torch.equal(found.convolved, written) and torch.equal(found.connected, written)
    assert found.convolved.shape == (shape[1], *shape[2:])


@pytest.mark.parametrize(("name", "count"), [("nin_cifar10", 6), ("mobilenet_v1", 13), ("googlenet", 37)])
def test_every_1x1_convolution_of_a_network_is_one(name, count):
    model = convatlas.create_model(name, **({} if "cifar" in name else {"image_size": 64}))
    found = differences(model)
    assert len(found) >= count and max(found.values()) < 1e-5
    assert not any(module._forward_hooks for module in model.modules())


def test_another_convolution_would_be_noticed():
    model = convatlas.create_model("nin_cifar10")
    conv = model.get_submodule("stages.0.cccp1")
    conv.register_forward_hook(lambda module, args, output: output.roll(1, 3))      # runs before the comparison's own
    assert differences(model)["stages.0.cccp1"] > 0.01


def test_what_cannot_be_shown_is_told():
    with pytest.raises(ConvatlasError, match="no 1×1"):
        differences(convatlas.create_model("lenet5"))
    with pytest.raises(ConvatlasError, match="cout = 0"):
        same_as_fc(cout=0)
    with pytest.raises(ConvatlasError, match="too large to draw"):
        draw(same_as_fc(cin=9))


@pytest.mark.parametrize("shape", [(3, 2, 4, 4), (1, 1, 1, 1), (8, 8, 8, 8)])
def test_pictures_can_be_read(shape):
    found = same_as_fc(*shape)
    figure = draw(found)
    assert_readable(figure)
    assert (sum(word == "→" for word in words(figure)) == 2
            and "computed both ways, the largest difference is 0" in words(figure))


def test_the_command(tmp_path, capsys):
    command(out=tmp_path / "fc.svg", json=True)
    assert json.loads(capsys.readouterr().out)["difference"] == 0 and (tmp_path / "fc.svg").exists()
    command("nin_cifar10", json=True)
    assert max(json.loads(capsys.readouterr().out).values()) < 1e-5
