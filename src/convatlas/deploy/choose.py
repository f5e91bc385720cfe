"""The fastest way to run a network here, among those that give the same result."""

import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from .. import bounded
from ..engine.allocator import use
from ..errors import ConvatlasError
from ..files import FULL, cache_dir, put
from ..net.digest import weights_digest
from ..net.layers import macs
from ..net.model import Convnet
from .backends import BACKENDS, Precision, Predictor, backend_of
from .backends.base import Tell, floating, quiet
from .int8.figures import Int8
from .machine import processor, versions
from .native import UnsupportedError
from .native.bfloat16 import Bf16

FORMAT = 1              # of the file that remembers a choice
CANDIDATES = ("eager", "native", "compile", "onnxruntime", "openvino")     # of auto: those that take any batch
#   of the largest output; int8's only rules out what is broken: labelled images are what judges it (quantize)
TOLERANCE = {"fp32": 1e-4, "bf16": 0.1, "fp16": 0.02, "int8": 0.5}
MEASURING = 3.0         # seconds that candidates are measured for, all together
SETTLING = 0.05         # seconds of a turn that are not counted, at least


@dataclass(frozen=True)
class Candidate:
    """One backend, as measured on the example; `refused` says why it cannot be taken, and what is None was not measured
    then.
    """

    name: str
    latency: float | None = None        # seconds per call, the median
    throughput: float | None = None     # images per second
    setup: float | None = None          # seconds until the first result
    error: float | None = None          # largest difference from the network, relative to its largest output
    memory: int | None = None           # bytes by which the process grew; None where the system does not say
    size: int | None = None             # bytes on disk, where the backend has a file of its own
    refused: str | None = None


@dataclass(frozen=True)
class Report:
    """The outcome of `optimize` or `quantize`: every candidate, which was taken, whether that was known from an earlier
    time, what quantising did, and what of the one that was taken is in bf16, where its engine tells.
    """

    candidates: tuple[Candidate, ...]
    chosen: str
    cached: bool = False
    int8: Int8 | None = None
    bf16: Bf16 | None = None

    def rows(self) -> list[tuple[str, ...]]:
        """The table as text: backend, latency, images/s, set-up, largest error, memory, size, remark."""
        return [(c.name, _shown(c.latency, 1e3, ".2f"), _shown(c.throughput, 1, ".1f"), _shown(c.setup, 1, ".1f"),
                 _shown(c.error, 1, ".1e"), _shown(c.memory, 1e-6, ".0f"), _shown(c.size, 1e-6, ".1f"),
                 c.refused or ("taken" if c.name == self.chosen else "")) for c in self.candidates]

    def __str__(self) -> str:
        rows = [COLUMNS, *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                         for row in rows) + "".join(f"\n\n{each}" for each in (self.int8, self.bf16) if each)


COLUMNS = ("backend", "ms", "images/s", "set-up s", "error", "memory MB", "file MB", "")


class Optimized(nn.Module):
    """A network's scores by its fastest backend; `report` says which and how fast.

    Input and output are the network's.
    """

    def __init__(self, predictor: Predictor, report: Report) -> None:
        super().__init__()
        self.predictor, self.report = predictor, report

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) as the network takes them to its scores, in float32."""
        return self.predictor(floating(x))


def optimize(model: Convnet, example: Tensor, backend: str = "auto", precision: Precision = "fp32", *,
             candidates: Sequence[str] = CANDIDATES, seconds: float | None = None, cache: bool = True) -> Optimized:
    """The network as a callable with the same inputs and outputs that answers as fast as this machine allows.

    `example` is a batch like those that will come, on the device where they will be. auto measures the `candidates`
    that are installed in turns, `seconds` in all (MEASURING), leaves out those whose scores differ by more than
    TOLERANCE of the largest, takes the fastest, and remembers that for this network on this machine, unless `cache` is
    off. A named backend is measured and checked as well. Raises ConvatlasError where none is left, with each one's
    reason.
    """
    with TemporaryDirectory() as work:
        return optimize_in(Path(work), model, example, backend, precision, candidates=candidates,
                           seconds=seconds, cache=cache)


def optimize_in(work: Path, model: Convnet, example: Tensor, backend: str = "auto", precision: Precision = "fp32", *,
                candidates: Sequence[str] = CANDIDATES, seconds: float | None = None, cache: bool = True,
                tell: Tell = quiet) -> Optimized:
    """`optimize`, which reports its progress and leaves each backend's files in a folder of its name in `work`."""
    if any(module.training for module in model.modules()):
        raise ConvatlasError(f"{model.name} is in training mode: call model.eval() first")
    names = tuple(candidates) if backend == "auto" else (backend,)
    for name in names:
        backend_of(name)
    if backend != "auto":
        backend_of(backend).check(example, precision)
    if precision == "int8":
        raise ConvatlasError("int8 needs pictures to calibrate with: use convatlas.deploy.quantize(model, images), or "
                             "deploy(…, precision='int8', calibrate=…)")
    use("auto", macs(model) * len(example), example.device)
    kept = (cache_dir() / "deploy" / f"{_fingerprint(model, example, precision, names)}.json"
            if cache and backend == "auto" else None)
    if kept is not None and (known := _read(kept)) is not None:
        built = _built(work, model, example, known.chosen, precision, tell)
        if isinstance(built, _Ready):
            return Optimized(built.predictor, replace(known, bf16=_account(built, example)))
    tried = [_built(work, model, example, name, precision, tell) for name in names]
    ready = [each for each in tried if isinstance(each, _Ready)]
    tell(f"{', '.join(each.candidate.name for each in ready)}: measured in turns")
    timed = {c.name: c for c in measured([each.candidate for each in ready], [each.predictor for each in ready],
                                         example, seconds)}
    table = tuple(timed[each.candidate.name] if isinstance(each, _Ready) else each for each in tried)
    if not ready:
        raise ConvatlasError(f"no backend runs {model.name} in {precision}: "
                             + "; ".join(f"{c.name}: {c.refused}" for c in table))
    best = min(ready, key=lambda each: timed[each.candidate.name].latency or 0.0)
    report = Report(table, best.candidate.name)
    if kept is not None:
        _write(kept, report)
    return Optimized(best.predictor, replace(report, bf16=_account(best, example)))


@dataclass(frozen=True)
class _Ready:
    """A backend that is set up and gives the right result."""

    candidate: Candidate
    predictor: Predictor


def _account(ready: _Ready, example: Tensor) -> Bf16 | None:
    return BACKENDS[ready.candidate.name].account(ready.predictor, example)


def _built(work: Path, model: Convnet, example: Tensor, name: str, precision: Precision,
           tell: Tell) -> "_Ready | Candidate":
    """Set up and compared with the network; or why not."""
    backend = BACKENDS[name]
    if reason := backend.refusal(example, precision):
        return Candidate(name, refused=reason)
    tell(f"{name} is set up")
    folder = work / name
    folder.mkdir(exist_ok=True)
    before, began = resident(), time.perf_counter()
    try:
        scores, size = backend.build(model, example, precision, folder, tell)
        found = scores(example)
    except UnsupportedError as error:
        return Candidate(name, refused=str(error))
    except ConvatlasError:
        raise
    except Exception as error:      # an engine that fails on a network, in whatever way, is no candidate for it
        if isinstance(error, OSError) and error.errno in FULL:
            raise ConvatlasError(f"cannot write into the temporary folder {str(work)!r}: {error.strerror}; make room "
                                 "there, or name another one with TMPDIR") from error
        return setup_failure(name, error)
    setup, after = time.perf_counter() - began, resident()
    off = difference(model, example, found)
    memory = None if before is None or after is None else max(0, after - before)
    candidate = Candidate(name, setup=setup, error=off, memory=memory, size=size)
    if not off <= TOLERANCE[precision]:     # not a number is refused too
        return Candidate(name, setup=setup, error=off, memory=memory, size=size, refused=f"differs by {off:.1e} of the "
                         f"largest output; {precision} allows {TOLERANCE[precision]:g}")
    return _Ready(candidate, scores)


def setup_failure(name: str, error: Exception) -> Candidate:
    """The candidate that raised `error`, which is being handled."""
    logging.getLogger("convatlas").debug("%s failed", name, exc_info=True)
    return Candidate(name, refused=f"failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}")


def measured(candidates: Sequence[Candidate], calls: Sequence[Predictor], example: Tensor,
             seconds: float | None) -> list[Candidate]:
    """The candidates with the times of their calls."""
    times = _measure(calls, example, MEASURING if seconds is None else seconds)
    return [_timed(candidate, spent, len(example)) for candidate, spent in zip(candidates, times, strict=True)]


def difference(model: Callable[[Tensor], Tensor], images: Tensor, scores: Tensor) -> float:
    """The largest difference between `scores` and the network's own of `images`, relative to its largest."""
    with torch.inference_mode():
        expected, scores = model(images), scores.detach()
    if scores.shape != expected.shape:
        return float("inf")
    return float((scores - expected).abs().max() / expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny))


def _measure(calls: Sequence[Predictor], example: Tensor, seconds: float) -> list[list[float]]:
    """Seconds of each call, in turns, so that other load on the machine affects all alike; three rounds at least.

    The first calls of a turn are not counted: the threads of the engine before are still spinning then.
    """
    times: list[list[float]] = [[] for _ in calls]
    began = time.perf_counter()
    while calls and (len(times[0]) < 3 or time.perf_counter() - began < seconds):
        for call, each in zip(calls, times, strict=True):
            settled = _seconds(call, example)
            while settled < SETTLING:
                settled += _seconds(call, example)
            each.append(_seconds(call, example))
    return times


def _seconds(call: Callable[[Tensor], Tensor], example: Tensor) -> float:
    began = time.perf_counter()
    call(example)
    if example.device.type == "cuda":
        torch.cuda.synchronize(example.device)
    return time.perf_counter() - began


def _timed(candidate: Candidate, times: Sequence[float], batch: int) -> Candidate:
    latency = median(times)
    return Candidate(**asdict(candidate) | {"latency": latency, "throughput": batch / latency})


def resident() -> int | None:
    """Bytes of memory that this process holds; None where the system does not say."""
    if sys.platform != "linux":
        return None
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _fingerprint(model: Convnet, example: Tensor, precision: Precision, names: Sequence[str]) -> str:
    """Key of a choice: the network and its weights, the example's shape, the machine, the engines' versions."""
    digest = weights_digest(model)
    device = torch.cuda.get_device_name(example.device) if example.device.type == "cuda" else example.device.type
    engines = versions(("convatlas", "torch", "onnxruntime", "openvino"))
    about = (repr(model.spec), tuple(example.shape), precision, tuple(names), device, platform.machine(), processor(),
             torch.get_num_threads(), engines)
    digest.update(repr(about).encode())
    return digest.hexdigest()[:32]


def _read(path: Path) -> Report | None:
    try:
        kept = bounded.read_json(path)
        if kept.get("format", FORMAT) != FORMAT:
            return None
        return Report(tuple(Candidate(**each) for each in kept["candidates"]), kept["chosen"], cached=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(path: Path, report: Report) -> None:
    """Remember the choice; a cache that cannot be written is no error."""
    try:
        put(path, json.dumps({"format": FORMAT, **asdict(report)}), parents=True)
    except ConvatlasError as error:
        logging.getLogger("convatlas").info("the choice is not remembered: %s", error)


def _shown(value: float | None, factor: float, form: str) -> str:
    return "" if value is None else format(value * factor, form)
