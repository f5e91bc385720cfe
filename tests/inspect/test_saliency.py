"""Saliency: captum's maps beside autograd by hand, and how the picture tells them."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn import assert_readable, words
from PIL import Image

from convatlas import ConvatlasError, create_model, transforms
from convatlas.cli.inspections.saliency import saliency as command
from convatlas.inspect.saliency import draw, saliency


@pytest.fixture
def captum():
    return pytest.importorskip("captum")


@pytest.fixture
def model():
    model = create_model("resnet20_cifar", n=1, num_classes=4)
    model(torch.randn(32, 3, 32, 32))       # running statistics worth the name
    model.card = replace(model.card, classes=("cat", "dog", "ship", "car"))
    return model.eval()


X = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(3))


def test_the_gradient_is_the_score_s_own(captum, model):
    x = X[None].clone().requires_grad_()
    scores = model(x)
    shares = scores.softmax(1)[0].tolist()
    gradient, = torch.autograd.grad(scores[0, 2], x)
    found = saliency(model, X, "ship")
    torch.testing.assert_close(found.gradient, gradient[0].abs().amax(0))
    assert found.target == "ship" and found.predicted == model.card.classes[int(scores.argmax())]
    assert found.probability == pytest.approx(shares[2]) and found.certainty == pytest.approx(max(shares))


def test_integrated_gradients_are_a_fine_sum_and_complete(captum, model):
    found = saliency(model, X, 1)
    total = torch.zeros_like(X)
    steps = 500
    for shares in (torch.arange(steps) + 0.5).div(steps).split(100):         # the midpoint rule
        along = (shares.view(-1, 1, 1, 1) * X).requires_grad_()
        total += torch.autograd.grad(model(along)[:, 1].sum(), along)[0].sum(0) / steps
    torch.testing.assert_close(found.integrated, (total * X).sum(0),
                               atol=0.02 * (total * X).sum(0).abs().max().item(), rtol=0)
    with torch.no_grad():
        difference = (model(X[None]) - model(torch.zeros(1, 3, 32, 32)))[0, 1].item()
    assert found.integrated.sum().item() == pytest.approx(difference, abs=0.01 * max(1, abs(difference)))


@pytest.mark.parametrize("stage", [1, 2])
def test_grad_cam_by_hand(captum, model, stage):
    maps = model.stem(X[None])
    for before in model.stages[:stage]:
        maps = before(maps)
    maps = model.stages[stage](maps).detach().requires_grad_()
    y = maps
    for after in model.stages[stage + 1:]:
        y = after(y)
    gradient, = torch.autograd.grad(model.forward_head(y)[0, 3], maps)
    cam = torch.relu((gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True))
    expected = torch.nn.functional.interpolate(cam, (32, 32), mode="bilinear")[0, 0].detach()
    found = saliency(model, X, "car", f"stages.{stage}")
    torch.testing.assert_close(found.grad_cam, expected)
    assert stage == 1 or saliency(model, X, "car").layer == "stages.2"


def test_the_last_stage_with_more_than_one_pixel(captum):
    assert saliency(create_model("lenet5").eval(), torch.randn(1, 32, 32)).layer == "stages.1"


def test_unknown_classes_and_layers(captum, model):
    with pytest.raises(ConvatlasError, match=r"no class 'shop'; did you mean 'ship'"):
        saliency(model, X, "shop")
    with pytest.raises(ConvatlasError, match=r"no class '4'; there are 4: cat, dog, ship, car"):
        saliency(model, X, 4)
    with pytest.raises(ConvatlasError, match=r"did you mean 'stages.2'"):
        saliency(model, X, layer="stage.2")
    with pytest.raises(ConvatlasError, match=r"more than one pixel, which 'head.classifier' of resnet20_cifar "
                       r"does not give"):
        saliency(model, X, layer="head.classifier")


def test_without_captum_it_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(ConvatlasError, match=r"uv pip install -e '.\[saliency\]'"):
        saliency(model, X)


def test_the_picture_names_class_probability_and_what_is_asked(captum, model):
    found = saliency(model, X)
    figure = draw(found, np.zeros((32, 32, 3), np.uint8), "resnet20_cifar",
                  "a-photograph-with-a-very-long-name-from-a-camera.jpg")
    assert_readable(figure)
    assert words(figure)[0] == f"Why resnet20_cifar says {found.predicted}" and len(figure.axes[0].get_images()) == 4
    assert any(f"{found.predicted} ({100 * found.certainty:.1f} %)" in text for text in words(figure))
    other = next(name for name in model.card.classes if name != found.predicted)
    asked = draw(saliency(model, X, other), np.zeros((32, 32), np.uint8), "resnet20_cifar", "a.jpg")
    assert words(asked)[0].startswith(f"What speaks for {other} (")


def test_orange_is_for_and_blue_against(captum, model):
    found = saliency(model, X)
    figure = draw(found, np.full((32, 32), 200, np.uint8), "resnet20_cifar", "a.jpg")
    pixels = np.asarray(figure.axes[0].get_images()[2].get_array()).astype(int)
    strongest = found.integrated.abs() > 0.3 * found.integrated.abs().max()
    redder = torch.from_numpy(pixels[..., 0] > pixels[..., 2])
    assert torch.equal(redder[strongest], (found.integrated > 0)[strongest])


def test_the_command(captum, tmp_path, capsys):
    Image.new("RGB", (50, 40), (200, 30, 30)).save(tmp_path / "red.png")
    command("lenet5", tmp_path / "red.png", name="3", layer=None, device="cpu", out=tmp_path / "why.png")
    assert capsys.readouterr().out.startswith("3: ")
    command("lenet5", tmp_path / "red.png", name="3", layer=None, device="cpu", out=tmp_path / "why.png", json=True)
    assert json.loads(capsys.readouterr().out)["class"] == "3"
    with Image.open(tmp_path / "why.png") as made:
        assert made.size[0] > 1000


def test_transforms_feed_it(captum):
    model = create_model("lenet5").eval()
    found = saliency(model, transforms(model)(torch.zeros(1, 20, 30, dtype=torch.uint8)))
    assert found.gradient.shape == found.integrated.shape == found.grad_cam.shape == (32, 32)
