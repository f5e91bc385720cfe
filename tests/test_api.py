"""The public functions, as a Python user calls them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas
from convatlas import ConvatlasError, recipe
from convatlas.engine.threads import SMALL, threads_for
from convatlas.net.card import Provenance
from convatlas.run import resolve


@pytest.fixture(scope="module")
def halves(tmp_path_factory) -> Path:
    """Pictures that are light on the left or on the right, 20 of each."""
    folder = tmp_path_factory.mktemp("data") / "halves"
    dice = np.random.default_rng(0)
    for name, side in (("left", slice(0, 8)), ("right", slice(8, 16))):
        (folder / name).mkdir(parents=True)
        for i in range(20):
            picture = dice.integers(0, 60, (16, 16), dtype=np.uint8)
            picture[:, side] += 150
            Image.fromarray(picture).save(folder / name / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def trained(halves, tmp_path_factory) -> convatlas.Trained:
    run = resolve(recipe("zipcode"), sets=["model.name=lecun1989_net5", f"data.source={halves}", "data.batch_size=4",
                                           "train.epochs=6"])
    return convatlas.train(run, out=str(tmp_path_factory.mktemp("runs") / "run"))


def test_train_returns_what_happened(trained):
    assert trained.outcome.epochs == 6 and not trained.outcome.interrupted
    assert trained.evaluation is not None and trained.evaluation.top1 == 1.0 and trained.evaluation.count == 8
    assert trained.report == trained.folder / "report.html"


def test_evaluating_on_the_trained_folder_uses_its_held_out_images(trained, halves):
    found = convatlas.evaluate(str(trained.folder), halves)
    assert found.evaluation.count == 8 and found.classes == ("left", "right")
    assert convatlas.evaluate(trained.folder, str(halves), split="train").evaluation.count == 32
    assert convatlas.evaluate(trained.folder, str(halves), split="all").evaluation.count == 40
    model = convatlas.load(trained.folder)
    assert convatlas.evaluate(model, str(halves)).evaluation.count == 8
    model.card = replace(model.card, provenance=Provenance())       # nothing is known of where it comes from
    assert convatlas.evaluate(model, str(halves)).evaluation.count == 40


def test_classes_are_matched_by_name(trained, halves, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "right").symlink_to(halves / "right")
    found = convatlas.evaluate(trained.folder, str(tmp_path / "other"))
    assert found.evaluation.top1 == 1.0 and set(found.evaluation.labels.tolist()) == {1}


def test_predict_takes_paths_pictures_and_tensors(trained, halves):
    path = halves / "right" / "03.png"
    picture = Image.open(path)
    tensor = torch.from_numpy(np.array(picture))[None]
    by_path, by_picture, by_tensor = convatlas.predict(trained.folder, [path, picture, tensor])
    assert by_path.classes[0] == "right" and by_path.error is None and len(by_path.classes) == 2
    assert by_path.probabilities == by_picture.probabilities == by_tensor.probabilities
    for alone in (path, str(path), picture, tensor):
        assert [found.probabilities for found in convatlas.predict(trained.folder, alone)] == [by_path.probabilities]
    assert sum(by_path.probabilities) == pytest.approx(1) and by_path.probabilities[0] > 0.5
    with pytest.raises(ConvatlasError, match="top_k = 0"):
        convatlas.predict(trained.folder, [path], top_k=0)


def test_transforms_are_those_of_the_weights(trained, halves):
    model = convatlas.load(trained.folder)
    x = convatlas.transforms(model)(Image.open(halves / "left" / "00.png"))
    # zipcode: paper −1
    assert x.shape == (1, 16, 16) and x.dtype == torch.float32 and -1 <= x.min() < -0.5 and x.max() <= 1
    fresh = convatlas.create_model("lenet5")
    black = convatlas.transforms(fresh)(torch.zeros(1, 28, 28, dtype=torch.uint8))
    white = convatlas.transforms(fresh)(torch.full((1, 28, 28), 255, dtype=torch.uint8))
    assert black.min().item() == pytest.approx(-0.1) and white.max().item() == pytest.approx(1.175)
    assert white[0, :2].max().item() == pytest.approx(-0.1)        # 28×28 in the middle of 32×32


def test_training_begins_from_weights(trained, halves, tmp_path):
    run = resolve(recipe("zipcode"), sets=["model.name=lecun1989_net5", f"model.weights={trained.folder}",
                                           f"data.source={halves}", "optim.lr=1e-9", "data.batch_size=40",
                                           "train.epochs=1"])
    again = convatlas.train(run, out=tmp_path / "run")
    assert again.evaluation is not None and again.evaluation.top1 == 1.0


@pytest.mark.parametrize(("macs", "inside"), [(SMALL - 1, 1), (SMALL, None)])
def test_small_steps_use_one_thread(macs, inside):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads_for(macs, torch.device("cpu")):
            assert torch.get_num_threads() == (inside or 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
