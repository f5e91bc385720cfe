"""The sheet of predictions: its numbers beside the network run by hand, its bars, and what it says of classes it does
not know.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn import assert_readable, words
from PIL import Image

from convatlas import ConvatlasError, create_model, save, transforms
from convatlas.data import Tensors
from convatlas.draw.plots import COLORS
from convatlas.inspect.predictions import FULL, draw, predictions
from convatlas.run import Loss

CLASSES = ("cat", "dog", "ship", "car")


@pytest.fixture
def model():
    net = create_model("resnet20_cifar", n=1, num_classes=4)
    net(torch.randn(32, 3, 32, 32))
    net.card = replace(net.card, classes=CLASSES)
    return net.eval()


def images(n=24):
    pixels = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Tensors(pixels, torch.arange(n) % 4)


def by_hand(model, data):
    with torch.no_grad():
        return model(transforms(model)(data.images)).softmax(1)


def test_bars_are_the_networks_probabilities(model):
    data = images()
    shares = by_hand(model, data)
    found = predictions(model, data, transforms(model), classes=CLASSES, top=3, batch_size=5)
    assert len(found) == 24
    for i, guess in enumerate(found):
        best = shares[i].argsort(descending=True)
        truth = i % 4
        assert (guess.name == data.name(i) and guess.truth == CLASSES[truth]
                and torch.equal(guess.pixels, data.images[i]))
        assert (guess.classes == tuple(CLASSES[k] for k in best[:3])
                and guess.probabilities == pytest.approx(shares[i][best[:3]].tolist()))
        assert guess.truth_probability == pytest.approx(shares[i, truth].item())
        assert guess.truth_rank == best.tolist().index(truth) + 1 and guess.right == (best[0] == truth)


def test_a_seed_chooses_and_mistakes_can_be_asked_for(model):
    data = images()
    wrong = [i for i, share in enumerate(by_hand(model, data)) if share.argmax() != i % 4]
    chosen = [guess.name for guess in predictions(model, data, transforms(model), classes=CLASSES, count=5, seed=1)]
    assert len(set(chosen)) == 5
    assert chosen == [guess.name
                      for guess in predictions(model, data, transforms(model), classes=CLASSES, count=5, seed=1)]
    assert chosen != [guess.name
                      for guess in predictions(model, data, transforms(model), classes=CLASSES, count=5, seed=2)]
    mistakes = predictions(model, data, transforms(model), classes=CLASSES, wrong=True, batch_size=3)
    assert [guess.name for guess in mistakes] == [data.name(i) for i in wrong] and 0 < len(wrong) < 24
    some = predictions(model, data, transforms(model), classes=CLASSES, count=2, seed=3, wrong=True)
    assert len(some) == 2 and {guess.name for guess in some} <= {data.name(i) for i in wrong}


def test_the_loss_says_what_scores_mean(model):
    model.card = replace(model.card, loss=Loss(name="bce"))
    data = images(4)
    with torch.no_grad():
        shares = model(transforms(model)(data.images)).sigmoid()
    for i, guess in enumerate(predictions(model, data, transforms(model), top=1)):
        assert (guess.probabilities[0] == pytest.approx(shares[i].max().item()) and guess.truth is None
                and guess.right is None)


def test_a_class_that_the_network_does_not_know(model):
    found = predictions(model, images(4), transforms(model), classes=("cat", "dog", "ship", "wolf"))
    assert (found[3].truth, found[3].truth_rank, found[3].truth_probability,
            found[3].right) == ("wolf", None, None, False)
    assert "not a class of the network" in words(draw(found, "title"))


def test_what_cannot_be_shown_is_told(model):
    data = images(4)
    with pytest.raises(ConvatlasError, match="--wrong needs images whose classes are known"):
        predictions(model, data, transforms(model), wrong=True)
    right = [i for i, share in enumerate(by_hand(model, images())) if share.argmax() == i % 4][:1]
    only = Tensors(images().images[right], torch.tensor(right) % 4)
    with pytest.raises(ConvatlasError, match="none of the 1 images is classified wrongly"):
        predictions(model, only, transforms(model), classes=CLASSES, wrong=True)
    several = Tensors(data.images, torch.eye(4))
    with pytest.raises(ConvatlasError, match="several labels each"):
        predictions(model, several, transforms(model), classes=CLASSES)


@pytest.mark.parametrize(("count", "classes"), [(1, CLASSES), (5, CLASSES), (6, ())])
def test_the_sheet_can_be_read_and_marks_the_true_class(model, count, classes):
    found = predictions(model, images(), transforms(model), classes=classes, count=count, seed=0)
    figure = draw(found, "What a network with a name of some length says")
    assert_readable(figure)
    assert len(figure.axes) == 2 * count
    for guess, axes in zip(found, figure.axes[1::2], strict=True):
        bars = [(bar.get_width(), bar.get_facecolor()[:3]) for bar in axes.patches]
        assert [width for width, _ in bars] == pytest.approx([FULL * share for share in guess.probabilities])
        for rank, (name, (_, color)) in enumerate(zip(guess.classes, bars, strict=True)):
            wanted = "accent" if name == guess.truth else "wrong" if classes and not rank else "train"
            assert color == pytest.approx([int(COLORS[wanted][k : k + 2], 16) / 255 for k in (1, 3, 5)])


def test_the_command_matches_classes_by_name_and_reads_pictures_of_any_kind(model, tmp_path, capsys):
    from convatlas.cli import main

    dice, folder = np.random.default_rng(0), tmp_path / "pictures"
    for i, mode in enumerate(("RGB", "L", "RGBA", "P", "LA", "1")):
        path = folder / ("Cat", "wolf")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(dice.integers(0, 256, (20 + 9 * i, 60 - 5 * i, 3), dtype=np.uint8)).convert(mode).save(path)
    save(model, tmp_path / "net.safetensors")
    asked = ["inspect", "predictions", str(tmp_path / "net.safetensors"),
             "--out", str(tmp_path / "sheet.svg"), "--json"]
    assert main([*asked, "--data", str(folder)]) == 0
    told = capsys.readouterr()
    rows = json.loads(told.out)["images"]
    assert sorted(row["truth"] for row in rows) == ["cat"] * 3 + ["wolf"] * 3
    assert all((row["truth_rank"] is None) == (row["truth"] == "wolf") for row in rows)
    assert ("'Cat' is taken for the model's 'cat'" in told.err
            and "does not know 1 of the 2 classes of the data: 'wolf'" in told.err)
    assert "<svg" in (tmp_path / "sheet.svg").read_text()
    (folder / "broken.jpg").write_bytes(b"no picture")
    assert main([*asked, str(folder), str(folder / "Cat" / "0.png")]) == 0
    told = capsys.readouterr()
    assert len(json.loads(told.out)["images"]) == 7 and "broken.jpg" in told.err
    for words_, said in (([], "give either images, or --data"), ([str(folder / "none*.png")], "no file matches"),
                         (["--data", str(folder), str(folder)], "give either images, or --data")):
        assert main([*asked, *words_]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
