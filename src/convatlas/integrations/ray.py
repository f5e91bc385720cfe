"""The same training on a Ray cluster, for those who have one: each of Ray Train's workers is one process of the run.

Needs the extra `ray`. The run folder and the data must lie where all machines see them.
"""

from pathlib import Path
from typing import Any

from ..errors import ConvatlasError, installing
from ..run import Run


def train(run: Run, *, out: Path, workers: int = 2, gpus: bool = False, resume: bool = False,
          cpus: float = 1.0) -> None:
    """Train as `run` says with `workers` processes of a Ray cluster (`ray.init` first, or one is begun here); `out` is
    the run folder.

    With `gpus` each process gets one, otherwise `cpus` cores. A run that is there already goes on where `resume` says
    so. Raises ConvatlasError where Ray is not installed; what a process raises comes as Ray wraps it.
    """
    try:
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        raise ConvatlasError(f"training on a cluster needs Ray, which is not installed: {installing('ray')}") from error
    place = str(out.expanduser().resolve())
    scaling = ScalingConfig(num_workers=workers, use_gpu=gpus, resources_per_worker=None if gpus else {"CPU": cpus})
    # what the processes agree on lies on the CPU
    group = TorchConfig(backend="cpu:gloo,cuda:nccl" if gpus else "gloo")
    config = RunConfig(name=out.name, storage_path=str(Path(place).parent / ".ray"))
    job = {"run": run.to_yaml(), "out": place, "resume": resume}
    TorchTrainer(_work, train_loop_config=job, scaling_config=scaling, torch_config=group, run_config=config).fit()


def _work(job: dict[str, Any]) -> None:
    """One process of the run; Ray has joined it with the others."""
    from ..api import train as fit  # torch, in the worker only

    out = Path(job["out"])
    fit(Run.from_yaml(job["run"]), out=None if job["resume"] else out, resume=out if job["resume"] else None)
