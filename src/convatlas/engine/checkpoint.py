"""Checkpoints, the state of a training run on disk: tensors in safetensors, the rest in JSON, nothing pickled.

`folder/checkpoints/step-00001234/` holds `state.safetensors` and `state.json`. Tensors are whole and named as in the
network, so that one process, DDP and FSDP2 go on from each other's checkpoints.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .. import bounded
from ..errors import ConvatlasError
from ..files import check_format, digest, whole_write
from ..version import __version__
from .distributed import World, gather, placed, whole
from .schedule import Plateau

FORMAT = 1


@dataclass(frozen=True)
class Progress:
    """The progress of a run: `epoch` epochs are finished, and `step` optimiser steps of the next one are done."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0                            # of training so far, all sessions together
    plateau: Plateau = field(default_factory=Plateau)
    best: Mapping[str, float] = field(default_factory=dict)     # the best epoch's row of metrics.csv, empty at first
    left_out: int = 0                               # steps whose loss was not finite; each has halved the rate


@dataclass(frozen=True)
class Saved:
    """A checkpoint as read from disk, verified."""

    path: Path
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]
    complaints: tuple[str, ...]     # about newer checkpoints that could not be used

    @property
    def progress(self) -> Progress:
        """The run's progress at the time."""
        state = self.state
        plateau = Plateau(**state["plateau"])
        return Progress(state["epoch"], state["step"], state["seconds"], plateau, state["best"], state["left_out"])

    def extras(self, kind: str) -> dict[str, Tensor]:
        """The tensors that `save` was given as `extras[kind]`; none where there were none."""
        return {name.removeprefix(f"{kind}."): tensor for name, tensor in self.tensors.items()
                if name.startswith(f"{kind}.")}


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The whole state dict of `model`, copied to the CPU. All processes call it together."""
    return {name: whole(tensor) for name, tensor in model.state_dict().items()}


def derived_seed(*what: int | str) -> int:
    """A seed of 56 well-mixed bits that depends on `what` only."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, what)).encode()).digest()[:7], "big")


def seed_everything(seed: int, step: int, rank: int) -> None:
    """Seed torch's generators, on all devices, from the run's seed, the global step it starts at and the process."""
    torch.manual_seed(derived_seed(seed, step, rank))


def save(
    folder: Path,
    world: World,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    tally: Tensor,
    progress: Progress,
    facts: Mapping[str, Any],
    keep: int,
    extras: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> None:
    """Write a checkpoint of `progress` and, once it is verified, delete all but the newest `keep`.

    All processes call it together. `tally` is this process's running sums. `facts` must be the same on resume:
    seed, steps_per_epoch, optim (its name). `extras` are further tensors by kind (ema, sparse), the same in all
    processes or sharded. Raises ConvatlasError where the disk refuses; earlier checkpoints stay.
    """
    tensors = {f"model.{name}": tensor for name, tensor in weights(model).items()}
    for extra, parts in (extras or {}).items():
        tensors |= {f"{extra}.{name}": whole(tensor) for name, tensor in parts.items()}
    scalars: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"optim.{key}.{name}"] = whole(value)
            else:
                scalars[f"{key}.{name}"] = value
    for kind, generator in _random_states(world.device).items():
        for rank, row in enumerate(gather(world, generator[None])):
            tensors[f"rng.{kind}.{rank}"] = row.clone()
    tensors["tally"] = gather(world, tally[None])
    if not world.main:
        return
    step = progress.epoch * facts["steps_per_epoch"] + progress.step
    state = {
        "format": FORMAT,
        **_versions(),
        **asdict(progress),
        "global_step": step,
        "world": world.size,
        "order": {"seed": facts["seed"], "epoch": progress.epoch},      # the batches still to come are drawn from these
        "facts": dict(facts),
        "optim": {"groups": [_without_parameters(group) for group in optimizer.param_groups], "scalars": scalars},
    }
    try:
        _write(folder / "checkpoints", f"step-{step:08d}", tensors, state, keep)
    except (OSError, SafetensorError) as error:
        # what fills the disk is of no use to anybody
        shutil.rmtree(_fresh(folder / "checkpoints", f"step-{step:08d}"), ignore_errors=True)
        raise ConvatlasError(
            f"cannot write a checkpoint of step {step} into {str(folder / 'checkpoints')!r}: {error}; "
            "the earlier ones are untouched, make room there and go on with --resume"
        ) from error


def _without_parameters(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}


def _write(home: Path, name: str, tensors: dict[str, Tensor], state: dict[str, Any], keep: int) -> None:
    fresh = _fresh(home, name)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    with whole_write(fresh / "state.safetensors", errors=()) as beside:     # which any user's umask lets read
        save_file(tensors, beside)
    state["sha256"] = digest(fresh / "state.safetensors")
    (fresh / "state.json").write_text(json.dumps(state, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for path in (fresh / "state.safetensors", fresh / "state.json", fresh):
        _sync(path)
    back = load_file(fresh / "state.safetensors")
    if back.keys() != tensors.keys() or not all(torch.equal(back[key], tensors[key]) for key in tensors):
        raise OSError("what was read back is not what was written")
    shutil.rmtree(home / name, ignore_errors=True)      # of the same step: it was damaged, or the run came here again
    fresh.rename(home / name)
    _sync(home)
    older = [path for path in _checkpoints(home) if path.name < name]
    for path in _checkpoints(home):
        if path.name != name and path not in older[: keep - 1]:
            shutil.rmtree(path, ignore_errors=True)     # newer ones were damaged: the run went on from an older one
    for path in home.glob(".step-*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def _fresh(home: Path, name: str) -> Path:
    """The place of a checkpoint as long as it is not whole."""
    return home / f".{name}.tmp"


def _sync(path: Path) -> None:
    """Wait until the disk has it; directories are synced where the system can."""
    if path.is_dir() and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _checkpoints(home: Path) -> list[Path]:
    """The checkpoint folders, newest first."""
    return sorted(home.glob("step-*"), reverse=True)


def _versions() -> dict[str, str]:
    return {"convatlas": __version__, "torch": str(torch.__version__)}


def newest(folder: Path) -> Saved | None:
    """The newest checkpoint in `folder` that verifies; None where there never was one.

    Raises ConvatlasError where there are some and none can be used.
    """
    complaints: list[str] = []
    for path in _checkpoints(folder / "checkpoints"):
        try:
            return Saved(path, *_read(path), tuple(f"{complaint}; using an older one" for complaint in complaints))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            complaints.append(f"the checkpoint {str(path)!r} is damaged ({_reason(error)})")
    if complaints:
        raise ConvatlasError(f"no checkpoint can be used: {', '.join(complaints)}; train again with another --out")
    return None


def _read(path: Path) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    state = bounded.read_json(path / "state.json")
    bounded.safetensors_head(path / "state.safetensors")
    check_format(state["format"], FORMAT, f"the checkpoint {str(path)!r}")
    if digest(path / "state.safetensors") != state["sha256"]:
        raise ValueError("its checksum does not match")
    return load_file(path / "state.safetensors"), state


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"state.json lacks {error}"
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def restore(
    saved: Saved,
    world: World,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    tally: Tensor,
    facts: Mapping[str, Any],
) -> list[str]:
    """Put a checkpoint into the network, the optimiser, the generators and `tally`; returns what to tell the user.

    Hyperparameters stay those of `optimizer`: they are the run's. Raises ConvatlasError where the checkpoint is of
    another network, optimiser, seed or number of batches.
    """
    for key, now in facts.items():
        if saved.state["facts"].get(key) != now:
            raise ConvatlasError(
                f"the checkpoint {str(saved.path)!r} was written with {key} = {saved.state['facts'].get(key)!r}, "
                f"this run has {now!r}; resume with the run's own configuration and data"
            )
    _restore_model(saved, model)
    _restore_optimizer(saved, model, optimizer)
    sums, before = saved.tensors["tally"], saved.state["world"]
    if before == world.size:
        tally.copy_(sums[world.rank])
        _restore_random_states(saved, world)
        return []
    tally.copy_(sums.sum(dim=0) if world.main else torch.zeros_like(sums[0]))
    seed_everything(facts["seed"], saved.state["global_step"], world.rank)
    return [
        f"The checkpoint was written by {before} process{'es' if before > 1 else ''} and goes on with {world.size}: "
        "the order of the images is kept, dropout and the like draw other numbers than they would have."
    ]


def _restore_model(saved: Saved, model: nn.Module) -> None:
    here = model.state_dict()
    there = {name.removeprefix("model."): tensor for name, tensor in saved.tensors.items() if name.startswith("model.")}
    for name in [*here, *there]:
        if name not in there or name not in here or there[name].shape != here[name].shape:
            shapes = [tuple(tensors[name].shape) if name in tensors else "absent" for tensors in (there, here)]
            raise ConvatlasError(
                f"the checkpoint {str(saved.path)!r} is of another network: "
                f"{name!r} is {shapes[0]} there and {shapes[1]} here; resume with the model it was written from"
            )
    model.load_state_dict({name: placed(tensor, like=here[name]) for name, tensor in there.items()})


def _restore_optimizer(saved: Saved, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    for name, tensor in saved.tensors.items():
        if name.startswith("optim."):
            _, key, owner = name.split(".", 2)
            parameter = parameters[owner].detach()
            # torch keeps the count of steps on the CPU, whatever the parameter is on
            value = tensor.clone() if key == "step" else placed(tensor, like=parameter)
            optimizer.state[parameters[owner]][key] = value
    for name, value in saved.state["optim"]["scalars"].items():
        key, owner = name.split(".", 1)
        optimizer.state[parameters[owner]][key] = value


def _random_states(device: torch.device) -> dict[str, Tensor]:
    """The states of the generators that training on `device` draws from: uint8 (bytes,) each."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def _restore_random_states(saved: Saved, world: World) -> None:
    # Cloned: setting a state from a view of a loaded file's memory crashes.
    states = {kind: saved.tensors.get(f"rng.{kind}.{world.rank}") for kind in ("cpu", "cuda", "mps")}
    if states["cpu"] is not None:
        torch.set_rng_state(states["cpu"].clone())
    if states["cuda"] is not None and world.device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"].clone(), world.device)
    if states["mps"] is not None and world.device.type == "mps":
        torch.mps.set_rng_state(states["mps"].clone())
