"""Theoretical fields against pixels that spoil a unit, effective ones against Luo et al.'s closed form."""

import json
import math
from dataclasses import replace

import pytest
import torch
from drawn import assert_readable, words
from torch import nn

import convatlas
from convatlas.cli.inspections.receptive_field import receptive_field as command
from convatlas.errors import ConvatlasError
from convatlas.inspect.receptive_field import Span, draw, receptive_field
from convatlas.net.model import Convnet, pooled


def seen(model, layer, size, side):
    """Pixels from first to last, along rows (side 2) or columns (side 3), that reach the middle unit of the map: NaN
    spreads to it.
    """
    kept = []
    hook = dict(model.named_modules())[layer].register_forward_hook(lambda _module, _args, output: kept.append(output))
    images = torch.zeros(size, model.in_chans, size, size)
    for i in range(size):
        images[i].select(side - 1, i).fill_(math.nan)
    with torch.no_grad():
        model(images)
    hook.remove()
    units = kept[0][:, :, kept[0].shape[2] // 2, kept[0].shape[3] // 2]
    reached = units.isnan().any(1).nonzero().flatten()
    return int(reached[0]), int(reached[-1])


@pytest.mark.parametrize(("name", "layer", "size"), [
    ("lenet5", "stages.1", 32), ("resnet18", "stages.1", 96),
    pytest.param("googlenet", "stages.1", 96, marks=pytest.mark.slow),
    ("densenet_40_12_cifar", "stages.0", 32), ("mobilenet_v1", "stages.2", 64),
    pytest.param("vgg11", "stages.2", 64, marks=pytest.mark.slow), ("mobilenet_v2", "stages.1", 64),
])
def test_the_box_is_where_pixels_reach_the_unit(name, layer, size):
    model = convatlas.create_model(name, image_size=size).eval()
    rows, columns = receptive_field(model, layer, count=1, image_size=size).box
    for side, span in ((2, rows), (3, columns)):
        assert seen(model, layer, size, side) == (max(span.first, 0), min(span.last, size - 1))


def test_gradients_lie_in_the_box():
    field = receptive_field(convatlas.create_model("vgg11", image_size=96), "stages.1", count=4)
    rows, columns = field.box
    outside = field.gradient.clone()
    outside[rows.first : rows.last + 1, columns.first : columns.last + 1] = 0
    assert outside.sum() == 0 and field.gradient.sum() == pytest.approx(1)
    assert field.side(0.5) < field.side(0.9) <= field.side(1 - 1e-9) <= rows.size == Span(0, rows.size - 1).size


class Chain:
    """A specification of `depth` convolutions, all of whose weights are equal."""

    num_classes, in_chans = 2, 1

    def __init__(self, depth, kernel, side=64):
        self.image_size = side
        convs = [nn.Conv2d(1, 1, kernel, padding=kernel // 2, bias=False) for _ in range(depth)]
        for conv in convs:
            nn.init.constant_(conv.weight, 1 / kernel**2)
        self.net = Convnet(self, None, [nn.Sequential(*convs)], pooled(1, 2))
        self.net.card = replace(self.net.card, model="chain")


@pytest.mark.parametrize(("depth", "kernel"), [(4, 3), (16, 3), (4, 7)])
def test_the_effective_field_grows_as_the_root_of_the_depth(depth, kernel):
    """Luo et al. 2016, section 2.1: the gradient of equal weights is a Gaussian of variance n(k² − 1)/12."""
    field = receptive_field(Chain(depth, kernel).net, count=1)
    profile, places = field.gradient.sum(1), torch.arange(64, dtype=torch.float64)
    variance = float((profile * (places - field.center[0]) ** 2).sum())
    assert variance == pytest.approx(depth * (kernel**2 - 1) / 12, rel=1e-3)
    assert field.box[0].size == depth * (kernel - 1) + 1


def test_a_large_kernel_sees_further_than_as_many_weights_of_3x3():
    large, stacked = receptive_field(Chain(1, 31).net, count=1), receptive_field(Chain(15, 3).net, count=1)
    assert large.box[0].size == stacked.box[0].size == 31
    assert large.side() == 31 and stacked.side() < 20


def test_an_image_grows_until_its_edge_cuts_nothing():
    """Two networks whose fields are larger than their images look alike on these."""
    near, far = Chain(10, 7, side=16).net, Chain(40, 7, side=16).net
    small = [receptive_field(net, count=1, image_size=16) for net in (near, far)]
    assert all(field.cut for field in small) and abs(small[0].side() - small[1].side()) <= 2
    grown = [receptive_field(net, count=1, largest=128) for net in (near, far)]
    assert [field.gradient.shape for field in grown] == [(64, 64), (128, 128)]
    for field, depth in zip(grown, (10, 40), strict=True):
        #   of a Gaussian of variance 4 · depth, 90 % lie within 1.9488 deviations along both sides
        assert not field.cut and field.side() == pytest.approx(2 * 1.9488 * math.sqrt(4 * depth), abs=2)
    assert receptive_field(far, count=1).cut                # twice its own size is not enough
    assert receptive_field(far, count=1).gradient.shape == (32, 32)
    assert receptive_field(far, count=1, largest=40).gradient.shape == (40, 40)
    assert not receptive_field(Chain(1, 31).net, count=1).cut


def test_the_picture_says_that_the_edge_cuts():
    far = Chain(40, 7, side=16).net
    pictures = [draw([receptive_field(far, count=1, largest=largest)]) for largest in (16, 128)]
    told = [" ".join(words(picture)) for picture in pictures]
    assert "more than" in told[0] and "edge cuts" in told[0] and "edge cuts" not in told[1]
    assert_readable(pictures[0])


def test_the_seed_says_which_noise_and_the_mode_stays():
    model = convatlas.create_model("lenet5").train()
    a, b, c = (receptive_field(model, count=2, seed=seed).gradient for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c) and model.training
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize(("layer", "said"), [("stages.9", "did you mean"), ("head", "no map")])
def test_layers_that_cannot_be_looked_at_are_told(layer, said):
    with pytest.raises(ConvatlasError, match=said):
        receptive_field(convatlas.create_model("lenet5"), layer, count=1)


def test_pictures_can_be_read():
    torch.manual_seed(0)
    model, gray = convatlas.create_model("resnet20_cifar"), convatlas.create_model("lenet5")
    fields = [receptive_field(model, count=2), receptive_field(model, "stages.0", torch.rand(2, 3, 32, 48)),
              receptive_field(gray, "stages.1")]
    for shown in (fields, fields[:1]):
        figure = draw(shown)
        assert_readable(figure)
    assert "image 32×48" in words(draw(fields)) and "can see 14×14" in words(draw(fields))


def test_the_command(tmp_path, capsys):
    command(["lenet5"], layer="stages.1", data="digits", images=3, out=tmp_path / "field.png", json=True)
    (told,) = json.loads(capsys.readouterr().out)
    assert told["theoretical"][0] == {"first": 10, "last": 23, "size": 14} and told["effective"]["0.9"] <= 14
    assert (tmp_path / "field.png").stat().st_size > 5000
