import math

import pytest
import torch

from convatlas import run
from convatlas.engine.schedule import Plateau, learning_rate

START = Plateau()


def rates(schedule, epochs, steps, plateau=START):
    def rate(epoch, step):
        return learning_rate(schedule, 0.8, epoch=epoch, step=step, steps=steps, epochs=epochs, plateau=plateau)

    return [[rate(epoch, step) for step in range(steps)] for epoch in range(epochs)]


def test_constant():
    assert rates(run.Schedule(), 2, 2) == [[0.8, 0.8], [0.8, 0.8]]


def firsts(schedule, epochs, base, steps=3):
    """The rate at the beginning of each epoch."""
    return [learning_rate(schedule, base, epoch=epoch, step=0, steps=steps, epochs=epochs, plateau=START)
            for epoch in range(epochs)]


def test_lenet5s_five_steps():
    schedule = run.Schedule(name="steps", steps=((2, 0.4), (5, 0.2), (8, 0.1), (12, 0.02)))
    assert firsts(schedule, 20, 5e-4) == pytest.approx([5e-4] * 2 + [2e-4] * 3 + [1e-4] * 3 + [5e-5] * 4 + [1e-5] * 8)


def test_cifar_resnets_iterations():
    # He et al. 2016: 64 000 steps of 128 images, a tenth from step 32 000, a hundredth from 48 000; 391 steps an epoch
    # here
    schedule = run.Schedule(name="steps", steps=((32_000 / 391, 0.1), (48_000 / 391, 0.01)))

    def at(done):
        return learning_rate(schedule, 0.1, epoch=done // 391, step=done % 391, steps=391, epochs=164, plateau=START)

    assert [at(done) for done in (0, 31_999, 32_000, 47_999, 48_000, 63_999)] == pytest.approx([0.1, 0.1, 0.01,
                                                                                                0.01, 0.001, 0.001])


def test_inceptions_falls():
    schedule = run.Schedule(name="exponential", factor=0.94, every=2)
    expected = [0.045, 0.045, 0.0423, 0.0423, 0.039762, 0.039762]
    assert firsts(schedule, 6, 0.045) == pytest.approx(expected)


def test_googlenets_falls():
    found = firsts(run.Schedule(name="exponential", factor=0.96, every=8), 17, 0.01)
    assert found == pytest.approx([0.01] * 8 + [0.0096] * 8 + [0.009216])


def test_mobilenets_falls_with_and_without_stairs():
    schedule = run.Schedule(name="exponential", factor=0.98)
    assert rates(schedule, 3, 2) == [pytest.approx([0.8 * factor] * 2) for factor in (1, 0.98, 0.9604)]
    smooth = [rate for row in rates(schedule.model_copy(update={"staircase": False}), 3, 2) for rate in row]
    assert smooth == pytest.approx([0.8 * 0.98 ** (t / 2) for t in range(6)])


def test_stairs_are_not_late_by_a_rounding_error():
    schedule = run.Schedule(name="exponential", factor=0.5, every=0.1)      # 0.1 · 30 is a little more than 3
    assert rates(schedule, 1, 30)[0][2:4] == pytest.approx([0.8, 0.4])


def test_warm_up_rises_every_step_and_multiplies_the_schedule():
    schedule = run.Schedule(name="steps", steps=((1, 0.5),), warmup_epochs=1.5)
    expected = [[0.8 / 6, 1.6 / 6, 2.4 / 6, 3.2 / 6], [2.0 / 6, 0.4, 0.4, 0.4]]
    torch.testing.assert_close(torch.tensor(rates(schedule, 2, 4)), torch.tensor(expected))


def test_warm_up_from_a_share_of_the_rate():
    linear = run.Schedule(warmup_epochs=1, warmup_from=0.2)
    assert rates(linear, 2, 4) == [pytest.approx([0.32, 0.48, 0.64, 0.8]), pytest.approx([0.8] * 4)]
    constant = run.Schedule(warmup_epochs=1.25, warmup_from=0.1, warmup="constant")
    assert rates(constant, 2, 4) == [pytest.approx([0.08] * 4), pytest.approx([0.08, 0.8, 0.8, 0.8])]


def test_cosine_falls_every_step_towards_zero():
    flat = [rate for row in rates(run.Schedule(name="cosine"), 2, 4) for rate in row]
    assert flat == pytest.approx([0.4 * (1 + math.cos(math.pi * t / 8)) for t in range(8)])
    end = learning_rate(run.Schedule(name="cosine"), 0.8, epoch=2, step=0, steps=4, epochs=2, plateau=START)
    assert end == pytest.approx(0, abs=1e-12)


def test_cosine_starts_where_warm_up_ends():
    flat = [rate for row in rates(run.Schedule(name="cosine", warmup_epochs=1), 3, 2) for rate in row]
    assert flat[:3] == pytest.approx([0.4, 0.8, 0.8])
    assert flat[3:] == sorted(flat[3:], reverse=True)


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (run.Schedule(name="linear"), [1, 0.75, 0.5, 0.25]),
        (run.Schedule(name="linear", final=0.2), [1, 0.8, 0.6, 0.4]),
        (run.Schedule(name="poly", power=2), [1, 0.5625, 0.25, 0.0625]),
        (run.Schedule(name="poly", power=0.5, final=0.5),
         [1, *(0.5 + 0.5 * math.sqrt(left) for left in (0.75, 0.5, 0.25))]),
        (run.Schedule(name="cosine", final=0.5), [1, *(0.75 + 0.25 * math.cos(math.pi * t / 4) for t in (1, 2, 3))]),
    ],
)
def test_falls_towards_final(schedule, factors):
    assert [rate / 0.8 for row in rates(schedule, 2, 2) for rate in row] == pytest.approx(factors)


def test_plateau_waits_reduces_and_stops_reducing():
    schedule = run.Schedule(name="plateau", patience=2, reductions=2, factor=0.5)
    state, factors = START, []
    for accuracy in (0.5, 0.6, 0.6, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7):
        state = state.after(accuracy, schedule)
        factors.append(rates(schedule, 1, 1, state)[0][0] / 0.8)
    assert factors == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]
