"""`convatlas data check`, on files that the tests make."""

import io
import json
import os
import re
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas.data import open_data
from convatlas.data.embedded import read_digits
from convatlas.data.manifest import record_of
from convatlas.errors import ConvatlasError
from convatlas.inspect.check import check, duplicates, write_page
from convatlas.inspect.check.label_errors import Link
from convatlas.inspect.check.opened import open_all
from convatlas.run import Data, Model, Run
from convatlas.runs.folder import write_config
from convatlas.runs.manifest import write


def scene(seed: int, side: int = 48) -> Image.Image:
    dice = np.random.default_rng(seed)
    layers = [np.asarray(Image.fromarray(dice.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC), np.float32) for n in (3, 6, 12)]
    return Image.fromarray(np.clip(0.7 * (layers[0] - 128) + 0.5 * (layers[1] - 128) + 0.4 * (layers[2] - 128) + 128,
                                   0, 255).astype(np.uint8))


@pytest.fixture
def photos(tmp_path):
    """train/ and val/ of two classes, ten scenes each."""
    for number, part in enumerate(("train", "val")):
        for place, label in enumerate(("cat", "dog")):
            (tmp_path / "photos" / part / label).mkdir(parents=True)
            for i in range(10):
                scene(100 * number + 10 * place + i).save(tmp_path / "photos" / part / label / f"{i}.png")
    return tmp_path / "photos"


def names(found, twins):
    return {"/".join(found.name(i).rsplit("/", 3)[1:]) for i in twins.members}


def test_a_folder_of_distinct_pictures_has_no_findings(photos):
    found = check(Data(source=str(photos)))
    assert found.findings() == [] and found.parts == {"train": 20, "val": 20}
    assert found.per_class() == [("cat", {"train": 10, "val": 10}), ("dog", {"train": 10, "val": 10})]


def test_the_same_picture_in_two_parts_two_classes_and_twice(photos):
    Image.open(photos / "train/cat/1.png").save(photos / "val/cat/leak.bmp")          # the same pixels, other bytes
    file = io.BytesIO()
    Image.open(photos / "train/dog/2.png").save(file, "JPEG", quality=85)
    (photos / "val/dog/near.jpg").write_bytes(file.getvalue())
    Image.open(photos / "val/cat/3.png").save(photos / "val/dog/both.png")
    Image.open(photos / "train/dog/4.png").resize((44, 44)).save(photos / "train/dog/again.png")
    found = check(Data(source=str(photos)))
    assert {kind: count for kind, count, _ in found.findings() if kind != "odd"} == {
        "exact_leaks": 1, "near_leaks": 1, "exact_conflicts": 1, "near_duplicates": 1}
    assert [(each.across, names(found, each)) for each in found.exact] == [
        ("parts", {"train/cat/1.png", "val/cat/leak.bmp"}), ("classes", {"val/cat/3.png", "val/dog/both.png"})]
    assert [(each.across, names(found, each)) for each in found.near] == [
        ("parts", {"train/dog/2.png", "val/dog/near.jpg"}), ("within", {"train/dog/4.png", "train/dog/again.png"})]


@pytest.mark.parametrize("change", [lambda x: x.crop((1, 1, 95, 95)), lambda x: x.resize((86, 86)),
                                    lambda x: x.point(lambda v: min(255, round(1.05 * v)))])
def test_a_changed_picture_is_near_and_another_is_not(change):
    from torch.nn import functional as F

    def small(image):
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
        return F.interpolate(pixels, size=16, mode="area" if image.width > 95 else "bilinear", antialias=None
                             if image.width > 95 else True)

    a, b, other = (small(image) for image in (scene(0, 96), change(scene(0, 96)), scene(1, 96)))
    assert duplicates.distance(a, b)[0] < duplicates.MOST < 0.9 < duplicates.distance(a, other)[0]


def test_blank_pictures_are_told_and_are_no_near_duplicates(photos):
    for i in range(8):
        Image.new("RGB", (40 + i, 40), (250, 30 * i, 0)).save(photos / f"train/cat/blank{i}.png")
    found = check(Data(source=str(photos)))
    assert found.findings() == [("odd", 8, "image(s) are of one colour, or nearly")]


def test_odd_files_are_counted_and_unreadable_ones_have_reasons(photos, tmp_path):
    (photos / "train/cat/0.png").rename(photos / "train/cat/0.jpg")                     # a PNG
    name = "<b>bad.png" if sys.platform != "linux" else os.fsdecode(b"caf\xe9<b>bad.png")      # no UTF-8
    (photos / "train/dog" / name).write_bytes(b"no picture")
    Image.open(photos / "val/dog/1.png").convert("L").save(photos / "val/dog/1.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    scene(77).save(photos / "val/dog/turned.jpg", exif=turned)
    Image.fromarray(np.arange(48 * 48, dtype=np.uint16).reshape(48, 48) * 28).save(photos / "val/cat/deep.png")
    found = check(Data(source=str(photos)))
    told = {what: count for kind, count, what in found.findings()}
    assert told == {"image(s) cannot be read": 1, "file(s) named .jpg are PNG": 1, "modes of pixels side by side: "
                    "I;16, L, RGB": 3, "image(s) are turned by their EXIF orientation": 1,
                    "image(s) have 16 bits or more per channel": 1}
    text = write_page(found, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;bad.png" in text and "<b>bad" not in text and "no format that Pillow knows" in text
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)
    tree = json.loads(json.dumps(found.document()))
    assert tree["unreadable"][0]["name"].endswith("<b>bad.png") and tree["forms"]["PNG, RGB"] == 39


def test_wrong_labels_of_digits_are_found_and_right_ones_left_alone(tmp_path):
    train = read_digits().train
    images = torch.stack([train.read(i) for i in range(600)])[:, 0].numpy()
    labels = train.labels[:600].numpy().copy()
    wrong = np.arange(7, 600, 33)
    np.savez(tmp_path / "right.npz", x=images, y=labels)
    labels[wrong] = (labels[wrong] + 3) % 10
    np.savez(tmp_path / "wrong.npz", x=images, y=labels)
    found = check(Data(source=str(tmp_path / "wrong.npz")))
    listed = {int(re.search(r"\[(\d+)\]", found.name(each.index))[1]) for each in found.errors}
    hits = len(listed & {*wrong.tolist()})
    assert hits >= 0.9 * len(wrong) and hits >= 0.7 * len(listed)
    assert found.parts == {"all": 600}
    first = found.errors[0]
    assert first.probability > 0.9 and first.other == str((int(first.given) - 3) % 10)
    assert len(check(Data(source=str(tmp_path / "right.npz"))).errors) <= 1


def test_probabilities_are_fitted_with_the_share_of_wrong_labels():
    dice = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 3, (6000,), generator=dice)
    scores = torch.nn.functional.one_hot(truth, 3) + 0.15 * torch.randn(6000, 3, generator=dice)
    other = (truth + torch.randint(1, 3, (6000,), generator=dice)) % 3
    given = torch.where(torch.rand(6000, generator=dice) < 0.05, other, truth)
    link = Link.fitted(scores, given)
    wrong, other = link(scores, given)
    assert float(link.noise) == pytest.approx(0.05, abs=0.01)
    assert ((wrong > 0.5) == (given != truth)).float().mean() > 0.99
    assert torch.equal(other[(wrong > 0.5) & (given != truth)], truth[(wrong > 0.5) & (given != truth)])


def test_images_with_masks(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / "cells" / folder).mkdir(parents=True)
    for i in range(10):
        scene(i).save(tmp_path / f"cells/images/{i}.png")
        mask = np.zeros((48, 48), np.uint8)
        mask[: 4 * (i + 1)] = 255
        Image.fromarray(mask).save(tmp_path / f"cells/masks/{i}.png")
    scene(3).save(tmp_path / "cells/images/7.png")
    found = check(Data(source=str(tmp_path / "cells")))
    assert found.opened.kind == "masks" and found.findings() == [
        ("exact_duplicates", 1, "image(s) lie twice in one part, with the same pixels")]
    assert [counts["all"] for _, counts in found.per_class()] == [10 * 48 * 48 - 48 * 4 * 55, 48 * 4 * 55]
    assert "a mask" in found.probe and found.errors == ()
    assert "pixels" in write_page(found, tmp_path / "page.html").read_text(encoding="utf-8")


def test_what_training_refuses_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConvatlasError, match="neither class folders nor images"):
        check(Data(source=str(tmp_path / "empty")))


def test_a_trained_network_says_what_it_held_out_and_finds_what_it_was_trained_on(trained_on_stripes, tmp_path):
    run, data = trained_on_stripes
    own = check(Data(source=str(data)), run=run)
    assert own.parts == {"train": 18, "val": 6}
    other = tmp_path / "other"
    for label in ("across", "upright"):
        (other / label).mkdir(parents=True)
        scene(ord(label[0]), 24).convert("L").save(other / label / "new.png")
        scene(ord(label[1]), 24).convert("L").save(other / label / "newer.png")
    kept = next(part for part in own.opened.parts if part.name == "train").images.name(0)
    Image.open(kept).save(other / "across" / "seen.png")
    found = check(Data(source=str(other)), run=run)
    assert [(kind, count) for kind, count, _ in found.findings() if kind != "few"] == [("exact_leaks", 1)]
    assert found.parts == {"all": 5}


@pytest.fixture
def trained_on_stripes(tmp_path):
    """A run folder as training leaves it, with a network that has learned nothing."""
    from convatlas import create_model
    from convatlas.run import Model, Run
    from convatlas.runs.folder import WEIGHTS, write_config
    from convatlas.weights.checkpoints import save

    for number, label in enumerate(("across", "upright")):
        (tmp_path / "stripes" / label).mkdir(parents=True)
        for i in range(12):
            scene(50 * number + i, 24).convert("L").save(tmp_path / "stripes" / label / f"{i}.png")
    run = Run(model=Model(name="lenet5"), data=Data(source=str(tmp_path / "stripes"), val_fraction=0.25))
    (tmp_path / "run").mkdir()
    write_config(tmp_path / "run", run)
    save(create_model("lenet5", num_classes=2), tmp_path / "run" / WEIGHTS)
    return tmp_path / "run", tmp_path / "stripes"


def test_the_parts_are_those_that_the_run_remembers(tmp_path):
    """Also after images have been added."""
    data = tmp_path / "photos"
    for name, value in (("cat", 60), ("dog", 160)):
        (data / name).mkdir(parents=True)
        for i in range(10):
            picture = np.random.default_rng(i).integers(0, 80, (12, 12)) + value
            Image.fromarray(picture.astype(np.uint8)).save(data / name / f"{i}.png")
    (tmp_path / "run").mkdir()
    config = Data(source=str(data))
    write_config(tmp_path / "run", Run(model=Model(name="lenet1"), data=config))
    source = open_data(config, seed=0)
    record = record_of(source, config, 0)
    write(tmp_path / "run", record.manifest, record.entries)
    for i in range(6):
        shutil.copy(data / "dog/1.png", data / f"cat/0new{i}.png")
    train, val = open_all(config, 0, tmp_path / "run").parts
    held = {source.val.name(i) for i in range(len(source.val))}
    assert {val.images.name(i) for i in range(len(val.images))} == held and len(train.images) == 16
