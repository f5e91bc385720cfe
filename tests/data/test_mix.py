"""Mixup and CutMix against loops over pictures and pixels."""

import math

import pytest
import torch

from convatlas import ConvatlasError
from convatlas.data.mix import mix
from convatlas.run import Augment

CLASSES = 4


def batch(n=6, h=9, w=7):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 2, h, w, generator=generator), torch.randint(CLASSES, (n,), generator=generator)


def test_mixup_against_loops():
    images, labels = batch()
    shares = []
    for seed in range(200):
        mixed, targets = mix(images, labels, CLASSES, Augment(mixup=0.4), seed)
        assert targets.shape == (6, CLASSES) and targets.dtype == torch.float32
        i = next(i for i in range(6) if labels[i] != labels[i - 1])
        share = float(targets[i, labels[i]])
        shares.append(share)
        for i in range(6):
            expected = [0.0] * CLASSES
            expected[int(labels[i])] += share
            expected[int(labels[i - 1])] += 1 - share
            assert targets[i].tolist() == pytest.approx(expected, abs=1e-6)
            assert torch.allclose(mixed[i], share * images[i] + (1 - share) * images[i - 1], atol=1e-6)
    # Beta(α, α): mean 1/2, variance 1 / (4 (2α + 1))
    mean = sum(shares) / 200
    assert mean == pytest.approx(0.5, abs=0.1)
    assert sum((share - mean) ** 2 for share in shares) / 200 == pytest.approx(1 / (4 * 1.8), abs=0.03)


def test_cutmix_against_loops():
    """Every pixel is the picture's own or its partner's; those of the partner are one box, and λ is what it leaves."""
    images, labels = batch()
    clipped = 0
    for seed in range(200):
        mixed, targets = mix(images, labels, CLASSES, Augment(cutmix=1.0), seed)
        for i in range(6):
            own = [[bool((mixed[i, :, y, x] == images[i, :, y, x]).all()) for x in range(7)] for y in range(9)]
            taken = [(y, x) for y in range(9) for x in range(7) if not own[y][x]]
            assert all(torch.equal(mixed[i, :, y, x], images[i - 1, :, y, x]) for y, x in taken)
            rows, columns = {y for y, _ in taken}, {x for _, x in taken}
            assert len(taken) == len(rows) * len(columns)
            assert (not taken
                    or (max(rows) - min(rows) + 1, max(columns) - min(columns) + 1) == (len(rows), len(columns)))
            expected = [0.0] * CLASSES
            expected[int(labels[i])] += 1 - len(taken) / 63
            expected[int(labels[i - 1])] += len(taken) / 63
            assert targets[i].tolist() == pytest.approx(expected, abs=1e-6)
        clipped += len(columns) % 2         # a whole box has an even width
    assert clipped > 20


def test_the_box_is_as_large_as_lambda_says():
    """The paper's: width W·√(1 − λ), height H·√(1 − λ), λ uniform for α = 1; before clipping, so at most."""
    images, labels = torch.zeros(2, 1, 100, 100), torch.tensor([0, 1])
    images[1] = 1
    areas = [float(mix(images, labels, 2, Augment(cutmix=1.0), seed)[0][0].mean()) for seed in range(400)]
    # E[area] = E[(1 − λ)] less what is outside: per side, of a box of width r around a uniform centre, r − r²/4 stays
    # inside
    expected = sum((math.sqrt(t) - t / 4) ** 2 for t in (k / 1000 for k in range(1001))) / 1001
    assert sum(areas) / 400 == pytest.approx(expected, abs=0.03)


def test_off_and_left_out_are_untouched():
    images, labels = batch()
    for augment in (Augment(), Augment(mixup=0.2, cutmix=1.0, mix_prob=0.0)):
        same, classes = mix(images, labels, CLASSES, augment, 3)
        assert same is images and classes is labels
    kept = images.clone()
    mix(images, labels, CLASSES, Augment(mixup=0.2), 3)
    assert torch.equal(images, kept)        # the batch itself is left alone


def test_a_share_of_batches_and_one_of_the_two():
    images, labels = batch()
    augment = Augment(mixup=1.0, cutmix=1.0, mix_prob=0.75)
    mixed = [mix(images, labels, CLASSES, augment, seed) for seed in range(300)]
    changed = [pair for pair in mixed if pair[1] is not labels]
    assert len(changed) == pytest.approx(225, abs=25)
    # Mixup changes every pixel, CutMix leaves some as they were
    blended = sum(bool((pair[0] != images).all()) for pair in changed)
    assert blended == pytest.approx(len(changed) / 2, abs=30)


def test_the_seed_alone_decides():
    images, labels = batch()
    augment = Augment(mixup=0.8, cutmix=1.0)
    torch.manual_seed(5)
    first = mix(images, labels, CLASSES, augment, 11)
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), after)                    # the global generator was left as it was
    again = mix(images, labels, CLASSES, augment, 11)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(mix(images, labels, CLASSES, augment, 12)[0], first[0])


def test_scores_are_mixed_as_classes_are():
    images, labels = batch()
    scores = torch.nn.functional.one_hot(labels, CLASSES).float()
    for augment in (Augment(mixup=0.4), Augment(cutmix=1.0)):
        by_class, by_score = mix(images, labels, CLASSES, augment, 7), mix(images, scores, CLASSES, augment, 7)
        assert torch.equal(by_class[0], by_score[0]) and torch.equal(by_class[1], by_score[1])


def test_a_batch_of_one_stays_what_it_is():
    images, labels = batch(n=1)
    for augment in (Augment(mixup=0.4), Augment(cutmix=1.0)):
        mixed, targets = mix(images, labels, CLASSES, augment, 0)
        assert (torch.allclose(mixed, images) and targets.argmax(1).equal(labels)
                and float(targets.max()) == pytest.approx(1))


def test_labels_of_pixels_are_refused():
    with pytest.raises(ConvatlasError, match=r"labels of whole pictures, not \(2, 4, 4\)"):
        mix(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.int64), 5, Augment(mixup=0.2), 0)
