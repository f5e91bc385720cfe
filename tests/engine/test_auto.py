"""--auto: what it chooses from given measurements, and a real one of a small network."""

from collections.abc import Callable, Sequence

import pytest
import torch

from convatlas import create_model
from convatlas.engine import allocator, auto
from convatlas.engine.auto import Measured, Trials, choose, fault_seconds
from convatlas.run import Optim, Run, Train

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def fake(tried: list[Train], *, layout: float = 1.0, amp: float = 1.0, compiled: float = 1.0, loss: float = 2.0,
         faults: float = 0) -> Callable[[Sequence[Train]], list[Measured]]:
    """A second a step, divided by what each setting gains; `loss` is bf16's, fp32's is 2."""
    def measure(settings: Sequence[Train]) -> list[Measured]:
        tried.extend(settings)
        return [one(train) for train in settings]

    def one(train: Train) -> Measured:
        gain = (layout if train.channels_last else 1) * (amp if train.amp == "bf16"
                                                         else 1) * (compiled if train.compile else 1)
        return Measured(1 / gain, (2.0, loss if train.amp == "bf16" else 2.0), faults)

    return measure


@pytest.fixture(autouse=True)
def _unchanged_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "keep", lambda: True)
    monkeypatch.setattr(allocator, "has_glibc", lambda: True)
    monkeypatch.setattr(auto, "fault_seconds", lambda: 1e-6)


def chosen(device: torch.device = CPU, train: Train | None = None,
           **gains: float) -> tuple[Train, list[Train], list[str]]:
    tried: list[Train] = []
    told: list[str] = []
    run = Run(train=train or Train())
    found = choose(lambda: pytest.fail("nothing is built"), run, 64, device, told.append, fake(tried, **gains))
    return found, tried, told


@pytest.mark.parametrize("gains, want", [
    ({}, {"channels_last": False, "amp": "off", "allocator": "system"}),
    ({"layout": 1.2}, {"channels_last": True}),
    ({"layout": 1.02}, {"channels_last": False}),
    ({"layout": 0.5, "amp": 2.0}, {"channels_last": False, "amp": "bf16"}),
    ({"amp": 1.16}, {"amp": "bf16"}),
    ({"amp": 1.14}, {"amp": "off"}),
    ({"amp": 3.0, "loss": 2.039}, {"amp": "bf16"}),
    ({"amp": 3.0, "loss": 2.041}, {"amp": "off"}),
    ({"amp": 3.0, "loss": 1.959}, {"amp": "off"}),
    ({"amp": 3.0, "loss": float("nan")}, {"amp": "off"}),
    ({"faults": 30_000}, {"allocator": "keep"}),
    ({"faults": 15_000}, {"allocator": "system"}),
])
def test_choices_on_the_cpu(gains: dict[str, float], want: dict[str, object]) -> None:
    found, tried, told = chosen(**gains)
    assert {key: getattr(found, key) for key in want} == want
    assert not any(train.compile for train in tried), "compiling takes longer than trials may"
    assert [text.split(":")[0] for text in told] == ["allocator", "channels_last", "amp bf16"]


@pytest.mark.parametrize("gain, on", [(1.2, True), (1.05, False)])
def test_compiles_on_cuda_where_it_pays(gain: float, on: bool) -> None:
    found, _, told = chosen(CUDA, compiled=gain)
    assert found.compile is on and found.allocator == "auto"
    assert told[-1] == f"compile: {1000 / gain:.3g} ms a step instead of 1e+03 ({gain:.2f}×): {'on' if on else 'off'}."


def test_each_question_builds_on_the_answers_before() -> None:
    found, tried, _ = chosen(CUDA, layout=1.5, amp=2.0, compiled=1.5)
    assert [(train.channels_last, train.amp, train.compile) for train in tried] == [
        (False, "off", False), (True, "off", False),
        (True, "off", False), (True, "bf16", False),
        (True, "bf16", False), (True, "bf16", True),
    ]
    assert found == tried[-1]


def test_what_the_run_sets_is_not_tried() -> None:
    train = Train(channels_last=False, amp="bf16", compile=True, allocator="system")
    assert chosen(CUDA, train) == (train, [], [])


def small_run() -> Run:
    return Run(train=Train(device="cpu"))


def test_really_measures_and_leaves_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "SECONDS", 0.05)
    told: list[str] = []
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run = small_run()
    found = choose(lambda: create_model("lenet5"), run, 4, CPU, told.append)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(told) == 3 and all("×" in text for text in told[1:])
    changed = {"channels_last", "amp", "allocator"}
    assert (found.channels_last is not None
            and found.model_dump(exclude=changed) == run.train.model_dump(exclude=changed))


def test_a_trial_is_the_loops_step() -> None:
    """Equal settings give equal losses, also with dropout, which fall; bf16's are others."""
    run = Run(optim=Optim(lr=5.0))
    trials = Trials(lambda: create_model("mobilenet_v2_035", image_size=32, drop_rate=0.5), run, 8, CPU, print, 0.01)
    first, again, half = trials([Train(), Train(), Train(amp="bf16")])
    assert first.losses == again.losses != half.losses
    assert first.losses[-1] < first.losses[0]
    assert first.seconds > 0 and len(first.losses) == auto.STEPS


def test_a_page_fault_takes_some_time() -> None:
    assert 1e-8 < fault_seconds() < 1e-3


def test_large_batches_are_tried_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "WORK", 10 * 416_520)
    told: list[str] = []
    assert Trials(lambda: create_model("lenet5_modern"), small_run(), 64, CPU, told.append).batch == 10
    assert told == ["--auto measures with 10 of the 64 images of a batch."]
