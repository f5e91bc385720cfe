"""Responses: their deviation beside the same network run layer by layer."""

import json

import pytest
import torch
from drawn import assert_readable, words
from torch import nn

from convatlas import ConvatlasError, create_model, transforms
from convatlas.cli.inspections.residuals import residuals as command
from convatlas.data import Tensors
from convatlas.inspect.residuals import Responses, draw, residuals


def images(n=9):
    return Tensors(torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8), torch.zeros(n))


def settled(name, **fields):
    """A network whose running statistics and scales are not those of the start."""
    model = create_model(name, **fields)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    model(torch.randn(16, model.in_chans, 32, 32))
    return model.eval()


@pytest.mark.parametrize("name", ["resnet20_cifar", "plain20_cifar"])
def test_after_normalisation_and_before_the_nonlinearity(name):
    model, data = settled(name, n=2), images()
    expected = {"stem.conv": model.stem.norm(model.stem.conv(transforms(model)(data.images)))}
    y = torch.relu(expected["stem.conv"])
    for i, stage in enumerate(model.stages):
        for j, block in enumerate(stage):
            plain = name.startswith("plain")
            branch, prefix = (block, f"stages.{i}.{j}") if plain else (block.branch, f"stages.{i}.{j}.branch")
            z = y
            for conv in ("conv1", "conv2"):
                z = expected[f"{prefix}.{conv}.conv"] = branch.get_submodule(conv).norm(
                    branch.get_submodule(conv).conv(torch.relu(z)))
            y = torch.relu(z if plain else z + block.shortcut(y))
    found = residuals(model, data, transforms(model), batch_size=4)
    assert found.layers == tuple(expected) and found.residual == (name == "resnet20_cifar")
    for std, response in zip(found.std, expected.values(), strict=True):
        assert std.item() == pytest.approx(response.std(correction=0).item(), rel=1e-4)


def test_bottlenecks_have_three_layers_and_projections_none():
    model = settled("resnet50", image_size=32, num_classes=3)
    found = residuals(model, images(3), transforms(model))
    assert len(found.layers) == 1 + 16 * 3 and not any("shortcut" in layer for layer in found.layers)


def test_what_computes_gates_is_no_response():
    model = settled("resnet20_cifar", n=1, excite={"reduction": 4})
    found = residuals(model, images(3), transforms(model))
    assert len(found.layers) == 1 + 3 * 2 and not any("excite" in layer for layer in found.layers)


def test_where_nothing_normalises_a_response_it_is_the_convolution_s_own():
    model, data = settled("preact_resnet110_cifar", n=1), images(4)
    found = residuals(model, data, transforms(model))
    unit, x = model.stages[0][0], model.stem(transforms(model)(data.images))
    assert "stages.0.0.branch.conv2" in found.layers and len(found.layers) == 7
    last = unit.branch(unit.pre(x))         # the branch ends in its second convolution
    assert (found.std[found.layers.index("stages.0.0.branch.conv2")].item()
            == pytest.approx(last.std(correction=0).item(), rel=1e-4))


def test_a_constant_response_has_no_deviation():
    model = settled("plain20_cifar", n=1)
    nn.init.zeros_(model.stem.norm.weight)
    nn.init.constant_(model.stem.norm.bias, 7.0)
    assert residuals(model, images(), transforms(model)).std[0].item() == 0


def test_a_network_without_convolutions_is_refused():
    model = create_model("lecun1989_net1")
    with pytest.raises(ConvatlasError, match="lecun1989_net1 has no convolutions"):
        residuals(model.eval(), images(), transforms(model))


def test_the_picture_has_both_orders_and_tells_networks_apart():
    found = {"runs/plain": Responses(("a", "b", "c"), torch.tensor([1.0, 3.0, 2.0]), False),
             "runs/residual": Responses(("a", "b", "c", "d"), torch.tensor([1.0, 0.5, 0.7, 0.2]), True)}
    figure = draw(found)
    assert_readable(figure)
    _, order, ranked = figure.axes
    assert [line.get_ydata().tolist() for line in order.get_lines()] == [[1, 3, 2], pytest.approx([1, 0.5, 0.7, 0.2])]
    assert [line.get_ydata().tolist() for line in ranked.get_lines()] == [[3, 2, 1], pytest.approx([1, 0.7, 0.5, 0.2])]
    assert [line.get_linestyle() for line in order.get_lines()] == ["--", "-"]
    assert any(text == "runs/plain: 3 layers, mean 2.00 (no shortcuts)" for text in words(figure))
    assert_readable(draw({f"network {i} of a very long name that has to be cut somewhere": found["runs/plain"]
                          for i in range(9)}))


def test_the_command_compares_networks(tmp_path, capsys):
    names = ["plain20_cifar", "resnet20_cifar"]
    command(names, "digits", count=4, batch_size=8, device="cpu", out=tmp_path / "r.png", json=True)
    told = json.loads(capsys.readouterr().out)
    assert list(told["networks"]) == names and (tmp_path / "r.png").stat().st_size > 10_000
    assert all(len(layers) == 19 and min(layers.values()) > 0 for layers in told["networks"].values())
