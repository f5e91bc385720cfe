import csv
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import engine_toys
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from convatlas import run
from convatlas.data import Loader, Subset, make_transform, open_data
from convatlas.engine.distributed import World, world
from convatlas.engine.evaluate import evaluate
from convatlas.engine.interrupt import Interrupt
from convatlas.engine.records import COLUMNS, Records, read_rows
from convatlas.engine.train import fit
from convatlas.errors import ConvatlasError

HERE = World(0, 1, torch.device("cpu"))
CLOCKS = ("images_per_second", "seconds")       # the columns of metrics.csv that differ from one run to the next


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def same_tensors(a, b):
    a, b = load_file(a), load_file(b)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def curves(folder):
    return [untimed(row) for row in read_rows(folder / "metrics.csv")]


def untimed(row):
    return {key: value for key, value in row.items() if key not in CLOCKS}


def newest(folder):
    return sorted((folder / "checkpoints").glob("step-*"))[-1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody disturbs: BatchNorm, dropout, random noise on the images."""
    folder = tmp_path_factory.mktemp("whole")
    model, outcome = engine_toys.train(folder, HERE)
    return folder, model, outcome


def test_an_undisturbed_run(whole):
    folder, _, outcome = whole
    assert (outcome.epochs, outcome.interrupted, outcome.skipped) == (3, False, 0)
    rows = read_rows(folder / "metrics.csv")
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 6), (2, 12), (3, 18)]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert outcome.best["val_top1"] == pytest.approx(max(row["val_top1"] for row in rows))
    assert outcome.best_epoch == outcome.best["epoch"]
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-00000018"]
    with (folder / "metrics.csv").open() as file:
        assert tuple(next(csv.reader(file))) == COLUMNS
    names = {path.name for path in folder.rglob("*") if path.is_file() and "events.out" not in path.name}
    assert names == {"metrics.csv", "model.safetensors", "state.json", "state.safetensors"}
    state = json.loads((newest(folder) / "state.json").read_text())
    assert [state[key] for key in ("format", "epoch", "step", "global_step", "world")] == [1, 3, 0, 18, 1]


def test_tensorboard_has_the_same_figures(whole):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = whole[0]
    events = EventAccumulator(str(folder / "tb"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"train/loss", "train/top1", "val/loss", "val/top1", "val/top5", "lr"}
    rows = read_rows(folder / "metrics.csv")
    shown = [(event.step, event.value) for event in events.Scalars("val/loss")]
    assert shown == [(row["step"], pytest.approx(row["val_loss"])) for row in rows]


@pytest.mark.parametrize("stop", [0, 3, 5, 8, 17])
def test_stopped_and_resumed_equals_undisturbed(whole, tmp_path, stop):
    folder, model, outcome = whole
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    _, first = engine_toys.train(tmp_path, HERE, stop=stop)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert first.interrupted
    assert first.epochs == stop // 6
    torch.manual_seed(999)      # whatever happened in between
    torch.rand(5)
    resumed, second = engine_toys.train(tmp_path, HERE, resume=True)
    assert not second.interrupted
    assert same_weights(model, resumed)
    assert same_tensors(newest(folder) / "state.safetensors", newest(tmp_path) / "state.safetensors")
    assert same_tensors(folder / "model.safetensors", tmp_path / "model.safetensors")
    assert curves(folder) == curves(tmp_path)
    assert untimed(second.best) == untimed(outcome.best)


@pytest.mark.parametrize(
    "over",
    [
        {"optim__name": "adamw", "optim__decay_bias": False, "schedule__name": "cosine", "schedule__warmup_epochs": 1},
        {"optim__name": "rmsprop", "optim__lr": 0.003, "schedule__name": "plateau", "schedule__patience": 1},
        # accuracy stalls, the rate falls
        {"optim__lr": 1e-9, "schedule__name": "plateau", "schedule__patience": 1},
        {"train__channels_last": True, "optim__name": "adam", "optim__lr": 0.01},
        {"train__amp": "bf16", "optim__clip_grad": 0.5, "optim__momentum": 0.0},
        {"net": "frozen", "loss__name": "map", "optim__nesterov": True},
    ],
    ids=lambda over: "-".join(str(value) for value in over.values()),
)
def test_resume_is_exact_for_every_optimiser_and_layout(tmp_path, over):
    model, _ = engine_toys.train(tmp_path / "whole", HERE, **over)
    engine_toys.train(tmp_path / "halves", HERE, stop=9, **over)
    resumed, _ = engine_toys.train(tmp_path / "halves", HERE, resume=True, **over)
    assert same_weights(model, resumed)
    assert curves(tmp_path / "whole") == curves(tmp_path / "halves")


def test_the_figures_of_an_epoch_are_means_over_its_images(tmp_path):
    still = {"net": "plain", "noise": 0.0, "optim__lr": 1e-12, "optim__momentum": 0.0}
    model, _ = engine_toys.train(tmp_path, HERE, **still)
    seen = evaluate(model, engine_toys.Loader(engine_toys.Pictures(90, seed=1), 7), run.Loss(), HERE,
                    engine_toys.CLASSES)
    for row in read_rows(tmp_path / "metrics.csv"):
        assert row["train_loss"] == pytest.approx(seen.loss, rel=1e-6)
        assert row["train_top1"] == pytest.approx(seen.top1)
    assert seen.predictions.equal(model(engine_toys.Pictures(90, seed=1).pixels).argmax(dim=1))
    assert seen.confusion.sum() == seen.count == 90


def test_half_a_row_is_none(tmp_path):
    """A crash may cut off the last figure's last digits, and all columns are there."""
    row = dict.fromkeys(COLUMNS, 1.5)
    with Records(tmp_path, 0, 0) as book:
        for seconds in (1234.5, 2345.6):
            book.write({**row, "seconds": seconds})
    path = tmp_path / "metrics.csv"
    for cut, seconds in ((0, [1234.5, 2345.6]), (3, [1234.5]), (20, [1234.5])):
        content = path.read_bytes()
        (tmp_path / "cut.csv").write_bytes(content[:len(content) - cut])
        assert [row["seconds"] for row in read_rows(tmp_path / "cut.csv")] == seconds


def test_stopped_during_validation(whole, tmp_path):
    folder, model, _ = whole
    _, first = engine_toys.train(tmp_path, HERE, stop_val=1)
    assert first.interrupted
    assert (first.epochs, first.best_epoch) == (0, 0)
    assert newest(tmp_path).name == "step-00000006"
    assert read_rows(tmp_path / "metrics.csv") == []
    resumed, _ = engine_toys.train(tmp_path, HERE, resume=True)
    assert same_weights(model, resumed)
    assert curves(folder) == curves(tmp_path)


def test_rows_after_the_checkpoint_are_written_anew(whole, tmp_path):
    folder, _, _ = whole
    engine_toys.train(tmp_path, HERE, stop=8)
    tally = load_file(newest(tmp_path) / "state.safetensors")["tally"]
    assert tally[:, 2].tolist() == [3 * 16]     # images of the second epoch, not of the first
    with (tmp_path / "metrics.csv").open("a") as file:      # as if it died between the row and the checkpoint
        file.write("2,12,0.05,9,9,9,9,9,9,9\n3,18,0.05,9")
    engine_toys.train(tmp_path, HERE, resume=True)
    assert curves(folder) == curves(tmp_path)


def test_killed_at_any_moment_and_resumed(whole, tmp_path):
    folder, model, _ = whole
    # Many checkpoints, so that the kill often comes while one is written.
    jobs = [[str(tmp_path), {"train__checkpoint_minutes": 1e-6, "train__keep": 2}]]
    command = [sys.executable, engine_toys.__file__, json.dumps(jobs)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline and not list(tmp_path.glob("checkpoints/step-*")):
        time.sleep(0.002)
    time.sleep(random.Random().uniform(0, 0.05))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    resumed, outcome = engine_toys.train(tmp_path, HERE, resume=True)
    assert outcome.epochs == 3
    assert same_weights(model, resumed)
    assert curves(folder) == curves(tmp_path)


def test_killed_before_the_first_checkpoint_starts_again(whole, tmp_path):
    _, model, _ = whole
    notes = engine_toys.Notes()
    resumed, _ = engine_toys.train(tmp_path, HERE, resume=True, watch=notes)
    assert "starts from the first step" in notes.told[0]
    assert same_weights(model, resumed)


def damage(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: damage(path / "state.safetensors"),
        lambda path: os.truncate(path / "state.safetensors", 100),
        lambda path: (path / "state.safetensors").unlink(),
        lambda path: (path / "state.json").write_text("{"),
        lambda path: (path / "state.json").write_text("[]"),
        lambda path: (path / "state.json").write_text('{"format": 1}'),
    ],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(whole, tmp_path, harm):
    _, model, _ = whole
    engine_toys.train(tmp_path, HERE, stop=8, train__keep=2)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000006", "step-00000009"]
    harm(newest(tmp_path))
    notes = engine_toys.Notes()
    resumed, _ = engine_toys.train(tmp_path, HERE, resume=True, watch=notes, train__keep=2)
    assert "step-00000009' is damaged" in notes.told[0]
    assert "using an older one" in notes.told[0]
    assert same_weights(model, resumed)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000012", "step-00000018"]


def test_a_damaged_newer_checkpoint_does_not_outlive_a_good_one(tmp_path):
    engine_toys.train(tmp_path, HERE, stop=8, train__keep=2)
    damage(newest(tmp_path) / "state.safetensors")
    engine_toys.train(tmp_path, HERE, resume=True, stop=1)      # from step 6; stopped at step 8, before 9
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000008"]
    _, outcome = engine_toys.train(tmp_path, HERE, resume=True)
    assert outcome.epochs == 3


def test_no_usable_checkpoint_is_an_error(tmp_path):
    engine_toys.train(tmp_path, HERE, stop=2)
    damage(newest(tmp_path) / "state.safetensors")
    with pytest.raises(ConvatlasError, match=r"no checkpoint can be used: .*checksum"):
        engine_toys.train(tmp_path, HERE, resume=True)


def test_a_checkpoint_of_a_newer_format_names_it(tmp_path):
    engine_toys.train(tmp_path, HERE, stop=2)
    path = newest(tmp_path) / "state.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(ConvatlasError, match="format 99"):
        engine_toys.train(tmp_path, HERE, resume=True)


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"train__seed": 5}, "seed = 0, this run has 5"),
        ({"data__batch_size": 10}, "steps_per_epoch = 6, this run has 9"),
        ({"optim__name": "adam"}, "optim = 'sgd', this run has 'adam'"),
        ({"net": "plain"}, r"another network: '1\.\w+' is .* there and absent here"),
    ],
)
def test_a_checkpoint_that_does_not_fit(tmp_path, over, said):
    engine_toys.train(tmp_path, HERE, stop=2)
    with pytest.raises(ConvatlasError, match=said):
        engine_toys.train(tmp_path, HERE, resume=True, **over)


def test_the_days_clock_may_jump(whole, tmp_path, monkeypatch):
    """Back by a day, on by a month, at every look."""
    jumps = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: 1.7e9
                        + (-1) ** next(jumps) * 86_400.0 * random.Random(next(jumps)).randrange(30))
    model, outcome = engine_toys.train(tmp_path, HERE, train__checkpoint_minutes=0.001)
    assert same_weights(whole[1], model) and curves(whole[0]) == curves(tmp_path)
    seconds = [row["seconds"] for row in read_rows(tmp_path / "metrics.csv")]
    assert 0 < seconds[0] < seconds[1] < seconds[2] < 600 and outcome.seconds < 600


def test_a_finished_run_is_not_begun_again_by_mistake(whole):
    folder, model, outcome = whole
    with pytest.raises(ConvatlasError, match="step-00000018 of an earlier run"):
        engine_toys.train(folder, HERE)
    resumed, again = engine_toys.train(folder, HERE, resume=True)
    assert same_weights(model, resumed)
    assert (again.epochs, again.best) == (outcome.epochs, outcome.best)


class Explodes(nn.Module):
    """A network whose scores are not numbers from its n-th training step on."""

    def __init__(self, step):
        super().__init__()
        self.net, self.left = engine_toys.network("noisy"), step

    def forward(self, x):
        self.left -= self.training
        return self.net(x) * (1.0 if self.left > 0 else torch.nan)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_earlier_checkpoint(tmp_path):
    notes = engine_toys.Notes()
    said = r"the loss is not a finite number in epoch 2, step 4 of 6, at learning rate 0\.05; lower --lr"
    with pytest.raises(ConvatlasError, match=said):
        engine_toys.train(tmp_path, HERE, model=Explodes(10), watch=notes)
    assert newest(tmp_path).name == "step-00000006"
    assert all(tensor.isfinite().all() for tensor in load_file(newest(tmp_path) / "state.safetensors").values())
    assert notes.closed


def test_weights_that_are_not_finite_never_reach_a_checkpoint(tmp_path):
    class Poisoned(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.steps = engine_toys.network("plain"), 0
            self.net[0].weight.register_hook(self.poison)

        def poison(self, grad):
            self.steps += 1
            return grad * torch.nan if self.steps == 3 else grad

        def forward(self, x):
            return self.net(x)

    with pytest.raises(ConvatlasError, match="a weight is not a finite number in epoch 1, step 3"):
        engine_toys.train(tmp_path, HERE, model=Poisoned(), stop=2)
    assert not (tmp_path / "checkpoints").exists()


def test_a_second_ctrl_c_is_obeyed_at_once():
    with pytest.raises(KeyboardInterrupt), Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.asked
        signal.raise_signal(signal.SIGINT)
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.asked


def test_training_in_a_thread_leaves_signals_alone(whole, tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(engine_toys.train(tmp_path, HERE)))
    thread.start()
    thread.join()
    assert same_weights(results[0][0], whole[1])


def test_the_watch_hears_of_everything(tmp_path):
    notes = engine_toys.Notes()
    engine_toys.train(tmp_path, HERE, watch=notes)
    assert notes.steps[0][:3] == (1, 1, 16) or notes.steps[0][:2] == (1, 6)
    assert [step[:3] for step in notes.steps if step[1] == 6] == [(1, 6, 90), (2, 6, 90), (3, 6, 90)]
    assert [row["train_loss"] for row in notes.rows] == [step[3] for step in notes.steps if step[1] == 6]
    assert notes.closed


def test_unwritable_places_are_named(tmp_path):
    (tmp_path / "metrics.csv").mkdir()
    with pytest.raises(ConvatlasError, match=r"cannot write .*metrics\.csv"):
        engine_toys.train(tmp_path, HERE)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "checkpoints").write_text("in the way")
    with pytest.raises(ConvatlasError, match="cannot write a checkpoint of step 3"):
        engine_toys.train(tmp_path / "other", HERE, stop=2)


def test_devices_that_are_not_there_are_named(monkeypatch):
    with world("cpu") as here:
        assert here == HERE
        assert here.main
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with world("auto") as here:
        assert here.device.type == "cpu"
    with pytest.raises(ConvatlasError, match="finds no cuda device here; this machine has cpu"), world("cuda"):
        pass
    with pytest.raises(ConvatlasError, match="finds no mps device"), world("mps"):
        pass


@pytest.mark.parametrize(("processes", "over", "said"), [
    (1, {"train__sync_bn": True}, "train.sync_bn needs GPUs"),
    (2, {"optim__name": "lm", "optim__momentum": 0.0}, "in one process; start it without torchrun"),
    (1, {"optim__name": "lm", "optim__momentum": 0.0, "train__compile": True}, "train.compile hides them"),
    (1, {"optim__name": "lm", "optim__momentum": 0.0, "train__unfreeze": [[1, "0"]]}, "leave train.unfreeze out"),
    (2, {"sparse__sparsity": 0.5, "train__parallel": "fsdp"}, "use --parallel ddp"),
    (2, {"train__freeze": ["0"], "train__unfreeze": [[1, "0"]], "train__parallel": "fsdp"}, "use --parallel ddp"),
])
def test_what_does_not_go_together_is_refused_before_anything_is_done(tmp_path, processes, over, said):
    with pytest.raises(ConvatlasError, match=said):
        engine_toys.train(tmp_path, World(0, processes, torch.device("cpu")), **over)
    assert not list(tmp_path.iterdir())


def test_the_loader_of_the_data_package(tmp_path):
    source = open_data(run.Data())
    part = Subset(source.train, torch.arange(100))
    augment = run.Augment(crop="random", padding=2, flip=0.5)

    def train(folder, stop=None, resume=False):
        loaders = [
            Loader(part, make_transform(run.Preprocess(crop_pct=1.0), 8, 1, augment), 24, shuffle=True),
            Loader(source.val, make_transform(run.Preprocess(crop_pct=1.0), 8, 1), 256),
        ]
        (tmp_path / folder).mkdir(exist_ok=True)
        net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Dropout(),
                            nn.Linear(216, 10))
        watch = Stops(stop) if stop else engine_toys.Silent()
        config = engine_toys.settings(train__checkpoint_minutes=1e-6)
        kept = {"save_best": lambda state, row: None, "watch": watch, "resume": resume}
        return net, fit(net, *loaders, config, tmp_path / folder, world=HERE, num_classes=10, **kept)

    torch.manual_seed(3)
    whole, _ = train("whole")
    torch.manual_seed(3)
    _, first = train("halves", stop=2)
    assert (first.interrupted, first.epochs) == (True, 1)
    resumed, _ = train("halves", resume=True)
    assert same_weights(whole, resumed)


class Stops(engine_toys.Silent):
    """A Watch that wishes to stop in epoch `epoch`; once, for the second time is an order."""

    def __init__(self, epoch):
        self.wanted = epoch

    def step(self, epoch, step, images, loss, accuracy, images_per_second):
        if epoch == self.wanted:
            self.wanted = None
            signal.raise_signal(signal.SIGINT)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_resume_on_a_gpu(tmp_path):
    here = World(0, 1, torch.device("cuda", 0))
    torch.backends.cudnn.deterministic = True
    model, _ = engine_toys.train(tmp_path / "whole", here)
    engine_toys.train(tmp_path / "halves", here, stop=9)
    resumed, _ = engine_toys.train(tmp_path / "halves", here, resume=True)
    assert same_weights(model, resumed)
