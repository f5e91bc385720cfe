"""Wilson's interval, McNemar's test and calibration against SciPy and against slow, explicit sums."""

import math

import pytest
import torch
from scipy import optimize, stats

from convatlas.evaluation.calibration import calibrate, draw, temperature
from convatlas.evaluation.statistics import mcnemar, wilson


@pytest.mark.parametrize("right, count", [(0, 10), (1, 3), (7, 10), (360, 360), (49000, 50000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_is_scipys(right, count, confidence):
    known = stats.binomtest(right, count).proportion_ci(confidence, method="wilson")
    assert wilson(right, count, confidence) == pytest.approx((known.low, known.high), abs=1e-12)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("right, count, low, high", [       # Newcombe 1998, table I, method 3
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)])
def test_wilson_is_newcombes_table(right, count, low, high):
    assert wilson(right, count) == pytest.approx((low, high), abs=5e-5)
    assert wilson(count - right, count) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_ends_exactly_at_nothing_and_all():
    for count in range(1, 300):
        assert wilson(0, count)[0] == 0 and wilson(count, count)[1] == 1


def test_mcnemar_is_as_printed():
    # Fagerland, Lydersen and Laake 2013, exact conditional
    assert mcnemar(1, 1, 7, 12).p == pytest.approx(0.0703, abs=5e-5)
    assert mcnemar(0, 1, 9, 0).p == pytest.approx(22 / 1024) and mcnemar(0, 0, 5, 0).p == pytest.approx(2 / 32)
    # (15 - 1)² / 25 = 7.84, one degree of freedom
    assert mcnemar(0, 5, 20, 0).p == pytest.approx(0.00511, abs=5e-6)


@pytest.mark.parametrize("only_a, only_b", [(0, 0), (3, 3), (0, 9), (20, 4), (12, 12)])
def test_few_disagreements_are_counted(only_a, only_b):
    found = mcnemar(100, only_a, only_b, 7)
    assert found.exact and (found.both, found.only_a, found.only_b, found.neither) == (100, only_a, only_b, 7)
    tail = sum(math.comb(only_a + only_b, i) for i in range(min(only_a, only_b) + 1))
    assert found.p == pytest.approx(min(1.0, 2 * tail / 2 ** (only_a + only_b)))


@pytest.mark.parametrize("only_a, only_b", [(25, 0), (40, 41), (50, 50), (300, 240)])
def test_many_disagreements_are_approximated(only_a, only_b):
    found = mcnemar(5, only_a, only_b, 5)
    statistic = max(abs(only_a - only_b) - 1, 0) ** 2 / (only_a + only_b)
    assert not found.exact and found.p == pytest.approx(math.erfc(math.sqrt(statistic / 2)))
    assert mcnemar(5, only_b, only_a, 5).p == found.p


def scored(sure: float, count: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities (count, 4) that are right most of the time, and `sure` times as sure as they should be."""
    scores = torch.randn(count, 4, dtype=torch.float64)
    labels = torch.distributions.Categorical(logits=2 * scores).sample()
    return (2 * sure * scores).log_softmax(dim=1), labels


def test_calibration_error_is_the_sum_over_bins():
    log_probabilities, labels = scored(2.0)
    found = calibrate(log_probabilities, labels, bins=10)
    expected, counts = 0.0, []
    for i in range(10):
        inside = [(row.max().item(), row.argmax().item() == label)
                  for row, label in zip(log_probabilities.exp(), labels.tolist(), strict=True)
                  if i / 10 < row.max().item() <= (i + 1) / 10]
        counts.append(len(inside))
        expected += abs(sum(sure for sure, _ in inside) - sum(right for _, right in inside)) / len(labels)
    assert found.error == pytest.approx(expected) and expected > 0.03
    assert [part.count for part in found.bins] == counts and sum(counts) == 400
    assert math.isnan(found.bins[0].accuracy) and 0 <= found.bins[9].accuracy <= 1


@pytest.mark.parametrize("sure", [0.4, 1.0, 3.0])
def test_the_temperature_has_the_least_loss(sure):
    log_probabilities, labels = scored(sure)

    def loss(heat: float) -> float:
        return float(torch.nn.functional.cross_entropy(log_probabilities / heat, labels))

    best = optimize.minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-8})
    assert temperature(log_probabilities, labels) == pytest.approx(best.x, rel=1e-4)
    assert temperature(log_probabilities, labels) == pytest.approx(sure, rel=0.25)
    found = calibrate(log_probabilities, labels)
    assert found.cooled < 0.06 and (sure == 1.0 or found.cooled < found.error)


def test_classes_judged_by_themselves_have_no_temperature():
    found = calibrate(torch.tensor([[0.9, 0.8], [0.6, 0.1]]).log(), torch.tensor([0, 1]), exclusive=False)
    assert math.isnan(found.temperature) and found.cooled == found.error == pytest.approx((0.1 + 0.6) / 2)


def test_the_diagram_shows_every_bin():
    log_probabilities, labels = scored(2.0)
    found = calibrate(log_probabilities, labels)
    shares, counts = draw(found).axes
    assert [bar.get_height() for bar in counts.patches] == [part.count for part in found.bins]
    filled = [part for part in found.bins if part.count]
    tops = {round(bar.get_height() + bar.get_y(), 9) for bar in shares.patches}
    assert {round(max(part.accuracy, part.confidence), 9) for part in filled} <= tops
