"""Experiment trackers (`train.track`): Weights & Biases and MLflow. Both work offline, and neither stops training.

A tracker keeps its run's id in the run folder, under track/, so that a resumed run goes on in the same place. What
these libraries would send or collect besides the metrics is switched off, where they have a switch, unless the user has
set it.
"""

import os
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import bounded
from ..errors import ConvatlasError, installing
from ..files import put
from ..run import Run
from .watch import Silent, Watch

HOME = "track"              # in the run folder: ids, and W&B's own files
PROJECT = "convatlas"       # where neither WANDB_PROJECT nor MLFLOW_EXPERIMENT_NAME says otherwise
QUIET = {                   # read by the libraries when they are imported
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_CONSOLE": "off",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_SILENT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
BATCH = 100                 # parameters that MLflow takes at once
LONGEST = 500               # characters of a parameter's value that every MLflow store takes


class WandB(Silent):
    """Weights & Biases: the whole configuration, a row per epoch; WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY as set by the
    user.
    """

    def __init__(self) -> None:
        _need("wandb", "wandb")
        self._run: Any = None

    def start(self, run: Run, folder: Path, first_epoch: int, steps: int) -> None:
        """Begin the run under the folder's name, or go on in it."""
        import wandb

        name = re.sub(r"[^\w-]", "-", folder.resolve().name)[:48]
        known = _stored(folder, "wandb") or _store(folder, "wandb", f"{name}-{uuid.uuid4().hex[:8]}")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT), name=folder.resolve().name, id=known, resume="allow",
            dir=str(folder / HOME), config=run.model_dump(mode="json"), allow_val_change=True,      # epochs may change
            settings=wandb.Settings(x_disable_meta=True, x_disable_machine_info=True),
        )
        self._run.define_metric("val_top1", summary="max")
        self._run.define_metric("val_loss", summary="min")

    def epoch(self, row: Mapping[str, float]) -> None:
        """One row, at its optimiser step."""
        self._run.log(dict(row), step=int(row["step"]))

    def close(self) -> None:
        """Hand over what is left, and end the session."""
        if self._run is not None:
            self._run.finish()
            self._run = None


class MLflow(Silent):
    """MLflow: the configuration as parameters, a point per epoch and column.

    Where MLFLOW_TRACKING_URI is not set: mlflow.db (SQLite) beside the run folder, which `mlflow ui
    --backend-store-uri` shows.
    """

    def __init__(self) -> None:
        _need("mlflow", "mlflow")
        if "MLFLOW_TRACKING_URI" not in os.environ:
            _need("sqlalchemy", "mlflow")       # of mlflow, but not of mlflow-skinny
        self._client: Any = None
        self._id = ""

    def start(self, run: Run, folder: Path, first_epoch: int, steps: int) -> None:
        """Begin the run under the folder's name, or go on in it."""
        from mlflow import MlflowClient

        home = folder.resolve().parent
        address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(home / 'mlflow.db').as_posix()}"
        client, self._id = MlflowClient(tracking_uri=address), _stored(folder, "mlflow")
        if self._id:
            # parameters cannot change in MLflow: the first session's stay
            client.update_run(self._id, status="RUNNING")
        else:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            local = (home / "mlruns").as_uri() if "MLFLOW_TRACKING_URI" not in os.environ else None
            experiment = client.get_experiment_by_name(name)
            where = experiment.experiment_id if experiment else client.create_experiment(name, artifact_location=local)
            self._id = _store(folder, "mlflow", client.create_run(where, run_name=folder.resolve().name).info.run_id)
            self._describe(client, run)
        self._client = client

    def _describe(self, client: Any, run: Run) -> None:
        from mlflow.entities import Param

        params = [Param(name, str(value)[:LONGEST]) for name, value in _leaves(run.model_dump(mode="json"))]
        for first in range(0, len(params), BATCH):
            client.log_batch(self._id, params=params[first : first + BATCH])

    def epoch(self, row: Mapping[str, float]) -> None:
        """One row, at its optimiser step."""
        from mlflow.entities import Metric

        now = round(time.time() * 1000)
        self._client.log_batch(self._id, metrics=[Metric(name, value, now, int(row["step"]))
                                                  for name, value in row.items()])

    def close(self) -> None:
        """End the session."""
        if self._client is not None:
            self._client.set_terminated(self._id)
            self._client = None


TRACKERS: dict[str, type[WandB | MLflow]] = {"wandb": WandB, "mlflow": MLflow}


class Guarded:
    """A tracker whose failures are told once, to `other`; from then on it is left alone and training goes on.

    Only where a new run cannot be begun at all does it stop: nothing is lost yet, and the user wanted to see it.
    """

    def __init__(self, name: str, tracker: Watch, other: Watch) -> None:
        self._name, self._tracker, self._other, self._works = name, tracker, other, False

    def start(self, run: Run, folder: Path, first_epoch: int, steps: int) -> None:
        """Begin tracking; a new run that cannot be tracked is a ConvatlasError."""
        try:
            self._tracker.start(run, folder, first_epoch, steps)
            self._works = True
        except Exception as error:
            if first_epoch > 1:
                self._failed(error)
                return
            raise ConvatlasError(f"{self._name} cannot begin: {_said(error)}; put it right (W&B without a network: "
                                 "WANDB_MODE=offline), or leave it out of train.track") from error

    def step(self, epoch: int, step: int, images: int, loss: float, accuracy: float, images_per_second: float) -> None:
        """Nothing: a tracker gets whole epochs."""

    def validating(self, done: int, steps: int) -> None:
        """Nothing."""

    def epoch(self, row: Mapping[str, float]) -> None:
        """Pass a row on."""
        if self._works:
            try:
                self._tracker.epoch(row)
            except Exception as error:
                self._failed(error)

    def tell(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """End tracking."""
        if self._works:
            self._works = False
            try:
                self._tracker.close()
            except Exception as error:
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._works = False
        self._other.tell(f"{self._name} fails ({_said(error)}): training goes on without it, metrics.csv "
                         "has everything.")


class Watches:
    """A Watch that passes everything on to several, in their order."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self._all = tuple(watches)

    def start(self, run: Run, folder: Path, first_epoch: int, steps: int) -> None:
        """To all."""
        for watch in self._all:
            watch.start(run, folder, first_epoch, steps)

    def step(self, epoch: int, step: int, images: int, loss: float, accuracy: float, images_per_second: float) -> None:
        """To all."""
        for watch in self._all:
            watch.step(epoch, step, images, loss, accuracy, images_per_second)

    def validating(self, done: int, steps: int) -> None:
        """To all."""
        for watch in self._all:
            watch.validating(done, steps)

    def epoch(self, row: Mapping[str, float]) -> None:
        """To all."""
        for watch in self._all:
            watch.epoch(row)

    def tell(self, text: str) -> None:
        """To all."""
        for watch in self._all:
            watch.tell(text)

    def close(self) -> None:
        """To all."""
        for watch in self._all:
            watch.close()


def tracked(watch: Watch, track: Sequence[str]) -> Watch:
    """Join `watch` and the trackers that `train.track` names; a library that is not installed is a ConvatlasError."""
    if not track:
        return watch
    return Watches([watch, *(Guarded(name, TRACKERS[name](), watch) for name in track)])


def _need(module: str, extra: str) -> None:
    """Refuse where a library is absent; otherwise quieten it before it is imported."""
    if find_spec(module) is None:
        raise ConvatlasError(f'train.track = {extra} needs {module}, which is not installed: '
                             f'{installing(extra)}')
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def _stored(folder: Path, name: str) -> str:
    path = folder / HOME / f"{name}.txt"
    return bounded.text(path, 2**10).strip() if path.is_file() else ""


def _store(folder: Path, name: str, known: str) -> str:
    put(folder / HOME / f"{name}.txt", known + "\n", parents=True)
    return known


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The leaves of nested mappings with their dotted paths."""
    return [leaf for key, value in tree.items()
            for leaf in (_leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping)
                         else [(f"{prefix}{key}", value)])]


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
