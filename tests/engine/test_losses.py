
import pytest
import torch

from convatlas import run
from convatlas.engine.losses import check, class_weights, per_image, probabilities
from convatlas.errors import ConvatlasError

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


def test_a_pixel_weighs_the_sum_of_its_class_and_its_border():
    """Ronneberger et al. 2015, eq. 2: w = w_c + w₀·e, not w_c·(1 + w₀·e)."""
    dice = torch.Generator().manual_seed(0)
    scores, classes = torch.randn(2, 3, 4, 5, generator=dice), torch.randint(0, 3, (2, 4, 5), generator=dice)
    border, own = 10 * torch.rand(2, 4, 5, generator=dice), torch.tensor([0.5, 1.0, 2.0])
    found = per_image(run.Loss(border=10.0), 3, own)(scores, torch.stack([classes.float(), 1 + border], dim=1))
    each = -scores.log_softmax(1).gather(1, classes[:, None])[:, 0]
    torch.testing.assert_close(found, (each * (own[classes] + border)).flatten(1).mean(1))


@pytest.mark.parametrize("several", [False, True])
def test_balanced_classes_judged_by_themselves_are_even(several):
    """The best constant score of a balanced class is 0, however rare the class is."""
    labels = torch.tensor([0] * 90 + [1] * 9 + [2])
    targets = torch.nn.functional.one_hot(labels, 3) if several else labels
    loss = run.Loss(name="bce", class_weights="balanced")
    scores = torch.zeros(100, 3, requires_grad=True)
    per_image(loss, 3, class_weights(loss, targets, 3))(scores, targets).sum().backward()
    torch.testing.assert_close(scores.grad.sum(0), torch.zeros(3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["cross_entropy", "bce"])
def test_a_class_without_images_weighs_no_more_than_others(name):
    found = class_weights(run.Loss(name=name, class_weights="balanced"), torch.tensor([0] * 900 + [1] * 100), 3)
    assert found[2] == 1
    if name == "cross_entropy":
        assert (found[:2] * torch.tensor([900, 100])).sum() == pytest.approx(1000)


@pytest.mark.parametrize(("loss", "said"), [
    (run.Loss(name="dice", class_weights="balanced"), r"loss\.class_weights = 'balanced' is refused: dice"),
    (run.Loss(name="tversky", label_smoothing=0.1), "= 0.1 is refused: tversky .* cross_entropy, bce do"),
    (run.Loss(name="map", label_smoothing=0.1), "map does not take it"),
    (run.Loss(name="mse", class_weights=(1.0, 2.0)), "mse does not take it")])
def test_settings_that_a_loss_does_not_take_are_refused(loss, said):
    with pytest.raises(ConvatlasError, match=said):
        check(loss)
    check(loss.model_copy(update={"name": "cross_entropy"}))
    check(run.Loss(name="dice", add=("cross_entropy",), class_weights="balanced"))


def test_weights_that_leave_nothing_are_refused():
    with pytest.raises(ConvatlasError, match="gives every training image the weight 0"):
        class_weights(run.Loss(class_weights=(0.0, 0.0, 1.0)), torch.tensor([0, 1]), 3)
