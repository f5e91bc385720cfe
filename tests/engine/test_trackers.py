"""Trackers with the real libraries, on this machine only; and that their failures do not stop training."""

import struct
import time

import pytest

from convatlas.engine import trackers
from convatlas.engine.trackers import Guarded, Watches, tracked
from convatlas.engine.watch import Silent
from convatlas.errors import ConvatlasError
from convatlas.run import Optim, Run


class Heard(Silent):
    """Keeps what it hears; fails where told to."""

    def __init__(self, fails=()):
        self.words, self.fails = [], fails

    def _hear(self, *words):
        self.words.append(words)
        if words[0] in self.fails:
            raise OSError("the network is gone")

    def start(self, run, folder, first_epoch, steps):
        self._hear("start", first_epoch)

    def step(self, *counts):
        self._hear("step", *counts)

    def validating(self, done, steps):
        self._hear("validating", done, steps)

    def epoch(self, row):
        self._hear("epoch", row["epoch"])

    def tell(self, text):
        self._hear("tell", text)

    def close(self):
        self._hear("close")


def session(watch, folder, first_epoch=1, epochs=2, run=None):
    watch.start(run or Run(), folder, first_epoch, 10)
    for epoch in range(first_epoch, first_epoch + epochs):
        watch.epoch({"epoch": epoch, "step": 10 * epoch, "val_top1": epoch / 8, "val_loss": 1 / epoch})
    watch.close()


def test_watches_pass_everything_on_in_order(tmp_path):
    both = Heard(), Heard()
    watch = Watches(both)
    watch.start(Run(), tmp_path, 3, 10)
    watch.step(3, 1, 16, 0.5, 0.5, 100.0)
    watch.validating(1, 2)
    watch.epoch({"epoch": 3})
    watch.tell("a word")
    watch.close()
    assert both[0].words == both[1].words
    assert [words[0] for words in both[0].words] == ["start", "step", "validating", "epoch", "tell", "close"]


def test_no_tracker_no_wrapper():
    watch = Silent()
    assert tracked(watch, ()) is watch


@pytest.mark.parametrize("where", ["epoch", "close"])
def test_a_failure_is_told_once_and_training_goes_on(tmp_path, where):
    tracker, user = Heard(fails=(where,)), Heard()
    session(Guarded("wandb", tracker, user), tmp_path, epochs=3)
    assert [text for _, text in user.words] == [
        "wandb fails (OSError: the network is gone): training goes on without it, metrics.csv has everything."]
    assert [words[0] for words in tracker.words].count("epoch") == (1 if where == "epoch" else 3)


def test_a_new_run_that_cannot_be_tracked_stops_a_resumed_one_does_not(tmp_path):
    user = Heard()
    with pytest.raises(ConvatlasError, match=r"wandb cannot begin: OSError: the network is gone; .*WANDB_MODE=offline"):
        Guarded("wandb", Heard(fails=("start",)), user).start(Run(), tmp_path, 1, 10)
    session(Guarded("wandb", Heard(fails=("start",)), user), tmp_path, first_epoch=2)
    assert len(user.words) == 1


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_an_absent_library_is_named_with_what_to_install(monkeypatch, name):
    monkeypatch.setattr(trackers, "find_spec", lambda module: None)
    with pytest.raises(ConvatlasError, match=rf"uv pip install -e '.\[{name}\]'"):
        tracked(Silent(), (name,))


def test_mlflow_keeps_a_local_run_over_two_sessions(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="MLflow is an extra")
    pytest.importorskip("sqlalchemy", reason="MLflow's local store needs SQLAlchemy")
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "my run"
    folder.mkdir(parents=True)
    for first in (1, 3):
        session(tracked(Silent(), ("mlflow",)), folder, first, run=Run(optim=Optim(lr=0.25)))
    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("convatlas").experiment_id])
    assert (folder / "track" / "mlflow.txt").read_text().strip() == found.info.run_id
    assert (found.info.run_name, found.info.status, found.data.params["optim.lr"]) == ("my run", "FINISHED", "0.25")
    history = client.get_metric_history(found.info.run_id, "val_top1")
    assert [(point.step, point.value) for point in history] == [(10, 1 / 8), (20, 2 / 8), (30, 3 / 8), (40, 4 / 8)]
    assert not (tmp_path / "mlruns").exists()


def test_wandb_writes_offline_and_goes_on_under_the_same_id(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="W&B is an extra")
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "my run"
    folder.mkdir()
    for first in (1, 3):
        session(tracked(Silent(), ("wandb",)), folder, first, run=Run(optim=Optim(lr=0.25)))
        time.sleep(1.1)         # W&B names its folders by the second
    known = (folder / "track" / "wandb.txt").read_text().strip()
    logs = sorted((folder / "track" / "wandb").glob(f"offline-run-*-{known}/run-{known}.wandb"))
    assert known.startswith("my-run-") and len(logs) == 2
    assert [steps(log) for log in logs] == [[10, 20], [30, 40]]


def steps(log):
    """The optimiser steps in W&B's own file: seven bytes, then LevelDB's log of records in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole, found = log.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:                      # too little room for a header: filled up
            at += 32768 - at % 32768
            continue
        # after the checksum; 1 whole, 2 first, 3 middle, 4 last
        length, kind = struct.unpack_from("<HB", data, at + 4)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record, whole = Record.FromString(whole), b""
            if record.HasField("history"):
                found += [int(item.value_json) for item in record.history.item
                          if (item.key or ".".join(item.nested_key)) == "step"]
    return found
