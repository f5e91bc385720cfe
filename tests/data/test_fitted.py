"""Preprocessing measured on the training images, against explicit sums and scikit-learn."""

import numpy as np
import pytest
import torch

from convatlas import ConvatlasError
from convatlas.data import Tensors, UnreadableImage, fitted, normalization
from convatlas.run import Augment, Preprocess

COLORS = Augment(pca_colour=0.1, pca_from="data")


def pictures(count=40, shape=(3, 6, 5), seed=0):
    """Smooth random pictures with a different level in each channel, so that pixels and channels are correlated."""
    dice = np.random.default_rng(seed)
    rough = dice.normal(size=(count, *shape)).cumsum(-1).cumsum(-2) * 12 + dice.normal(size=(count, 1, 1, 1)) * 20
    levels = np.linspace(90, 160, shape[0]).reshape(1, -1, 1, 1)
    return torch.from_numpy((rough + levels).clip(0, 255).astype(np.uint8))


def image_set(pixels):
    return Tensors(pixels, torch.zeros(len(pixels), dtype=torch.int64))


def unit(picture):
    return picture.float() / 255


def fit(kind, pixels, augment=None, transform=unit, **more):
    return fitted.fit(Preprocess(fit=kind), augment or Augment(), image_set(pixels), transform, **more)


def covariance(rows):
    """Of vectors (n, D), by loops."""
    n, size = rows.shape
    mean = [sum(rows[:, i]) / n for i in range(size)]
    return np.array([[sum((a - mean[i]) * (b - mean[j]) for a, b in zip(rows[:, i], rows[:, j], strict=True)) / n
                      for j in range(size)] for i in range(size)])


def contrast(picture):
    """A picture as a flat list, to mean 0 and deviation 1, by loops."""
    values = [float(value) / 255 for value in picture.flatten()]
    mean = sum(values) / len(values)
    deviation = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
    return [(value - mean) / (deviation if deviation >= 1e-8 else 1) for value in values]


def test_mean_and_deviation_of_each_channel():
    pixels = pictures()
    found = fit("channel", pixels)
    for channel in range(3):
        values = [float(value) / 255 for picture in pixels for value in picture[channel].flatten()]
        mean = sum(values) / len(values)
        assert float(found["mean"][channel]) == pytest.approx(mean, rel=1e-6)
        assert (float(found["std"][channel])
                == pytest.approx((sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5, rel=1e-6))
    done = normalization.apply("channel", pixels.float() / 255, found)
    assert torch.allclose(done.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(done.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5)


def test_a_constant_channel_is_not_divided_by_nothing():
    found = fit("channel", torch.full((3, 1, 4, 4), 51, dtype=torch.uint8))
    assert found["mean"].tolist() == pytest.approx([0.2]) and found["std"].tolist() == [1]


def test_the_mean_picture():
    pixels = pictures()
    found = fit("pixel_mean", pixels)["mean"]
    assert found.shape == (3, 6, 5) and found.dtype == torch.float32
    assert float(found[2, 4, 1]) == pytest.approx(sum(float(p[2, 4, 1]) / 255 for p in pixels) / len(pixels), rel=1e-6)
    # as AlexNet's: 0 … 255 less the mean
    raw = normalization.apply("pixel_mean", pixels[7].float() / 255, {"mean": found}, std=(1 / 255,))
    assert torch.allclose(raw, pixels[7].float() - found * 255, atol=1e-3)
    assert torch.equal(normalization.apply("pixel_mean", pixels[7].float() / 255, {"mean": found}),
                       pixels[7].float() / 255 - found)


def test_contrast_normalisation():
    pixels = pictures()
    done = normalization.apply("gcn", pixels.float() / 255, fit("gcn", pixels))
    for i in (0, 11):
        np.testing.assert_allclose(done[i].flatten().numpy(), contrast(pixels[i]), atol=1e-6)
    assert not fit("gcn", pixels)       # nothing is measured


@pytest.mark.parametrize("level", [0, 1, 77, 255])
def test_a_picture_of_one_colour_becomes_zero(level):
    assert not normalization.apply("gcn", torch.full((3, 32, 32), level) / 255, {}).any()


def test_contrast_normalisation_is_pylearn2s_up_to_the_scale_of_its_55():
    """Theirs: x less its mean, divided by its length / 55, on CIFAR's 0 … 255."""
    picture = pictures(1, (3, 32, 32))[0]
    x = picture.numpy().astype(np.float64).ravel()
    x -= x.mean()
    ours = normalization.apply("gcn", picture.float() / 255, {}).numpy().ravel()
    np.testing.assert_allclose(x / (np.linalg.norm(x) / 55), ours * 55 / 3072**0.5, atol=1e-5)


def test_whitening_against_loops():
    pixels = pictures(30, (1, 3, 3))
    found = fit("zca", pixels)
    rows = np.array([contrast(picture) for picture in pixels])
    variances, directions = np.linalg.eigh(covariance(rows))
    expected = sum(np.outer(u, u) / (s + 0.1) ** 0.5 for s, u in zip(variances, directions.T, strict=True))
    np.testing.assert_allclose(found["whitening"].numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(found["mean"].numpy(), rows.mean(0), atol=1e-6)
    done = normalization.apply("zca", pixels[4].float() / 255, found)
    np.testing.assert_allclose(done.numpy().ravel(), expected @ (rows[4] - rows.mean(0)), atol=1e-5)


def test_whitened_training_images_have_unit_covariance_but_for_epsilon():
    pixels = torch.randint(0, 256, (6000, 1, 3, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    done = normalization.apply("zca", pixels.float() / 255, fit("zca", pixels)).flatten(1).double()
    spectrum = torch.linalg.eigvalsh(done.T @ done / len(done))
    # S / (S + 0.1): near 1, but for the direction that contrast normalisation took away, the mean
    assert abs(spectrum[0]) < 1e-9 and spectrum[1] > 0.88 and spectrum[-1] < 1


def test_whitening_is_scikit_learns_components_scaled_and_turned_back():
    pixels = pictures(200, (1, 3, 3))
    rows = np.array([contrast(picture) for picture in pixels])
    from sklearn.decomposition import PCA  # a second that both workers would spend on collecting

    pca = PCA().fit(rows)
    variances = pca.explained_variance_ * 199 / 200         # scikit-learn divides by n − 1
    expected = pca.transform(rows) / (variances + 0.1) ** 0.5 @ pca.components_
    np.testing.assert_allclose(normalization.apply("zca", pixels.float() / 255, fit("zca", pixels)).flatten(1).numpy(),
                               expected, atol=1e-5)


def test_components_of_colour():
    pixels = pictures()
    found = fit("none", pixels, COLORS)
    rows = pixels.movedim(1, -1).reshape(-1, 3).double().numpy() / 255
    np.testing.assert_allclose(covariance(rows), found["pca_vectors"].double().numpy() @ np.diag(found["pca_values"])
                               @ found["pca_vectors"].double().numpy().T, atol=1e-6)
    assert found["pca_values"].tolist() == sorted(found["pca_values"].tolist(), reverse=True)
    from sklearn.decomposition import PCA

    pca = PCA().fit(rows)
    np.testing.assert_allclose(found["pca_values"].numpy() * len(rows) / (len(rows) - 1),
                               pca.explained_variance_, rtol=1e-4)
    np.testing.assert_allclose(np.abs(found["pca_vectors"].numpy().T @ pca.components_.T), np.eye(3), atol=1e-4)


@pytest.mark.parametrize("kind", ["channel", "pixel_mean", "gcn", "zca"])
def test_alone_and_in_a_batch_are_bitwise_equal(kind):
    pixels = pictures(37, (3, 8, 8))
    found = fit(kind, pixels)
    batch = normalization.apply(kind, pixels.float() / 255, found)
    assert batch.dtype == torch.float32 and batch.shape == pixels.shape
    for i in range(len(pixels)):
        assert torch.equal(normalization.apply(kind, pixels[i].float() / 255, found), batch[i])
    again = fit(kind, pixels)
    assert all(torch.equal(found[name], again[name]) and found[name].dtype == torch.float32 for name in found | again)


def test_more_than_one_chunk_is_one_measurement(monkeypatch):
    pixels = pictures(50)
    whole = fit("channel", pixels, COLORS)
    monkeypatch.setattr(fitted, "CHUNK", 7)
    parts = fit("channel", pixels, COLORS)
    assert all(torch.allclose(whole[name], parts[name], rtol=1e-5, atol=1e-7) for name in whole)
    assert set(whole) == {"mean", "std", "pca_values", "pca_vectors"}


def test_whitening_looks_at_evenly_spaced_pictures(monkeypatch):
    monkeypatch.setattr(fitted, "ZCA_PICTURES", 4)
    seen = []

    def transform(picture):
        seen.append(int(picture[0, 0, 0]))
        return picture / 255

    fit("zca", torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).repeat(1, 1, 2, 2), transform=transform)
    assert seen == [0, 3, 5, 8]


class Broken(Tensors):
    def read(self, index):
        if index % 2:
            raise UnreadableImage(f"cannot read {index}")
        return super().read(index)


def test_unreadable_pictures_are_left_out():
    pixels = pictures(10)
    broken = Broken(pixels, torch.zeros(10, dtype=torch.int64))
    found = fitted.fit(Preprocess(fit="pixel_mean"), Augment(), broken, unit)
    assert torch.equal(found["mean"], fit("pixel_mean", pixels[::2])["mean"])
    with pytest.raises(ConvatlasError, match="none of 2 training images can be read"):
        fitted.fit(Preprocess(fit="channel"), Augment(),
                   Broken(pixels[:2], torch.zeros(2, dtype=torch.int64)), too_long)


def too_long(picture):
    raise UnreadableImage("too long to be resized")


def test_a_long_measurement_tells_how_far_it_is(monkeypatch):
    monkeypatch.setattr(fitted, "TELL_EVERY", -1.0)
    told = []
    fit("channel", pictures(3), tell=told.append)
    assert told[-1] == "Measuring the training images for the preprocessing: 2 of 3."


def test_what_does_not_suit_is_told():
    with pytest.raises(ConvatlasError, match=r"3×65×64: whitening is a matrix of 12480², 623,001,600 bytes"):
        fit("zca", torch.zeros(1, 3, 65, 64, dtype=torch.uint8))
    with pytest.raises(ConvatlasError, match="red, green and blue, not 1 channels"):
        fit("none", pictures(2, (1, 4, 4)), COLORS)
    with pytest.raises(ConvatlasError, match="'mean', which is measured on the training images"):
        normalization.apply("zca", torch.zeros(1, 2, 2), {})
    for kind in ("pixel_mean", "zca", "channel"):
        with pytest.raises(ConvatlasError, match="measured on another input"):
            normalization.apply(kind, torch.zeros(1, 7, 7), fit(kind, pictures(2, (3, 4, 4))))
