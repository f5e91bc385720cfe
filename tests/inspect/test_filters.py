"""Kernels as pictures: the weights are the layer's own, and the picture shows each of them."""

import json

import numpy as np
import pytest
import torch
from drawn import assert_readable, words
from torch.nn.functional import conv2d

from convatlas import ConvatlasError, create_model
from convatlas.cli.inspections.filters import filters as command
from convatlas.inspect.filters import draw, filters, first_filters


def pictures(figure):
    return [image.get_array() for image in figure.axes[0].get_images()]


def test_the_first_layer_of_a_colour_network():
    model = create_model("resnet20_cifar")
    found = filters(model)
    assert (found.layer, found.of_image) == ("stem.conv", True)
    assert torch.equal(found.weights, model.stem.conv.weight) and torch.equal(first_filters(model), found.weights)
    assert not filters(model, "stages.0.0.branch.conv1.conv").of_image


def test_a_connection_table_has_gaps_where_nothing_is_linked():
    model = create_model("lenet5")
    layer, found = model.get_submodule("stages.1.c3"), filters(model, "stages.1.c3")
    links = {(int(place) // 6, int(place) % 6): k for k, place in enumerate(layer.place)}
    assert len(links) == 60
    for i in range(16):
        for j in range(6):
            kernel = found.weights[i, j]
            assert torch.equal(kernel, layer.weight[links[i, j]]) if (i, j) in links else kernel.isnan().all()
    x = torch.randn(1, 6, 14, 14)
    torch.testing.assert_close(conv2d(x, found.weights.nan_to_num(0), layer.bias), layer(x))


@pytest.mark.parametrize("name", ["lecun1989_net1", "lecun1989_net2"])
def test_fully_connected_units_look_at_the_whole_image(name):
    model = create_model(name)
    found = filters(model)
    layer, x = model.get_submodule(found.layer), torch.randn(1, *found.weights.shape[1:])
    assert found.weights.shape[1:] == (model.in_chans, *model.image_size)
    torch.testing.assert_close((found.weights * x).sum((1, 2, 3)) + layer.bias, layer(x.flatten(1))[0])


def test_a_local_layer_gives_a_picture_per_position():
    model = create_model("lecun1989_net3")
    weights, layer = filters(model).weights, model.get_submodule(filters(model).layer)
    assert len(weights) == layer.cout * layer.units[0] * layer.units[1]
    assert torch.equal(weights[5].flatten(), layer.weight[0, 5])       # map 0, position 5


def test_what_cannot_be_drawn_is_refused():
    model = create_model("resnet20_cifar")
    with pytest.raises(ConvatlasError, match=r"no layer 'stem.cnov'.*did you mean 'stem.conv'"):
        filters(model, "stem.cnov")
    with pytest.raises(ConvatlasError, match=r"'stem.act' of resnet20_cifar is a ReLU, which has no "
                       r"kernels.*'stem.conv'"):
        filters(model, "stem.act")


def test_the_picture_of_a_first_layer():
    model = create_model("alexnet")
    found = filters(model)
    figure = draw(found, "alexnet")
    assert_readable(figure)
    assert words(figure)[:2] == ["First layer of alexnet",
                                 "stem.conv1: 96 kernels of 11×11 pixels, red, green and blue"]
    shown = pictures(figure)
    assert len(shown) == 96 and len(pictures(draw(found, "alexnet", limit=7))) == 7
    weights = found.weights[5].numpy()
    expected = np.round(127.5 + 127.5 * weights / np.abs(weights).max()).transpose(1, 2, 0)
    np.testing.assert_array_equal(shown[5], expected.astype(np.uint8))


@pytest.mark.parametrize(("name", "fields", "layer", "count"), [
    ("lenet5", {}, None, 6), ("lenet5", {}, "stages.1.c3", 60), ("resnet20_cifar", {"in_chans": 4}, None, 64),
    ("mobilenet_v1", {}, "stages.0.0.depthwise.conv", 32), ("vgg11", {}, "stages.1.conv1", 256),
    ("lecun1989_net1", {}, None, 10),
])
def test_every_kind_of_layer_can_be_drawn(name, fields, layer, count):
    model = create_model(name, **fields)
    figure = draw(filters(model, layer), name)
    assert_readable(figure)
    assert len(pictures(figure)) == count


def test_the_command_writes_a_picture(tmp_path, capsys):
    command("lenet5", layer=None, limit=96, out=tmp_path / "kernels.svg", json=True)
    assert "<svg" in (tmp_path / "kernels.svg").read_text()
    out, err = capsys.readouterr()
    assert "newly initialised" in err and json.loads(out)["shape"] == [6, 1, 5, 5] and min(json.loads(out)["norms"]) > 0
    with pytest.raises(ConvatlasError, match=r"\.png, \.svg, \.pdf"):
        command("lenet5", layer=None, limit=96, out=tmp_path / "kernels.gif")
