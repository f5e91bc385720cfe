"""The run folder: where it is, what is in it, and that nothing in it is lost by accident. Imports no torch."""

import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .. import bounded
from ..errors import ConvatlasError
from ..files import escaped, put, vacant, writing
from ..run import FORMAT, Run
from ..version import __version__

CONFIG, WEIGHTS, METRICS, REPORT, DENSITIES = ("config.yaml", "model.safetensors", "metrics.csv", "report.html",
                                               "densities.json")
FITTED = "preprocess.safetensors"       # what preprocessing has measured on the training images
LAUNCH = ".launch"                      # which torchrun began the run
LOCK, HOLDER = ".lock", ".holder"       # locked while it is trained, by the process that the other file names
MANIFEST, IMAGES = "data.json", "images.csv.gz"     # what its data was understood to be: see runs/manifest.py
OURS = (CONFIG, WEIGHTS, METRICS, REPORT, DENSITIES, FITTED, MANIFEST, IMAGES, LAUNCH, HOLDER, "checkpoints", "tb",
        "track")
MAY_CHANGE = ("train.epochs", "train.device", "train.parallel", "train.keep", "train.checkpoint_minutes", "train.track",
              "data.workers", "data.data_dir", "data.cache", "data.cache_dir")


def create(run: Run, out: Path | None, force: bool) -> Path:
    """A new run folder with its config.yaml: `out`, or runs/<date>-<model>-<data>.

    An `out` that holds anything is refused; `force` lets an older run there be replaced, but nothing that is not a run.
    """
    data = escaped(Path(run.data.source).stem).replace("\\", "")
    folder = out or _free(Path("runs") / f"{datetime.now():%Y-%m-%d}-{run.model.name}-{data}")
    if escaped(str(folder)) != str(folder):         # TensorBoard cannot write there
        raise ConvatlasError(f"the name of the run folder {str(folder)!r} is not UTF-8: name another with --out")
    with writing(folder, "name another folder with --out"):
        if folder.exists() and not folder.is_dir():
            raise ConvatlasError(f"--out {str(folder)!r} is a file: name a folder")
        if folder.is_dir() and not vacant(folder, CONFIG):
            _clear(folder, force)
        folder.mkdir(parents=True, exist_ok=True)
        write_config(folder, run)
        if launch():
            put(folder / LAUNCH, launch())
    return folder


def launch() -> str:
    """The name of this start of torchrun, the same in processes that it starts anew after one was lost; empty without
    it.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return f"{name} {platform.node()} {os.getppid()}" if name else ""


def restarted() -> bool:
    """True if torchrun has started this process in place of another one (`--max-restarts`)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def begun(out: Path | None) -> Path | None:
    """The run that the same torchrun began before it had to start its processes anew: in `out`, or below runs/."""
    if not restarted():
        return None
    places = [out] if out is not None else sorted(Path("runs").glob("*"))
    known = (place for place in places if (place / LAUNCH).is_file())
    return next((place for place in known if (place / LAUNCH).read_text(encoding="utf-8") == launch()), None)


def _free(wanted: Path) -> Path:
    """`wanted`, or `wanted-2`, `-3` … if that exists."""
    free, number = wanted, 1
    while free.exists():
        number += 1
        free = wanted.with_name(f"{wanted.name}-{number}")
    return free


def _clear(folder: Path, force: bool) -> None:
    if not (folder / CONFIG).is_file():
        raise ConvatlasError(f"--out {str(folder)!r} is not empty and no run: name another folder")
    if not force:
        raise ConvatlasError(f"--out {str(folder)!r} already holds a run: go on with --resume {folder}, replace it "
                             "with --force, or name another folder")
    with held(folder):
        for name in OURS:
            if name == CONFIG:          # is replaced: while it is there, so is a run
                continue
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_config(folder: Path, run: Run) -> None:
    """config.yaml, whole or not at all; its first lines say what wrote it, and where."""
    head = (f"# convatlas {__version__}, torch {version('torch')}, Python {platform.python_version()}, "
            f"{platform.system()} {platform.machine()}, {time.strftime('%Y-%m-%d %H:%M %Z')}\n")
    put(folder / CONFIG, f"{head}format: {FORMAT}\n{run.to_yaml()}", "name another folder with --out")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The run folder as this process's own: a ConvatlasError that names the process which holds it already."""
    lock, holder = FileLock(folder / LOCK), folder / HOLDER
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        try:
            who = bounded.text(holder, 2**10).strip()
        except (OSError, ValueError):
            who = "another process"
        raise ConvatlasError(f"{str(folder)!r} is being trained by {who}: wait for it, or stop it first") from error
    except (OSError, NotImplementedError):      # a file system without locks, or a folder that is only read
        yield
        return
    try:
        with suppress(OSError):
            holder.write_text(f"process {os.getpid()} on {platform.node()}, since {datetime.now():%Y-%m-%d %H:%M}\n",
                              encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def run_of(folder: str | Path) -> Run:
    """The run that a folder's config.yaml describes."""
    path = Path(folder) / CONFIG
    try:
        return Run.from_yaml(bounded.text(path), str(path))
    except (OSError, ValueError) as error:
        raise ConvatlasError(f"{str(folder)!r} is not a run folder: {CONFIG} cannot be read there") from error


def check_resume(folder: Path, run: Run) -> None:
    """Refuse to go on in `folder` with what would be another run: only the fields in MAY_CHANGE may differ."""
    for field, old, new in _differences(run_of(folder).model_dump(), run.model_dump()):
        if field not in MAY_CHANGE:
            raise ConvatlasError(f"--resume {folder} goes on with the run as it was begun: {field} is {old!r} there, "
                                 f"not {new!r} (only {', '.join(MAY_CHANGE)} may change); begin a new run for that")


def resume(folder: Path, run: Run) -> None:
    """Go on in `folder` as `run` says: checked, and kept in its config.yaml."""
    check_resume(folder, run)
    if run != run_of(folder):
        write_config(folder, run)


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key in {**before, **after}:
        old, new, field = before.get(key), after.get(key), f"{path}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, f"{field}.")
        elif old != new:
            yield field, old, new
