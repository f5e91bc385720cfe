"""RandAugment with increasing operations and erasing to noise, against timm: every operation's pixels, and how often
each is drawn.
"""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from timm.data import auto_augment as theirs
from timm.data.random_erasing import RandomErasing

from convatlas import ConvatlasError
from convatlas.data import augment as how
from convatlas.data import draws, make_transform, randaugment
from convatlas.recipes import recipe
from convatlas.run import Augment, Preprocess, Run

# ours, and timm's name of it
NAMES = {"autocontrast": "AutoContrast", "equalize": "Equalize", "invert": "Invert", "rotate": "Rotate",
         "posterize": "PosterizeIncreasing", "solarize": "SolarizeIncreasing", "solarize_add": "SolarizeAdd",
         "color": "ColorIncreasing", "contrast": "ContrastIncreasing", "brightness": "BrightnessIncreasing",
         "sharpness": "SharpnessIncreasing", "shear_x": "ShearX", "shear_y": "ShearY", "translate_x": "TranslateXRel",
         "translate_y": "TranslateYRel"}
MANY = draws.image_seeds(0, 0, torch.arange(20_000))


def picture(channels: int) -> torch.Tensor:
    """Smooth colours with noise, so that bounds, tables and edges all matter."""
    y, x = np.mgrid[0:37, 0:51]
    smooth = np.stack([x * 4, y * 6, 255 - (x + y) * 2][:channels])
    noise = np.random.default_rng(channels).integers(-30, 30, smooth.shape)
    return torch.from_numpy(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def test_the_fifteen_operations_are_timms_in_its_order():
    assert list(NAMES.values()) == theirs._RAND_INCREASING_TRANSFORMS and list(randaugment.OPERATIONS) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_operation_gives_timms_pixels(name, monkeypatch):
    for channels, fill in ((3, (124, 116, 104)), (1, (128,))):
        pixels = picture(channels)
        image = Image.fromarray(pixels.movedim(0, -1).squeeze(-1).numpy())
        color = fill if channels == 3 else fill[0]
        for strength in (0.0, 2.3, 5.0, 8.61, 9.0, 10.0):
            for sign, chance in ((1, 0.4), (-1, 0.6)):
                monkeypatch.setattr(theirs.random, "random", lambda chance=chance: chance)
                operation = theirs.AugmentOp(NAMES[name], prob=1.0, magnitude=strength, hparams={
                    "img_mean": color, "interpolation": Image.Resampling.BICUBIC})
                mine = randaugment.operated(pixels[None], [[randaugment.Draw(name, strength, sign)]],
                                            randaugment.Edges("bicubic", fill))[0]
                if name == "posterize" and strength == 10:      # 0 bits, which newer versions of Pillow refuse
                    assert not mine.any()
                    continue
                expected = np.atleast_3d(np.asarray(operation(image)))
                assert np.array_equal(mine.movedim(0, -1).numpy(), expected), (channels, strength, sign)


def test_operations_are_drawn_as_often_as_timms():
    found = randaugment.drawn(MANY, 2, 9, 0.5, 0.5)
    every = [draw for each in found for draw in each]
    counts = [sum(len(each) == k for each in found) for k in range(3)]
    assert stats.chisquare(counts, [5_000, 10_000, 5_000]).pvalue > 1e-3        # each of two in half of the cases
    names = Counter(draw.name for draw in every)
    assert set(names) == set(NAMES) and stats.chisquare(list(names.values())).pvalue > 1e-3
    assert stats.binomtest(sum(draw.sign > 0 for draw in every), len(every)).pvalue > 1e-3
    strengths = np.array([draw.strength for draw in every])
    inside = strengths[strengths < 10]
    cut = stats.truncnorm(-np.inf, 2, loc=9, scale=0.5)     # 10 is the most
    assert stats.kstest(inside, cut.cdf).pvalue > 1e-3
    assert stats.binomtest(len(strengths) - len(inside), len(strengths), stats.norm.sf(2)).pvalue > 1e-3
    twice = [each for each in found if len(each) == 2]
    assert stats.binomtest(sum(a.name == b.name for a, b in twice), len(twice), 1 / 15).pvalue > 1e-3
    assert [draw.strength for each in randaugment.drawn(MANY[:50], 2, 9, 0, 1.0) for draw in each] == [9] * 100


def test_a_transform_fills_with_the_mean_colour_and_reads_bicubically():
    seed = next(int(seed) for seed, each in zip(MANY, randaugment.drawn(MANY, 1, 9, 0.5, 1.0), strict=True)
                if each[0].name == "translate_x")
    (draw,), = randaugment.drawn(torch.tensor([seed]), 1, 9, 0.5, 1.0)
    transform = make_transform(Preprocess(std=(1.0,), crop_pct=1.0, interpolation="bicubic"), 32, 3, Augment(
        policy="randaugment_inc", policy_ops=1, policy_prob=1.0))
    out = transform.seeded(torch.full((3, 32, 32), 255, dtype=torch.uint8), seed)
    edge = out[:, 16, -1 if draw.sign > 0 else 0]
    assert (edge.abs() < 0.5 / 255 + 1e-6).all(), "ImageNet's mean, rounded to a byte, less the mean"


def test_erased_noise_has_timms_boxes_and_distribution():
    values = torch.full((3_000, 1, 20, 30), 7.0)
    ours = how.erased(values, 0.25, MANY[:3_000], "noise")
    torch.manual_seed(0)
    erase = RandomErasing(0.25, mode="pixel", device="cpu")
    other = torch.stack([erase(value.clone()) for value in values])
    areas = [(out != 7).float().mean((1, 2, 3)) for out in (ours, other)]
    assert stats.binomtest(int((areas[0] > 0).sum()), 3_000, 0.25).pvalue > 1e-3
    assert stats.ks_2samp(*(area[area > 0].numpy() for area in areas)).pvalue > 1e-3
    assert areas[0][areas[0] > 0].min() > 0.015 and areas[0].max() < 0.37
    noise = ours[ours != 7].double().numpy()
    assert stats.kstest(noise[:20_000], "norm").pvalue > 1e-3
    assert torch.equal(values, torch.full_like(values, 7)), "the batch given is not written to"


def test_an_older_run_keeps_its_meaning_and_the_recipes_have_the_authors():
    old = Run.from_yaml("augment: {policy: randaugment, policy_ops: 2, policy_magnitude: 27, erase: 0.25}")
    assert (old.augment.policy, old.augment.erase_fill) == ("randaugment", "mean")
    for name in ("convnext", "replknet", "slak", "slak_small"):
        a = recipe(name).augment
        assert (a.policy, a.policy_ops, a.policy_magnitude, a.policy_std, a.policy_prob) == (
            "randaugment_inc", 2, 9, 0.5, 0.5)
        assert (a.erase, a.erase_fill, a.mixup, a.cutmix, a.mix_prob) == (0.25, "noise", 0.8, 1.0, 1.0)
    assert recipe("repvgg_200").schedule.warmup_epochs == 5
    with pytest.raises(ConvatlasError, match="is of 10 for randaugment_inc, not 27"):
        make_transform(Preprocess(), 32, 3, Augment(policy="randaugment_inc", policy_magnitude=27))
