"""The sheet of augmented images: its words, its pictures, where they stand."""

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas import ConvatlasError
from convatlas.data import Tensors, UnreadableImage, fitted, make_transform
from convatlas.draw.canvas import save
from convatlas.inspect.sheet import chosen, in_words, sheet, viewable
from convatlas.run import Augment, Preprocess


def pictures(n=12, channels=3, classes=3):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(40, 216, (n, channels, 8, 8), generator=generator, dtype=torch.uint8)
    return Tensors(pixels, torch.arange(n) % classes)


def made(images, preprocess, augment=None, size=8):
    found = fitted.fit(preprocess, augment or Augment(), images, fitted.unnormalized(preprocess, size, 3))
    return make_transform(preprocess, size, 3, augment, fitted=found)


def drawn(figure):
    axes, = figure.axes
    return [image.get_array() for image in axes.get_images()], [text.get_text() for text in axes.texts]


@pytest.mark.parametrize(("augment", "words"), [
    (Augment(), ["no augmentation"]),
    (Augment(crop="random", padding=4, padding_mode="reflect", flip=0.5),
     ["random crops with 4 reflected pixels around", "mirrored: 50 %"]),
    (Augment(crop="random", short_side=(256, 480)), ["short side 256 to 480", "random crops"]),
    (Augment(crop="resized"), ["random crops of 8 to 100 % of the area, aspect 0.75 to 1.33"]),
    (Augment(affine=(10, 0.1, 0, 5)), ["rotation ±10°", "shift ±10 %", "shear ±5°"]),
    (Augment(elastic=10, jitter=(0.4, 0.4, 0, 0.1)),
     ["elastic deformation of 10 pixels", "brightness ±40 %", "contrast ±40 %", "hue ±36°"]),
    (Augment(pca_colour=0.1, pca_from="data"), ["colour noise along the data's principal components, σ = 0.1"]),
    (Augment(policy="randaugment"), ["RandAugment: 2 operations at strength 9 of 30"]),
    (Augment(policy="randaugment_inc", erase=0.25, erase_fill="noise"),
     ["RandAugment, increasing: 2 operations at strength 9 ± 0.5 of 10, each in 50 %",
      "a rectangle erased to noise: 25 %"]),
    (Augment(erase=0.25, mixup=0.8, cutmix=1, mix_prob=0.5),
     ["a rectangle erased: 25 %", "Mixup, α = 0.8", "CutMix, α = 1", "50 % of the batches mixed"]),
])
def test_what_is_on_in_words(augment, words):
    said = in_words(augment, Preprocess())
    assert said == words
    assert in_words(augment, Preprocess(fit="gcn")) == [*said, "global contrast normalisation"]


def test_every_augmentation_has_words():
    """Whatever is switched on changes what is said: a field that is forgotten here fails."""
    on = {"crop": "random", "short_side": (8, 9), "flip": 1.0, "affine": (1, 1, 0.5, 1), "elastic": 1.0,
          "jitter": (1, 1, 1, 0.5), "pca_colour": 0.1, "policy": "trivial", "erase": 1.0, "mixup": 1.0,
          "cutmix": 1.0, "turns": True}
    means_of = {"scale", "ratio", "padding", "padding_mode", "elastic_grid", "pca_from", "policy_ops",
                "policy_magnitude", "policy_std", "policy_prob", "erase_fill", "mix_prob"}
    assert on.keys() | means_of == Augment.model_fields.keys()
    for name, value in on.items():
        assert in_words(Augment(**{name: value}), Preprocess()) != ["no augmentation"], name


@pytest.mark.parametrize("preprocess", [
    Preprocess(crop_pct=1), Preprocess(crop_pct=1, mean=(0.2,), std=(3.0,)), Preprocess(crop_pct=1, fit="channel"),
    Preprocess(crop_pct=1, fit="pixel_mean", std=(1 / 255,)),
])
def test_normalisation_is_undone_to_the_byte(preprocess):
    images = pictures()
    seen = viewable(made(images, preprocess)(images.read(4)), made(images, preprocess))
    np.testing.assert_array_equal(seen, images.read(4).permute(1, 2, 0).numpy())


@pytest.mark.parametrize("kind", ["gcn", "zca"])
def test_contrast_normalised_pictures_fill_the_range_around_grey(kind):
    images = pictures()
    transform = made(images, Preprocess(crop_pct=1, fit=kind))
    values = transform(images.read(4))
    seen = viewable(values, transform).astype(float)
    assert seen.min() < 30 and seen.max() > 225 and seen.shape == (8, 8, 3)
    inside = (seen > 0) & (seen < 255)
    assert np.corrcoef(values.permute(1, 2, 0).numpy()[inside], seen[inside])[0, 1] > 0.999
    assert (viewable(torch.zeros(3, 8, 8), transform) == 128).all()


def test_pictures_are_of_one_class_each_then_again():
    images = pictures(12, classes=3)
    order = [int(images.labels[index]) for index, _ in chosen(images, seed=5)]
    assert all(sorted(order[i : i + 3]) == [0, 1, 2] for i in range(0, 12, 3))
    picked = [index for index, _ in chosen(images, 5)]
    assert sorted(picked) == list(range(12)) and picked == [index for index, _ in chosen(images, 5)]
    assert picked != [index for index, _ in chosen(images, 6)]


def test_a_row_holds_the_original_and_what_the_loader_would_give_the_network():
    images = pictures()
    transform = made(images, Preprocess(crop_pct=1), Augment(flip=0.5))
    found, texts = drawn(sheet(images, ["a", "b", "c"], transform, "title", ["mirrored"], rows=3))
    assert len(found) == 3 * 9
    assert texts[:4] == ["title", "mirrored", "original", "what the network trains on, 8×8"]
    for row, (index, pixels) in enumerate(pair for pair, _ in zip(chosen(images, 0), range(3), strict=False)):
        original = pixels.permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(found[9 * row], original)
        versions = [np.asarray(version) for version in found[9 * row + 1 : 9 * row + 9]]
        mirrored = [not np.array_equal(version, original) for version in versions]
        assert all(np.array_equal(version, original[:, ::-1])
                   for version, turned in zip(versions, mirrored, strict=True) if turned)
        assert texts[4 + row] == "abc"[int(images.labels[index])]
    assert sum(not np.array_equal(found[9 * row + k], found[9 * row]) for row in range(3)
               for k in range(1, 9)) in range(4, 21)


def test_without_chance_there_is_one_version():
    images = pictures()
    found, _ = drawn(sheet(images, "abc", made(images, Preprocess()), "title", [], rows=2))
    assert len(found) == 4


def test_mixed_pictures_have_a_column_and_their_shares():
    images = pictures()
    transform = made(images, Preprocess(crop_pct=1), Augment(mixup=1.0, mix_prob=0.01))
    found, texts = drawn(sheet(images, ["a", "b", "c"], transform, "title", [], rows=3))
    assert len(found) == 3 * 3 and "mixed" in texts
    shares = [text for text in texts if "%" in text]
    assert len(shares) == 3
    first = [np.asarray(found[3 * row + 1]).astype(float) for row in range(3)]
    for row in range(3):
        own = texts[texts.index(shares[row]) - 1]
        parts = {line[-1]: float(line.split()[0]) / 100 for line in shares[row].split("\n")}
        expected = parts.get(own, 0) * first[row] + (1 - parts.get(own, 0)) * first[row - 1]
        assert np.abs(found[3 * row + 2] - expected).max() < 2.5         # the share is told in whole percent


class Broken(Tensors):
    def read(self, index):
        if index != 7:
            raise UnreadableImage(f"cannot read {index}")
        return super().read(index)


def test_unreadable_pictures_are_passed_over():
    images = pictures()
    broken = Broken(images.images, images.labels)
    transform = made(images, Preprocess(crop_pct=1))
    assert len(drawn(sheet(broken, "abc", transform, "title", [], rows=4))[0]) == 2
    with pytest.raises(ConvatlasError, match="none of the 5 training images can be read"):
        sheet(Broken(images.images[:5], images.labels[:5]), "abc", transform, "title", [])


def test_files_are_written_and_the_same_again(tmp_path):
    images = pictures()
    transform = made(images, Preprocess(crop_pct=1), Augment(flip=0.5))

    def draw(name):
        save(sheet(images, ["$a_", "ü", "犬"], transform, "x$y$", ["z"], rows=3), tmp_path / name)
        return (tmp_path / name).read_bytes()

    assert draw("a.svg") == draw("b.SVG") and draw("a.png") == draw("b.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] > 1500
    assert b"<svg" in draw("a.svg") and "$a_" in draw("a.svg").decode()
    with pytest.raises(ConvatlasError, match=r"written as \.png or \.svg"):
        draw("a.gif")
    with pytest.raises(ConvatlasError, match="cannot write"):
        draw("nowhere/a.png")
