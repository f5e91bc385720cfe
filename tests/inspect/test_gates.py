"""Gates: the factors of squeeze-and-excitation beside the block computed by hand, class by class."""

import json

import numpy as np
import pytest
import torch
from drawn import assert_readable, words
from matplotlib.collections import PolyCollection

from convatlas import ConvatlasError, create_model, transforms
from convatlas.cli.inspections.gates import gates as command
from convatlas.data import Tensors
from convatlas.inspect.gates import WITH_GATES, Gates, draw, gates
from convatlas.inspect.places import spread

CLASSES = ("cat", "dog", "ship", "nothing")


def network(**fields):
    model = create_model("resnet20_cifar", n=2, excite={"reduction": 4}, num_classes=4, **fields)
    model(torch.randn(16, model.in_chans, 32, 32))
    return model.eval()


def images(n=15, labels=None):
    pixels = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Tensors(pixels, torch.arange(n) % 3 if labels is None else labels)


def by_hand(model, x):
    """The factors of every gate in order, each (N, C), by running the layers one after the other."""
    found = []
    y = model.stem(x)
    for block in (block for stage in model.stages for block in stage):
        z = block.branch.conv2(block.branch.conv1(y))
        excite = block.branch.excite
        hidden = torch.relu(z.mean((2, 3)) @ excite.reduce.weight[:, :, 0, 0].T + excite.reduce.bias)
        scale = torch.sigmoid(hidden @ excite.expand.weight[:, :, 0, 0].T + excite.expand.bias)
        found.append(scale)
        y = torch.relu(z * scale[:, :, None, None] + block.shortcut(y))
    return found


def test_mean_and_deviation_of_every_class_and_of_all():
    model, data = network(), images()
    transform = transforms(model)
    found = gates(model, data, CLASSES, transform, batch_size=4)
    assert [each.layer for each in found] == [f"stages.{i}.{j}.branch.excite" for i in range(3) for j in range(2)]
    with torch.no_grad():
        expected = by_hand(model, transform(data.images))
    for each, scale in zip(found, expected, strict=True):
        assert each.classes == CLASSES and each.counts.tolist() == [5, 5, 5, 0]
        torch.testing.assert_close(each.all_mean, scale.mean(0).double(), atol=1e-5, rtol=0)
        torch.testing.assert_close(each.all_std, scale.std(0, correction=0).double(), atol=1e-5, rtol=0)
        for k in range(3):
            torch.testing.assert_close(each.mean[k], scale[k::3].mean(0).double(), atol=1e-5, rtol=0)
            torch.testing.assert_close(each.std[k], scale[k::3].std(0, correction=0).double(), atol=1e-5, rtol=0)
        assert each.mean[3].isnan().all()


def test_an_image_of_several_labels_counts_for_each():
    model = network()
    labels = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    data = images(3, labels)
    found = gates(model, data, CLASSES, transforms(model))[0]
    single = gates(model, images(3), CLASSES, transforms(model))[0]        # image k alone in class k
    assert found.counts.tolist() == [1, 2, 0, 1] and found.images == 3
    torch.testing.assert_close(found.mean[0], single.mean[0])
    torch.testing.assert_close(found.mean[1], (single.mean[0] + single.mean[1]) / 2)
    torch.testing.assert_close(found.all_mean, single.all_mean)


def test_a_factor_per_pixel_counts_by_its_mean():
    model = create_model("se_resnet18", stem="cifar", image_size=32, excite={"squeeze": "none"}, num_classes=3).eval()
    excite = model.get_submodule(gates(model, images(2), CLASSES, transforms(model))[0].layer)
    assert isinstance(excite.squeeze, torch.nn.Identity)
    torch.nn.init.zeros_(excite.expand.weight)
    torch.nn.init.constant_(excite.expand.bias, 1.0)
    found = gates(model, images(2), CLASSES, transforms(model))[0]
    torch.testing.assert_close(found.all_mean, torch.full_like(found.all_mean, 1 / (1 + np.exp(-1))), atol=1e-5, rtol=0)


def test_some_images_are_spread_evenly():
    assert spread(images(15), 3) == [0, 7, 14] and spread(images(15), 1) == [0]
    assert spread(images(4), 9) == spread(images(4), None) == [0, 1, 2, 3]
    model = network()
    # labels 0, 1, 2
    assert gates(model, images(15), CLASSES, transforms(model), count=3)[0].counts.tolist() == [1, 1, 1, 0]


def test_a_network_without_gates_names_some_that_have():
    with pytest.raises(ConvatlasError, match=f"lenet5 has no squeeze-and-excitation.*{', '.join(WITH_GATES)}"):
        gates(create_model("lenet5").eval(), images(), CLASSES, transforms(create_model("lenet5")))
    with torch.device("meta"):
        for name in WITH_GATES:
            assert any(type(module).__name__ == "SqueezeExcite" for module in create_model(name).modules())


def test_the_picture_shows_the_last_gate_of_each_stage():
    model = network()
    found = gates(model, images(), CLASSES, transforms(model))
    figure = draw(found, "Gates of a network on images")
    assert_readable(figure)
    assert [text for text in words(figure) if "channels" in text] == [f"stages.{i}.1.branch.excite, {c} channels"
                                                                     for i, c in enumerate((16, 32, 64))]
    assert {"all", "cat", "dog", "ship"} <= set(words(figure)) and "nothing" not in words(figure)
    graph = figure.axes[1]
    everything, cat, *_ = graph.get_lines()
    np.testing.assert_allclose(everything.get_ydata(), found[1].all_mean)
    np.testing.assert_allclose(cat.get_ydata(), found[1].mean[0])
    # the deviation over all images
    assert len([each for each in graph.collections if isinstance(each, PolyCollection)]) == 1


def test_chosen_classes_and_layers():
    model = network()
    found = gates(model, images(), CLASSES, transforms(model))
    figure = draw(found, "title", ["ship", "dog"], ["stages.1.0.branch.excite"])
    assert len(figure.axes) == 2 and {"ship", "dog"} <= set(words(figure)) and "cat" not in words(figure)
    assert len(figure.axes[1].collections) == 2         # of two classes their own deviations
    with pytest.raises(ConvatlasError, match=r"no class 'shipp'; did you mean 'ship'"):
        draw(found, "title", ["shipp"])
    with pytest.raises(ConvatlasError, match=r"no layer with gates 'stages.1.0.branch.exite'; did you mean"):
        draw(found, "title", layers=["stages.1.0.branch.exite"])


def test_many_channels_are_thinned_and_long_names_clipped():
    wide = Gates("stages.3.2.block.branch.se", ("a class with a name that goes on and on", "b"),
                 7, torch.tensor([3, 4]), torch.rand(2, 2048).double(), torch.rand(2, 2048).double(),
                 torch.rand(2048).double(), torch.rand(2048).double())
    figure = draw([wide], "Gates")
    assert_readable(figure)
    assert len(figure.axes[1].get_lines()[0].get_xdata()) == 50


def test_the_command(tmp_path, capsys):
    from convatlas import save

    model = network(in_chans=1, table=((8, 8, 1),))
    model.reset_classifier(10)
    save(model, tmp_path / "net.safetensors")
    command(str(tmp_path / "net.safetensors"), "digits", classes=["3"], layers=None, count=40, batch_size=16,
            device="cpu", out=tmp_path / "gates.png", json=True)
    told = json.loads(capsys.readouterr().out)
    assert (tmp_path / "gates.png").stat().st_size > 10_000
    assert [len(layer["mean"]) for layer in told["layers"]] == [8, 8]
    assert sum(row["images"] for row in told["layers"][0]["classes"]) == 40
