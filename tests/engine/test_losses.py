
import pytest
import torch

from convatlas import run
from convatlas.engine.losses import per_image, probabilities

torch.manual_seed(0)
SCORES = torch.randn(6, 5, dtype=torch.float64) * 3
LABELS = torch.tensor([0, 4, 2, 1, 1, 3])
TRUE = SCORES[torch.arange(6), LABELS]


def explicit_map(j):
    return -TRUE + torch.log(torch.exp(torch.tensor(-j, dtype=torch.float64)) + torch.exp(SCORES).sum(1))


def explicit_mse():
    targets = -torch.ones(6, 5, dtype=torch.float64)
    targets[torch.arange(6), LABELS] = 1
    return 0.5 * ((targets - SCORES) ** 2).sum(1)


def explicit_smooth(eps):
    logs = torch.log(torch.exp(SCORES) / torch.exp(SCORES).sum(1, keepdim=True))
    return -(1 - eps) * logs[torch.arange(6), LABELS] - eps * logs.mean(1)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (run.Loss(name="cross_entropy"), explicit_smooth(0.0)),
        (run.Loss(name="cross_entropy", label_smoothing=0.1), explicit_smooth(0.1)),
        (run.Loss(name="map"), explicit_map(0.1)),
        (run.Loss(name="map", rubbish=2.0), explicit_map(2.0)),
        (run.Loss(name="mse"), explicit_mse()),
    ],
)
def test_the_formula(loss, expected):
    torch.testing.assert_close(per_image(loss, 5)(SCORES, LABELS), expected, rtol=1e-12, atol=1e-12)


def test_map_survives_large_penalties():
    # LeNet-5's squared distances reach several hundred: exp(-1000) is 0, its logarithm must not be -inf.
    scores = torch.tensor([[-1000.0, -1003.0], [900.0, 0.0]], requires_grad=True)
    losses = per_image(run.Loss(name="map"), 2)(scores, torch.tensor([0, 1]))
    torch.testing.assert_close(losses, torch.tensor([1000.0 - 0.1, 900.0]))
    losses.sum().backward()
    assert scores.grad.isfinite().all()


def test_what_the_scores_say():
    for name in ("cross_entropy", "map"):
        torch.testing.assert_close(probabilities(SCORES, run.Loss(name=name)), SCORES.softmax(dim=1))
    scores = torch.tensor([[1.0, -1.0, 0.0, -3.0, -0.5]])
    expected = torch.tensor([[1.0, 0.0, 0.5, 0.0, 0.25]]) / 1.75
    torch.testing.assert_close(probabilities(scores, run.Loss(name="mse")), expected, rtol=0, atol=1e-5)
