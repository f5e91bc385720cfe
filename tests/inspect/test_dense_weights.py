"""Dense blocks: mean absolute weights beside explicit loops over the channels."""

import json

import pytest
import torch
from drawn import assert_readable, words

from convatlas import ConvatlasError, create_model
from convatlas.cli.inspections.dense import dense as command
from convatlas.inspect.dense_weights import WITH_BLOCKS, dense_weights, draw


def mean_over(weight, first, last):
    """Mean |w| of the weights that read the channels from `first` to before `last`, one weight after the other."""
    values = [abs(value) for channel in range(first, last) for value in weight[:, channel].flatten().tolist()]
    return sum(values) / len(values)


@pytest.mark.parametrize(("name", "reads"), [("densenet_40_12_cifar", "conv1"), ("densenet_bc_100_12_cifar", "conv1")])
def test_every_source_and_target(name, reads):
    model = create_model(name, layers=3, growth=4, num_classes=5)
    found = dense_weights(model)
    assert [block.name for block in found] == [f"stages.{i}.layers" for i in range(3)]
    for i, block in enumerate(found):
        layers = model.stages[i].layers
        cin = layers[0].get_submodule(reads).in_channels
        edges = [0, cin, cin + 4, cin + 8, cin + 12]
        after = model.get_classifier() if i == 2 else model.stages[i + 1].reduce.conv
        readers = [*(layer.get_submodule(reads).weight for layer in layers), after.weight]
        assert model.get_submodule(block.reader) is after and block.weights.shape == (4, 4)
        for target, weight in enumerate(readers):
            for source in range(4):
                value = block.weights[source, target].item()
                if source <= target:
                    assert value == pytest.approx(mean_over(weight, edges[source], edges[source + 1]))
                else:
                    assert value != value           # layer 2 does not read layer 3


def test_a_classifier_of_other_features_is_left_out():
    model = create_model("densenet121", layers=(2, 2), growth=8, global_pool="catavgmax", num_classes=3)
    first, last = dense_weights(model)
    assert first.reader == "stages.1.reduce.conv" and first.weights.shape == (3, 3)
    assert last.reader is None and last.weights.shape == (3, 2)
    assert_readable(draw([first, last], "title"))


def test_a_network_without_dense_blocks_names_some_that_have():
    with pytest.raises(ConvatlasError, match=f"resnet20_cifar has no dense blocks.*{', '.join(WITH_BLOCKS)}"):
        dense_weights(create_model("resnet20_cifar"))
    with torch.device("meta"):
        for name in WITH_BLOCKS:
            assert len(dense_weights(create_model(name))) > 1


@pytest.mark.parametrize(("name", "fields"), [("densenet_40_12_cifar", {}), ("densenet121", {}),
                                              ("densenet121", {"layers": (1,)})])
def test_the_picture(name, fields):
    found = dense_weights(create_model(name, **fields))
    figure = draw(found, f"What the layers of {name} read")
    assert_readable(figure)
    maps = figure.axes[1:-1]
    assert len(maps) == len(found) and {block.name for block in found} <= set(words(figure))
    for axes, block in zip(maps, found, strict=True):
        shown = axes.get_images()[0].get_array()
        assert shown.shape == block.weights.shape and shown.max() == 1
        assert shown[:, -1].max() == shown[0, 0] == 1           # each column has its own scale
        assert len(axes.get_lines()) == 1                       # the frame


def test_the_command(tmp_path, capsys):
    command("densenet_40_12_cifar", out=tmp_path / "dense.pdf", json=True)
    told = json.loads(capsys.readouterr().out)
    assert (tmp_path / "dense.pdf").read_bytes().startswith(b"%PDF")
    assert [block["read_by"] for block in told["blocks"]] == ["stages.1.reduce.conv", "stages.2.reduce.conv",
                                                              "head.classifier"]
    assert told["blocks"][0]["weights"][12][0] is None and len(told["blocks"][0]["weights"]) == 13
