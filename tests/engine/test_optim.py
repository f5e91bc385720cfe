import math

import pytest
import torch
from torch import nn

from convatlas import run
from convatlas.engine.optim import Plateau, learning_rate, optimizer
from convatlas.errors import ConvatlasError

START = Plateau()


def rates(schedule, epochs, steps, plateau=START):
    def rate(epoch, step):
        return learning_rate(schedule, 0.8, epoch=epoch, step=step, steps=steps, epochs=epochs, plateau=plateau)

    return [[rate(epoch, step) for step in range(steps)] for epoch in range(epochs)]


def test_constant():
    assert rates(run.Schedule(), 2, 2) == [[0.8, 0.8], [0.8, 0.8]]


def test_steps_change_the_rate_from_their_epoch_on():
    # LeNet-5's way: two passes, three passes, the rest
    schedule = run.Schedule(name="steps", steps=((2, 0.5), (5, 0.25)))
    assert [row[0] for row in rates(schedule, 7, 1)] == [0.8, 0.8, 0.4, 0.4, 0.4, 0.2, 0.2]


def test_warm_up_rises_every_step_and_multiplies_the_schedule():
    schedule = run.Schedule(name="steps", steps=((1, 0.5),), warmup_epochs=1.5)
    expected = [[0.8 / 6, 1.6 / 6, 2.4 / 6, 3.2 / 6], [2.0 / 6, 0.4, 0.4, 0.4]]
    torch.testing.assert_close(torch.tensor(rates(schedule, 2, 4)), torch.tensor(expected))


def test_cosine_falls_every_step_towards_zero():
    flat = [rate for row in rates(run.Schedule(name="cosine"), 2, 4) for rate in row]
    assert flat == pytest.approx([0.4 * (1 + math.cos(math.pi * t / 8)) for t in range(8)])
    end = learning_rate(run.Schedule(name="cosine"), 0.8, epoch=2, step=0, steps=4, epochs=2, plateau=START)
    assert end == pytest.approx(0, abs=1e-12)


def test_cosine_starts_where_warm_up_ends():
    flat = [rate for row in rates(run.Schedule(name="cosine", warmup_epochs=1), 3, 2) for rate in row]
    assert flat[:3] == pytest.approx([0.4, 0.8, 0.8])
    assert flat[3:] == sorted(flat[3:], reverse=True)


def test_plateau_waits_reduces_and_stops_reducing():
    schedule = run.Schedule(name="plateau", patience=2, reductions=2, factor=0.5)
    state, factors = START, []
    for accuracy in (0.5, 0.6, 0.6, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7):
        state = state.after(accuracy, schedule)
        factors.append(rates(schedule, 1, 1, state)[0][0] / 0.8)
    assert factors == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sgd", torch.optim.SGD),
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("rmsprop", torch.optim.RMSprop),
    ],
)
def test_kinds(name, kind):
    made = optimizer(nn.Linear(2, 2), run.Optim(name=name, lr=0.3, momentum=0.8, weight_decay=0.1))
    assert type(made) is kind
    group = made.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.3, 0.1)
    assert (group["betas"][0] if "betas" in group else group["momentum"]) == 0.8


def test_biases_and_norms_can_be_spared_from_decay():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 3))
    groups = optimizer(net, run.Optim(weight_decay=0.1, decay_bias=False)).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert [sorted({parameter.ndim for parameter in group["params"]}) for group in groups] == [[2, 4], [1]]
    assert sum(len(group["params"]) for group in groups) == 6


def test_what_cannot_be_trained_is_said():
    with pytest.raises(ConvatlasError, match="unfreeze"):
        optimizer(nn.Linear(2, 2).requires_grad_(False), run.Optim())
    with pytest.raises(ConvatlasError, match="nesterov needs sgd"):
        optimizer(nn.Linear(2, 2), run.Optim(name="adam", nesterov=True))
