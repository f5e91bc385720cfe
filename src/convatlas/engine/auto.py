"""Autotune (`--auto`): the fastest settings for a run on this machine, by short measurements of its network."""

import ctypes
import mmap
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..data import Batch
from ..net.layers import macs as macs_of
from ..net.model import Convnet
from ..net.segmenter import Segmenter
from ..run import Run, Train
from . import allocator
from .distributed import World
from .least import least_part
from .losses import per_image
from .optim import optimizer
from .step import Step
from .threads import threads_for

SECONDS = 3.0               # per question
ROUNDS = (3, 30)            # at least, at most
STEPS = 3                   # first steps, whose losses are compared: the warm-up too
WORK = 10_000_000_000       # multiply-adds of a trial's forward pass on the CPU; of larger batches a part is tried

LAYOUT_GAIN, AMP_GAIN, COMPILE_GAIN = 1.03, 1.15, 1.10      # how much faster a step must become
LOSS_SHARE = 0.02           # by which bf16's loss may differ from fp32's
FAULT_SHARE = 0.02          # of a step's time that page faults must take


@dataclass(frozen=True)
class Measured:
    """Timings of a few training steps."""

    seconds: float              # of one step, the median
    losses: tuple[float, ...]   # of the first steps, per image
    faults: float               # page faults per step


Measure = Callable[[Sequence[Train]], list[Measured]]       # of several settings, in alternating rounds


def choose(make: Callable[[], Convnet], run: Run, batch: int, device: torch.device, tell: Callable[[str], None],
           measure: Measure | None = None) -> Train:
    """`run.train` with the layout, precision, compiler and allocator under which a step of `batch` images is fastest
    here.

    `make` builds the network; `batch` are the images one process computes at once. What `run.train` sets already is not
    tried. `tell` gets a sentence for each question. Random generators, and so the run, stay as they were; what the
    allocator keeps is kept from now on, as it would be in the run. `measure` stands in for the real measurement.
    """
    measure = measure or Trials(make, run, batch, device, tell)
    train = run.train
    if train.allocator == "auto" and device.type == "cpu" and allocator.has_glibc():
        train = train.model_copy(update={"allocator": _allocator(measure([train])[0], tell)})
    if train.channels_last is None:
        before, after = measure([_with(train, "channels_last", False), _with(train, "channels_last", True)])
        wins = before.seconds / after.seconds >= LAYOUT_GAIN
        tell(f"channels_last: {_times(before, after)}: {'on' if wins else 'off'}.")
        train = _with(train, "channels_last", wins)
    if train.amp == "off":
        before, after = measure([train, _with(train, "amp", "bf16")])
        apart = [abs(b - a) / max(abs(a), 1e-12) for a, b in zip(before.losses, after.losses, strict=True)]
        close = all(each <= LOSS_SHARE for each in apart)       # False also for a loss that is no number
        wins = close and before.seconds / after.seconds >= AMP_GAIN
        tell(f"amp bf16: {_times(before, after)}, the first losses differ by {100 * max(apart):.2g} %"
             f"{'' if close else f', more than {100 * LOSS_SHARE:g} %'}: {'on' if wins else 'off'}.")
        train = _with(train, "amp", "bf16" if wins else "off")
    if not train.compile and device.type == "cuda":
        before, after = measure([train, _with(train, "compile", True)])
        wins = before.seconds / after.seconds >= COMPILE_GAIN
        tell(f"compile: {_times(before, after)}: {'on' if wins else 'off'}.")
        train = _with(train, "compile", wins)
    return train


def _with(train: Train, field: str, value: Any) -> Train:
    return train.model_copy(update={field: value})


def _allocator(measured: Measured, tell: Callable[[str], None]) -> str:
    """Choose by page faults, not by time: they hardly vary, and what is once kept cannot be compared with before."""
    each = fault_seconds()
    share = measured.faults * each / measured.seconds
    found = "keep" if share >= FAULT_SHARE and allocator.keep() else "system"
    tell(f"allocator: {measured.faults:,.0f} page faults a step, {1e6 * each:.1f} µs each, take {100 * share:.1f} % of "
         f"its time: {found}.")
    return found


def _times(before: Measured, after: Measured) -> str:
    return (f"{1000 * after.seconds:.3g} ms a step instead of {1000 * before.seconds:.3g} "
            f"({before.seconds / after.seconds:.2f}×)")


class Trials:
    """Trial runs: the run's own steps on random images, at a hundredth of its learning rate.

    At the full rate, which a run often reaches only after a warm-up, losses of two precisions part for no fault of
    theirs.
    """

    def __init__(self, make: Callable[[], Convnet], run: Run, batch: int, device: torch.device,
                 tell: Callable[[str], None], seconds: float | None = None) -> None:
        self.make, self.device, self.seconds = make, device, SECONDS if seconds is None else seconds
        self.run = run.change("optim.lr", run.optim.lr / 100)
        with torch.random.fork_rng(devices=[]):
            net = make()
        macs, self.least = macs_of(net), least_part(net, run.train)
        self.batch = min(batch, max(self.least, WORK // max(macs, 1))) if device.type == "cpu" else batch
        self.macs = macs * self.batch
        if self.batch < batch:
            tell(f"--auto measures with {self.batch} of the {batch} images of a batch.")

    def __call__(self, settings: Sequence[Train]) -> list[Measured]:
        """Measure each setting's steps, in alternating rounds, from the same weights and on the same images."""
        devices = [self.device] if self.device.type == "cuda" else []
        end = time.perf_counter() + self.seconds
        with torch.random.fork_rng(devices=devices), threads_for(self.macs, self.device):
            steps = [self._stepper(train) for train in settings]
            losses = [_first(step) for step in steps]
            times: list[list[float]] = [[] for _ in steps]
            faults = [0] * len(steps)
            least, most = ROUNDS
            while len(times[0]) < least or (time.perf_counter() < end and len(times[0]) < most):
                for i, step in enumerate(steps):
                    pages, began = page_faults(), time.perf_counter()
                    step()
                    times[i].append(time.perf_counter() - began)
                    faults[i] += page_faults() - pages
        return [Measured(statistics.median(each), first, pages / len(each))
                for each, first, pages in zip(times, losses, faults, strict=True)]

    def _stepper(self, train: Train) -> Callable[[], float]:
        """The run's own optimiser step; the loss per image that it returns waits for the device."""
        torch.manual_seed(0)
        model = self.make().train().to(self.device)
        if train.channels_last:
            model.to(memory_format=torch.channels_last)
        model.set_grad_checkpointing(train.grad_checkpointing)
        if train.compile:
            model.compile()
        run = self.run.change("train", train)
        step = Step(model, partial(optimizer, optim=run.optim), run, per_image(run.loss, model.num_classes),
                    model.num_classes, World(0, 1, self.device), self.least)
        size = model.output_size(*model.image_size) if isinstance(model, Segmenter) else ()
        images = torch.randn(self.batch, model.in_chans, *model.image_size)
        batch = Batch(images, torch.randint(model.num_classes, (self.batch, *size)),
                      torch.arange(self.batch), self.batch)

        def loss() -> float:
            before = step.tally.sums[0].item()
            step(batch, 0, 0)
            return (step.tally.sums[0].item() - before) / self.batch

        return loss


def _first(step: Callable[[], float]) -> tuple[float, ...]:
    torch.manual_seed(0)        # dropout is the same for all
    return tuple(step() for _ in range(STEPS))


def page_faults() -> int:
    """Page faults of this process so far; 0 where the system does not count them."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def fault_seconds(size: int = 2**26) -> float:
    """The cost of a page fault: the time to write to `size` fresh bytes less that to write again.

    Virtual machines differ widely.
    """
    with mmap.mmap(-1, size) as fresh:
        start = ctypes.addressof(ctypes.c_char.from_buffer(fresh))
        took = []
        for _ in range(2):
            began = time.perf_counter()
            ctypes.memset(start, 1, size)
            took.append(time.perf_counter() - began)
    return max(took[0] - took[1], 0.0) / (size / mmap.PAGESIZE)
