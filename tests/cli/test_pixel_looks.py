"""`convatlas inspect` on a network that scores pixels: answered for pixels, or refused with the right command."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas
from convatlas.cli.inspections.image import middle, seen
from convatlas.zoo import transforms


def network(**fields):
    torch.manual_seed(0)
    model = convatlas.create_model("unet_same", widths=(4, 8), image_size=32, in_chans=1, **fields).eval()
    model.card = replace(model.card, classes=("background", "cell"))
    return model


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "unet.safetensors"
    convatlas.save(network(), path)
    return path


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Five pictures of 40×40 pixels with masks, the last one larger."""
    folder, dice = tmp_path_factory.mktemp("data") / "pairs", np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for i in range(5):
        side = 48 if i == 4 else 40
        pixels = dice.integers(0, 256, (side, side), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        Image.fromarray((pixels > 128).astype(np.uint8) * 255).save(folder / "masks" / f"{i}.png")
    return folder


@pytest.mark.parametrize(("words", "said"), [
    (["gates", "NET", "PAIRS"], "have no class to draw gates of; look at it with `convatlas inspect activations"),
    (["predictions", "NET", "--data", "cells"], "look at it with `convatlas inspect segmentation`"),
    (["neighbours", "NET", "PAIRS/images/0.png", "--among", "cells"], "look at it with `convatlas inspect segment"),
])
def test_what_is_of_whole_images_is_refused_before_the_data_is_looked_for(inside, net, pairs, tmp_path, words, said):
    words = [word.replace("NET", str(net)).replace("PAIRS", str(pairs)) for word in words]
    done = inside("inspect", *words, cwd=tmp_path)
    assert done.returncode == 2 and said in " ".join(done.stderr.split()), done.stderr
    assert "unet_same gives scores for pixels" in done.stderr


@pytest.fixture
def one(pairs, tmp_path):
    """The larger one of the pairs."""
    for part in ("images", "masks"):
        (tmp_path / "one" / part).mkdir(parents=True)
        shutil.copy(pairs / part / "4.png", tmp_path / "one" / part)
    return tmp_path / "one"


def test_responses_are_to_the_images_of_pairs_at_their_own_size(inside, net, one, tmp_path):
    done = inside("inspect", "residuals", net, "--data", one, "--out", tmp_path / "r.png", "--json")
    found = json.loads(done.stdout)["networks"]["unet.safetensors"]
    image = Image.open(one / "images" / "4.png")
    model, stds = convatlas.load(net), {}
    model.get_submodule("stem.0.norm").register_forward_hook(lambda _, args, out: stds.update(first=out.std()))
    pixels = transforms(model).normalized(torch.from_numpy(np.asarray(image).copy())[None].float() / 255)
    with torch.inference_mode():
        model(pixels[None])
    assert found["stem.0.conv"] == pytest.approx(stds["first"].item(), rel=1e-3)


def test_a_receptive_field_averages_over_the_images_and_not_over_masks(inside, net, one, tmp_path):
    done = inside("inspect", "receptive-field", net, "--data", one, "--out", tmp_path / "f.png", "--json")
    assert json.loads(done.stdout)[0]["image"] == [48, 48]


def test_a_picture_is_seen_as_it_is_and_the_middle_of_a_large_one(tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 50), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    x, picture = seen(network(), tmp_path / "x.png")
    assert x.shape == (1, 256, 50) and np.array_equal(picture, pixels[22:278])
    assert "shown the middle 256×50 pixels of 300×50" in capsys.readouterr().err
    valid = convatlas.create_model("unet", widths=(2, 4, 8), image_size=44).eval()
    assert middle(valid, torch.zeros(1, 59, 46, dtype=torch.uint8)).shape == (1, 56, 44)
    with pytest.raises(convatlas.ConvatlasError, match="takes images with sides of 44, 48, 52"):
        middle(valid, torch.zeros(1, 43, 59, dtype=torch.uint8))


def test_saliency_is_of_the_mean_score_of_the_pixels_that_are_taken_for_the_class(inside, net, pairs, tmp_path):
    pytest.importorskip("captum")
    from convatlas.inspect.saliency import saliency

    model, x = network(), torch.randn(1, 16, 24, generator=torch.Generator().manual_seed(1)).requires_grad_()
    scores = model(x[None])[0]
    taken = scores.argmax(0) == 1
    gradient, = torch.autograd.grad(scores[1, taken].mean(), x)
    found = saliency(model, x.detach())
    assert found.target == "cell" and found.pixels == int(taken.sum()) > 0
    torch.testing.assert_close(found.gradient, gradient[0].abs())
    assert found.probability == pytest.approx(scores.softmax(0)[1, taken].mean().item(), rel=1e-4)
    model.head.classifier.bias.data[0] += 1000
    assert saliency(model, x.detach()).target == "background"
    with pytest.raises(convatlas.ConvatlasError, match="takes no pixel of the image for 'cell'"):
        saliency(model, x.detach(), "cell")
    done = inside("inspect", "saliency", net, pairs / "images" / "0.png", "--out", tmp_path / "s.png")
    assert done.returncode == 0 and "pixels taken for it" in done.stdout and (tmp_path / "s.png").is_file()
