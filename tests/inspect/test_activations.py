"""Feature maps: what the layers give, without hooks, and the strip that is drawn of it."""

import json

import numpy as np
import pytest
import torch
from drawn import assert_readable, words
from PIL import Image

from convatlas import ConvatlasError, create_model, transforms
from convatlas.cli.inspections.activations import activations as command
from convatlas.inspect.activations import Maps, activations, draw
from convatlas.inspect.sheet import viewable


def picture(height=40, width=48):
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8)


@pytest.mark.parametrize("name", ["resnet20_cifar", "lenet5", "densenet_40_12_cifar"])
def test_maps_are_those_of_the_stages_run_one_by_one(name):
    model = create_model(name).eval()
    x = transforms(model)(picture())
    found = {maps.layer: maps.values for maps in activations(model, x)}
    with torch.no_grad():
        y = model.stem(x[None])
        expected = {} if isinstance(model.stem, torch.nn.Identity) else {"stem": y[0]}
        for i, stage in enumerate(model.stages):
            y = stage(y)
            expected[f"stages.{i}"] = y[0]
    assert found.keys() == expected.keys()
    for layer in expected:
        torch.testing.assert_close(found[layer], expected[layer])


def test_any_layer_by_name_a_vector_too():
    model = create_model("lenet5").eval()
    x = transforms(model)(picture())
    first, vector = activations(model, x, ["stages.0.c1", "head.hidden"])
    with torch.no_grad():
        torch.testing.assert_close(first.values, model.get_submodule("stages.0.c1")(x[None])[0])
        torch.testing.assert_close(vector.values[:, 0, 0],
                                   model.forward_head(model.forward_features(x[None]), pre_logits=True)[0])


def test_a_network_in_training_is_looked_at_as_it_predicts_and_left_as_it_was():
    model = create_model("resnet20_cifar", n=1)
    before, x = model.stem.norm.running_mean.clone(), torch.randn(3, 32, 32)
    found = activations(model, x)[0].values
    assert model.training and torch.equal(model.stem.norm.running_mean, before)
    with torch.no_grad():
        torch.testing.assert_close(found, model.eval().stem(x[None])[0])


def test_activity_ranks_channels():
    values = torch.stack([torch.full((2, 2), level) for level in (1.0, -3.0, 0.0, 2.0)])
    assert Maps("x", values).activity.tolist() == [1, 3, 0, 2]
    figure = draw([Maps("x", values)], np.zeros((4, 4), np.uint8), "title")
    assert [text for text in words(figure) if text.isdigit()] == ["1", "3", "0", "2"]


def test_layers_that_do_not_exist_run_or_give_maps():
    model = create_model("googlenet", image_size=64, num_classes=3).eval()
    x = torch.zeros(3, 64, 64)
    with pytest.raises(ConvatlasError, match=r"no layer 'stage.0' in googlenet; did you mean 'stages.0'"):
        activations(model, x, ["stage.0"])
    with pytest.raises(ConvatlasError, match=r"no layer 'zzz' in googlenet; its stages are stem, stages.0"):
        activations(model, x, ["zzz"])
    with pytest.raises(ConvatlasError, match="lecun1989_net1 has no stages"):
        activations(create_model("lecun1989_net1"), torch.zeros(1, 16, 16))
    with pytest.raises(ConvatlasError, match="does not run when the network predicts"):
        activations(model, x, [next(f"aux.{name}" for name in model.aux)])


@pytest.mark.parametrize(("name", "rows"), [("lenet5", 3), ("resnet20_cifar", 4), ("vgg11", 6)])
def test_the_strips(name, rows):
    model = create_model(name, **({"image_size": 64, "num_classes": 2} if name == "vgg11" else {})).eval()
    transform = transforms(model)
    x = transform(picture())
    found = activations(model, x)
    figure = draw(found, viewable(x, transform), f"What {name} makes of it")
    assert_readable(figure)
    said = words(figure)
    assert len(found) == rows
    for maps in found:
        channels, height, width = maps.values.shape
        assert {maps.layer, f"{channels} maps of {height}×{width}"} <= set(said)
    assert len(figure.axes[0].get_images()) == 1 + sum(min(10, len(maps.values)) for maps in found)


def test_the_command_reads_grey_and_colour_and_names_what_it_cannot_read(tmp_path, capsys):
    for mode in ("L", "RGBA", "P"):
        Image.new(mode, (30, 20)).save(tmp_path / f"{mode}.png")
        command("lenet5", tmp_path / f"{mode}.png", layers=None, device="cpu", out=tmp_path / "maps.png", json=True)
        layers = json.loads(capsys.readouterr().out)["layers"]
        assert all(len(layer["activity"]) == layer["shape"][0] for layer in layers) and len(layers) == 3
        with Image.open(tmp_path / "maps.png") as made:
            assert made.size[0] > 800
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    for name in ("broken.jpg", "absent.jpg"):
        with pytest.raises(ConvatlasError, match=f"cannot read the image '.*{name}'"):
            command("lenet5", tmp_path / name, layers=None, device="cpu", out=tmp_path / "maps.png")
