"""Figures of segmentation against other implementations and against loops."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from convatlas.engine.losses import per_image
from convatlas.run import Loss
from convatlas.segment.instances import components, instances, measured, watershed
from convatlas.segment.metrics import foreground_rand_error, instance_precision, pixel_metrics, rand_error

DICE = np.random.default_rng(0)


def blobs(seed, count=6):
    dice, field = np.random.default_rng(seed), np.zeros((40, 50), np.int64)
    for number in range(1, count + 1):
        y, x, h, w = dice.integers(0, 34), dice.integers(0, 44), *dice.integers(3, 12, 2)
        field[y : y + h, x : x + w] = number
    return field


def test_pixel_scores_are_scikit_learn_s():
    from sklearn.metrics import accuracy_score, f1_score, jaccard_score, recall_score

    true, guess = DICE.integers(0, 4, 900), DICE.integers(0, 4, 900)
    found = pixel_metrics(torch.bincount(torch.from_numpy(true * 4 + guess), minlength=16).reshape(4, 4))
    assert found.accuracy == pytest.approx(accuracy_score(true, guess))
    assert found.mean_accuracy == pytest.approx(recall_score(true, guess, average="macro"))
    assert found.iou == pytest.approx(jaccard_score(true, guess, average=None))
    assert found.mean_iou == pytest.approx(jaccard_score(true, guess, average="macro"))
    assert found.weighted_iou == pytest.approx(jaccard_score(true, guess, average="weighted"))
    assert found.dice == pytest.approx(f1_score(true, guess, average=None))
    # a class that is nowhere counts not
    assert pixel_metrics(torch.tensor([[5, 0, 0], [0, 5, 0], [0, 0, 0]])).mean_iou == 1


def apart():
    """Three touching objects, and a prediction that merges two, splits the third and loses a corner."""
    true = np.zeros((12, 14), np.int64)
    true[1:6, 1:7], true[1:6, 7:12], true[6:11, 3:12] = 1, 2, 3
    guess = np.where((true == 1) | (true == 2), 4, true)
    guess[6:11, 8:], guess[1:3, 1:4] = np.where(true[6:11, 8:] == 3, 5, 0), 0
    return true, guess


def test_rand_error_counts_pairs_of_pixels():
    true, guess = apart()
    inside = [(a, b) for a, b in zip(true.ravel(), guess.ravel(), strict=True) if a]
    pairs = [(a[0] == b[0], a[1] == b[1]) for i, a in enumerate(inside) for b in inside[:i]]
    both, real, called = (sum(map(rule, pairs)) for rule in (all, lambda pair: pair[0], lambda pair: pair[1]))
    assert both and rand_error(true, guess) == pytest.approx(1 - 2 * both / (real + called))
    assert rand_error(true, true) == pytest.approx(0)


def test_the_challenges_rand_error_leaves_out_what_the_prediction_calls_background():
    true, guess = apart()
    inside = [(a, b) for a, b in zip(true.ravel(), guess.ravel(), strict=True) if a]
    pairs = [(a[0] == b[0], a[1] == b[1] != 0) for i, a in enumerate(inside) for b in inside[:i]]
    both, real, called = (sum(map(rule, pairs)) for rule in (all, lambda pair: pair[0], lambda pair: pair[1]))
    precision, recall = both / called, both / real
    assert foreground_rand_error(true, guess) == pytest.approx(1 - 2 * precision * recall / (precision + recall))
    assert foreground_rand_error(true, guess) != pytest.approx(rand_error(true, guess), abs=1e-3)
    assert foreground_rand_error(true, true) == 0 and foreground_rand_error(true, 0 * true) == 1
    assert np.isnan(foreground_rand_error(0 * true, guess))


def test_instance_precision_against_a_loop():
    truths, guesses = [blobs(1), blobs(2)], [blobs(1), blobs(5)]
    guesses[0][guesses[0] == 2] = 0
    values = []
    for true, guess in zip(truths, guesses, strict=True):
        for threshold in (0.5, 0.75):
            hits = sum(any(((true == a) & (guess == b)).sum() > threshold * ((true == a) | (guess == b)).sum()
                           for b in np.unique(guess[guess > 0])) for a in np.unique(true[true > 0]))
            values.append(hits / (len(np.unique(true[true > 0])) + len(np.unique(guess[guess > 0])) - hits))
    assert instance_precision(truths, guesses, (0.5, 0.75)) == pytest.approx(np.mean(values))
    empty = np.zeros((4, 4), np.int64)
    assert instance_precision([empty], [empty]) == 1 and instance_precision([empty], [empty + 1]) == 0


def test_objects_are_found_and_touching_ones_parted():
    y, x = np.mgrid[:40, :60]
    share = np.maximum(np.exp(-((x - 20) ** 2 + (y - 20) ** 2) / 150), np.exp(-((x - 38) ** 2 + (y - 20) ** 2) / 150))
    assert components(share > 0.5).max() == 1 and watershed(share).max() == 2
    speck = share.copy()
    speck[0, 0] = 1.0
    assert instances(speck, "components").max() == 1 and instances(speck, "watershed").max() == 2
    rows = list(measured(watershed(share)))
    assert [row["object"] for row in rows] == [1, 2] and sum(row["area"] for row in rows) == (share > 0.5).sum()
    assert sorted(round(row["column"]) for row in rows) == pytest.approx([20, 38], abs=1)


@pytest.mark.parametrize("loss", [Loss(name=name) for name in ("dice", "tversky", "focal", "cross_entropy")])
def test_losses_of_pixels_against_loops(loss):
    scores, classes = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randint(0, 3, (2, 4, 5))
    classes[0, 0, :2] = 255
    weights = torch.rand(2, 4, 5, dtype=torch.float64) + 0.5
    expected = []
    for n in range(2):
        p = scores[n].softmax(0)
        pixels = [(y, x) for y in range(4) for x in range(5) if classes[n, y, x] != 255]
        if loss.name in ("cross_entropy", "focal"):
            power = loss.gamma if loss.name == "focal" else 0
            total = sum(-weights[n, y, x] * (1 - p[classes[n, y, x], y, x]) ** power * p[classes[n, y, x], y, x].log()
                        for y, x in pixels)
            expected.append(total / len(pixels))
            continue
        parts = []
        for k in range(3):
            both = sum(weights[n, y, x] * p[k, y, x] * (classes[n, y, x] == k) for y, x in pixels)
            missed = sum(weights[n, y, x] * (1 - p[k, y, x]) * (classes[n, y, x] == k) for y, x in pixels)
            false = sum(weights[n, y, x] * p[k, y, x] * (classes[n, y, x] != k) for y, x in pixels)
            a, b, scale = (loss.alpha, 1 - loss.alpha, 1) if loss.name == "tversky" else (1, 1, 2)
            parts.append((scale * both + 1) / (scale * both + a * missed + b * false + 1))
        expected.append(1 - sum(parts) / 3)
    found = per_image(loss, 3)(scores, torch.stack([classes.double(), weights], dim=1))
    torch.testing.assert_close(found, torch.stack([torch.as_tensor(each) for each in expected]))


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_classes_weigh_and_ignored_pixels_are_left_out(name):
    """Against torch's cross-entropy of the pixels that count, one by one; classes that are ignored may have any number.
    """
    scores, classes = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randint(0, 3, (2, 4, 5))
    classes[1, 2:] = 9
    weights, gamma = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64), 0.0 if name == "cross_entropy" else 2.0
    found = per_image(Loss(name=name, ignore_index=9), 3, weights)(scores, classes)
    for n in range(2):
        kept = classes[n] != 9
        logs = scores[n][:, kept].log_softmax(0).gather(0, classes[n][kept][None])[0]
        expected = (-weights[classes[n][kept]] * (1 - logs.exp()) ** gamma * logs).mean()
        torch.testing.assert_close(found[n], expected)


def test_the_unnormalised_loss_of_fcn_is_a_sum():
    """Long et al. 2015: the gradient of an image grows with its pixels that count."""
    scores, classes = torch.randn(1, 3, 4, 5, requires_grad=True), torch.randint(0, 3, (1, 4, 5))
    classes[0, 0] = 255
    whole, mean = (per_image(Loss(pixels=how), 3)(scores, classes) for how in ("sum", "mean"))
    torch.testing.assert_close(whole, F.cross_entropy(scores, classes, ignore_index=255, reduction="sum")[None])
    torch.testing.assert_close(whole, mean * 15)
    whole.backward()
    assert scores.grad[:, :, 0].abs().max() == 0 and scores.grad[:, :, 1:].abs().min() > 0


def test_losses_add_up():
    scores, classes = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    both = per_image(Loss(name="cross_entropy", add=("dice",)), 3)(scores, classes)
    alone = [per_image(Loss(name=name), 3)(scores, classes) for name in ("cross_entropy", "dice")]
    torch.testing.assert_close(both, sum(alone))
    torch.testing.assert_close(alone[0], F.cross_entropy(scores, classes, reduction="none").mean((1, 2)))
