"""From a picture to the network's input: sizes, padding, channels, normalisation, augmentation and its seeds."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas import ConvatlasError
from convatlas.data import Tensors, UnreadableImage, fitted, make_transform, normalization
from convatlas.data.transform import EIGENVALUES, EIGENVECTORS
from convatlas.run import Augment, Preprocess

PLAIN = Preprocess(mean=(0.0,), std=(1.0,), crop_pct=1.0)


def noise(c, h, w):
    return torch.randint(0, 256, (c, h, w), dtype=torch.uint8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(300, 400), (400, 301), (120, 150), (224, 224)])
def test_evaluation_equals_torchvisions_preset(shape, interpolation):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    picture = noise(3, *shape)
    preset = ImageClassification(crop_size=224, resize_size=256, interpolation=InterpolationMode(interpolation))
    theirs = preset(Image.fromarray(picture.permute(1, 2, 0).numpy().copy()))       # Pillow's resize, also on bytes
    ours = make_transform(Preprocess(interpolation=interpolation), 224, 3)(picture)
    assert (ours - theirs).abs().max() < 1.01 / 255 / 0.224, "one grey level at most"
    assert (ours - theirs).abs().mean() < 1e-3


def test_a_small_picture_is_resized_and_padded_with_black():
    picture = torch.full((1, 28, 28), 255, dtype=torch.uint8)
    out = make_transform(Preprocess(mean=(0.1,), std=(0.5,), crop_pct=32 / 28), 32, 1)(picture)
    assert out.shape == (1, 32, 32)
    assert torch.allclose(out[0, 2:30, 2:30], torch.tensor(1.8)) and torch.allclose(out[0, :2], torch.tensor(-0.2))
    assert torch.allclose(out[0, :, 30:], torch.tensor(-0.2))


def test_the_short_side_is_fitted_and_the_centre_is_kept():
    picture = torch.zeros(1, 10, 30, dtype=torch.uint8)
    picture[:, :, 10:20] = 255
    out = make_transform(PLAIN, 20, 1)(picture)
    assert out.shape == (1, 20, 20) and out.mean() > 0.97


@pytest.mark.parametrize("shape", [(40, 40), (30, 90), (90, 30)])
def test_a_field_that_is_not_square_is_covered(shape):
    out = make_transform(PLAIN, (24, 48), 1)(torch.full((1, *shape), 255, dtype=torch.uint8))
    assert out.shape == (1, 24, 48) and out.min() == 1, "no black border"


def test_nearest_takes_the_pixel_that_pillow_takes():
    picture = noise(1, 8, 8)
    theirs = np.array(Image.fromarray(picture[0].numpy()).resize((5, 5), Image.Resampling.NEAREST))
    ours = make_transform(PLAIN.model_copy(update={"interpolation": "nearest"}), 5, 1)(picture)
    assert torch.equal((ours[0] * 255).round().to(torch.uint8), torch.from_numpy(theirs))


def test_channels():
    gray, color, alpha = noise(1, 8, 8), noise(3, 8, 8), noise(4, 8, 8)
    assert torch.equal(make_transform(PLAIN, 8, 3)(gray), gray.expand(3, 8, 8) / 255)
    luminance = (color.float() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0) / 255
    gray_again = make_transform(PLAIN, 8, 1)(color)[0]
    assert (gray_again - luminance).abs().max() < 1.1 / 255, "torchvision cuts off instead of rounding"
    assert torch.equal(make_transform(PLAIN, 8, 3)(alpha), alpha[:3] / 255)
    assert torch.equal(make_transform(PLAIN, 8, 4)(alpha), alpha / 255)
    assert torch.equal(make_transform(PLAIN, 8, 1)(alpha), make_transform(PLAIN, 8, 1)(alpha[:3]))
    with pytest.raises(ConvatlasError, match="3 channels, but the network takes 2"):
        make_transform(PLAIN, 8, 2)(color)


def test_normalisation():
    white3, white1 = torch.full((3, 4, 4), 255, dtype=torch.uint8), torch.full((1, 4, 4), 255, dtype=torch.uint8)
    out = make_transform(Preprocess(), 4, 3)(white3)[:, 0, 0]
    assert torch.allclose(out, (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225]))
    assert make_transform(Preprocess(), 4, 1)(white1)[0, 0, 0] == 1
    out = make_transform(Preprocess(mean=(0.5,), std=(0.5, 0.25, 0.125)), 4, 3)(white3)[:, 0, 0]
    assert out.tolist() == [1, 2, 4]
    with pytest.raises(ConvatlasError, match=r"preprocess.mean has 3 values, but the network takes 1"):
        make_transform(Preprocess(mean=(0.1, 0.2, 0.3)), 4, 1)
    with pytest.raises(ConvatlasError, match="above 0"):
        make_transform(Preprocess(std=(0.0,)), 4, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_equals_its_pictures_and_pillow_equals_a_tensor(channels):
    transform = make_transform(Preprocess(crop_pct=0.9), (20, 28), 3)
    batch = torch.randint(0, 256, (5, channels, 33, 17), dtype=torch.uint8)
    assert not transform.random
    assert torch.equal(transform(batch), torch.stack([transform(picture) for picture in batch]))
    pixels = batch[0].permute(1, 2, 0).squeeze(2).numpy().copy()
    assert torch.equal(transform(Image.fromarray(pixels)), transform(batch[0]))
    assert torch.equal(transform.seeded(batch[0], 5), transform(batch[0]))


def test_what_is_no_picture_is_refused():
    with pytest.raises(ConvatlasError, match="uint8"):
        make_transform(PLAIN, 8, 1)(torch.rand(1, 8, 8))
    with pytest.raises(ConvatlasError, match="uint8"):
        make_transform(PLAIN, 8, 1, Augment(flip=0.5))(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(UnreadableImage, match="1×40000"):
        make_transform(PLAIN, 256, 1)(torch.zeros(1, 1, 40_000, dtype=torch.uint8))


AUGMENTS = {
    "random": Augment(crop="random", padding=2), "resized": Augment(crop="resized"), "flip": Augment(flip=0.5),
    "pca": Augment(pca_colour=0.1), "trivial": Augment(policy="trivial"),
    "all": Augment(crop="resized", flip=0.5, pca_colour=0.1, policy="trivial"),
}


@pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS)
def test_only_the_seed_decides(augment):
    transform = make_transform(PLAIN, 16, 3, augment)
    picture = noise(3, 20, 24)
    assert transform.random
    before = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    first = [transform.seeded(picture, seed) for seed in range(12)]
    torch.rand(7)
    again = [transform.seeded(picture, seed) for seed in range(12)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({tuple(a.flatten().tolist()) for a in first}) > 1, "seeds differ"
    torch.random.set_rng_state(before[0])
    transform.seeded(picture, 2**63 - 1)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert random.getstate() == before[1] and np.random.get_state()[1].tolist() == before[2]
    assert all(a.shape == (3, 16, 16) for a in first)


def test_padding_is_the_largest_shift():
    picture = torch.zeros(1, 8, 8, dtype=torch.uint8)
    picture[0, 4, 4] = 255
    transform = make_transform(PLAIN.model_copy(update={"crop_pct": 12 / 8}), 12, 1, Augment(crop="random", padding=3))
    places = {tuple(transform.seeded(picture, seed)[0].nonzero()[0].tolist()) for seed in range(600)}
    assert places == {(6 + y, 6 + x) for y in range(-3, 4) for x in range(-3, 4)}


def test_a_random_crop_is_a_window_of_what_evaluation_resizes():
    picture = torch.arange(100, dtype=torch.uint8).view(1, 10, 10)
    transform = make_transform(PLAIN.model_copy(update={"crop_pct": 0.8}), 8, 1, Augment(crop="random"))
    seen = set()
    for seed in range(100):
        out = (transform.seeded(picture, seed) * 255).round().to(torch.uint8)
        top, left = divmod(int(out[0, 0, 0]), 10)
        assert torch.equal(out, picture[:, top : top + 8, left : left + 8])
        seen.add((top, left))
    assert seen == {(y, x) for y in range(3) for x in range(3)}


@pytest.mark.parametrize("flip", [0.0, 0.3, 1.0])
def test_flip_happens_as_often_as_said(flip):
    picture = noise(1, 4, 4)
    transform = make_transform(PLAIN, 4, 1, Augment(flip=flip))
    mirrored = sum(torch.equal(transform.seeded(picture, seed), picture.flip(-1) / 255) for seed in range(400))
    assert abs(mirrored / 400 - flip) < 0.08


def test_a_resized_crop_keeps_the_share_of_the_area_that_is_asked():
    picture = torch.arange(256).repeat(256, 1)[None].to(torch.uint8)        # a ramp: the range seen is the width kept
    transform = make_transform(PLAIN, 64, 1, Augment(crop="resized", scale=(0.25, 0.25), ratio=(1, 1)))
    for seed in range(10):
        out = transform.seeded(picture, seed) * 255
        assert out.shape == (1, 64, 64) and abs(float(out.max() - out.min()) - 128) < 6


def test_colour_noise_has_the_published_covariance():
    black = torch.zeros(3, 1, 1, dtype=torch.uint8)
    transform = make_transform(PLAIN, 1, 3, Augment(pca_colour=0.1))
    draws = torch.stack([transform.seeded(black, seed).flatten() for seed in range(3000)])
    vectors, values = torch.tensor(EIGENVECTORS), torch.tensor(EIGENVALUES)
    assert torch.allclose(vectors.T @ vectors, torch.eye(3), atol=1e-3), "the printed vectors are orthonormal"
    expected = vectors @ torch.diag((0.1 * values) ** 2) @ vectors.T
    assert torch.allclose(draws.T.cov(), expected, atol=2e-5) and draws.mean(0).abs().max() < 0.002


@pytest.mark.parametrize(("channels", "fields", "sentence"), [
    (1, {"pca_colour": 0.1}, "pca_colour needs red, green and blue, not 1"),
    (4, {"policy": "trivial"}, "one or three channels, not on 4"),
    (4, {"jitter": (0.1, 0, 0, 0)}, "jitter works on one or three channels, not on 4"),
    (3, {"jitter": (0.1, -0.1, 0, 0)}, r"jitter must be at least 0.*\(0.1, -0.1"),
    (3, {"jitter": (0, 0, 0, 0.6)}, "hue at most 0.5"),
    (3, {"affine": (-5, 0, 0, 0)}, "affine must be at least 0"),
    (3, {"affine": (0, 0, 1, 0)}, "scale below 1"),
    (3, {"affine": (0, 0, 0, 90)}, "shear below 90"),
    (3, {"short_side": (256, 512)}, "short_side needs augment.crop = random, not centre"),
    (3, {"crop": "random", "short_side": (512, 256)}, r"the smaller one first, not \(512"),
    (3, {"crop": "resized", "scale": (0, 1)}, "scale must be two shares"),
    (3, {"crop": "resized", "ratio": (2, 1)}, "ratio must be two aspects"),
    (3, {"pca_colour": 0.1, "pca_from": "data"}, "pca_from = data needs the colours measured"),
])
def test_settings_that_cannot_be_say_so(channels, fields, sentence):
    with pytest.raises(ConvatlasError, match=sentence):
        make_transform(PLAIN, 8, channels, Augment(**fields))


def test_a_batch_that_is_none_is_refused():
    transform = make_transform(PLAIN, 8, 1)
    with pytest.raises(ConvatlasError, match=r"\(n, C, H, W\), not torch.float32"):
        transform.batch(torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="2 pictures need as many int64 seeds"):
        transform.batch(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))


def test_a_random_transform_draws_its_seed_from_torchs_generator():
    transform = make_transform(PLAIN, 8, 1, Augment(crop="random", padding=4))
    picture = noise(1, 8, 8)
    torch.manual_seed(5)
    first = [transform(picture) for _ in range(5)]
    torch.manual_seed(5)
    assert all(torch.equal(transform(picture), before) for before in first)
    assert not all(torch.equal(first[0], other) for other in first)


@pytest.mark.parametrize("kind", ["channel", "pixel_mean", "gcn", "zca"])
def test_what_was_fitted_normalises(kind):
    pictures = torch.randint(0, 256, (60, 3, 6, 6), dtype=torch.uint8)
    images = Tensors(pictures, torch.zeros(60))
    tensors = fitted.fit(Preprocess(fit=kind), Augment(), images, make_transform(PLAIN, 6, 3))
    preprocess = Preprocess(fit=kind, crop_pct=1.0)
    transform = make_transform(preprocess, 6, 3, Augment(flip=1.0), fitted=tensors)
    out = transform.batch(pictures, torch.arange(60))
    assert torch.equal(out, normalization.apply(kind, pictures.flip(-1) / 255, tensors, (1.0,) * 3))
    assert torch.equal(out[7], transform.seeded(pictures[7], 7))
    if kind != "gcn":
        with pytest.raises(ConvatlasError, match=f"fit = {kind} needs what was measured"):
            make_transform(preprocess, 6, 3)


def test_the_mean_of_each_pixel_goes_with_a_deviation_that_is_given():
    pictures, mean = noise(3, 6, 6), torch.rand(3, 6, 6)
    for std in ((0.5,), (0.5, 0.25, 2.0)):
        transform = make_transform(Preprocess(fit="pixel_mean", std=std, crop_pct=1.0), 6, 3, fitted={"mean": mean})
        assert torch.allclose(transform(pictures), (pictures / 255 - mean) / torch.tensor(std).view(-1, 1, 1))


@pytest.mark.parametrize("augment", [
    Augment(),
    Augment(crop="resized", flip=0.5, erase=0.5),
    Augment(crop="random", padding=3, padding_mode="reflect", flip=0.5, elastic=2.0, affine=(10, 0.1, 0.1, 5)),
    Augment(crop="random", short_side=(16, 24), pca_colour=0.1, jitter=(0.4, 0.4, 0.4, 0.1)),
    Augment(crop="resized", policy="randaugment"),
], ids=lambda augment: f"{augment.crop}-{augment.policy}-{augment.elastic}")
def test_pictures_of_many_sizes_at_once_are_each_by_itself(augment):
    pictures = [noise(3, 30, 40), noise(1, 17, 90), noise(3, 61, 20), noise(4, 16, 16), noise(3, 30, 40)]
    seeds = torch.arange(5) * 7919
    transform = make_transform(PLAIN, 16, 3, augment)
    found, refused = transform.each(pictures, seeds)
    assert not refused and found.shape == (5, 3, 16, 16)
    for picture, seed, ours in zip(pictures, seeds.tolist(), found, strict=True):
        assert torch.equal(ours, transform.seeded(picture, seed))


def test_of_many_the_too_long_ones_are_left_out_and_the_rest_is_as_before():
    pictures, seeds = [noise(1, 20, 20), noise(1, 1, 30_000), noise(1, 30, 20)], torch.tensor([3, 4, 5])
    transform = make_transform(PLAIN, 256, 1, Augment(crop="random", flip=0.5))
    found, refused = transform.each(pictures, seeds)
    assert list(refused) == [1] and "too long" in str(refused[1])
    assert torch.equal(found, torch.stack([transform.seeded(pictures[i], int(seeds[i])) for i in (0, 2)]))
    assert transform.each([], seeds[:0])[0].shape == (0, 1, 256, 256)
