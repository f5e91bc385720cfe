"""Optimiser steps: forward, loss, backward, in parts of a batch where memory is short, clipping, update."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .. import run
from ..data.loader import Batch
from ..data.mix import mix
from .auxiliary import losses_of, with_auxiliary
from .checkpoint import derived_seed
from .distributed import World, agree, wrap
from .losses import PerImage
from .memory import advice
from .metrics import Tally


class Part(NamedTuple):
    """Images computed at once, on the device."""

    images: Tensor      # (n, C, H, W)
    targets: Tensor     # (n, …)
    real: Tensor        # bool (n,), on the CPU: fillers weigh nothing


@dataclass
class Step:
    """The optimiser step of a run, called with each batch."""

    model: nn.Module
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]     # makes that of a network
    run: run.Run
    loss_of: PerImage
    num_classes: int
    world: World
    least: int = 1              # images in each part of a batch
    network: nn.Module = field(init=False)      # the module to call: `model` as it is spread over the processes
    optim: torch.optim.Optimizer = field(init=False)
    tally: Tally = field(init=False)            # of the epoch so far

    def __post_init__(self) -> None:
        self.tally = Tally(self.world.device)
        self.wrap()
        # After wrapping: FSDP2 puts its shards in the parameters' place, and what was there before would not move.
        self.optim = self.optimizer(self.model)

    def wrap(self) -> None:
        """Make `network`; again whenever other parameters of `model` require a gradient than before."""
        parallel = self.run.train.parallel
        self.network = wrap(self.world, with_auxiliary(self.model, self.world, parallel), parallel)

    def __call__(self, batch: "Batch", epoch: int, step: int) -> bool:
        """Take one step. False: the loss was not finite in some process, and nothing has changed (`on_nan` = skip)."""
        watchful = self.run.train.on_nan == "skip"
        buffers = [buffer.clone() for buffer in self.model.buffers()] if watchful else []
        sums = self.tally.sums.clone() if watchful else self.tally.sums
        self.optim.zero_grad(set_to_none=True)
        self.backward(batch, epoch, step)
        if watchful and agree(self.world, not bool((self.tally.sums - sums).isfinite().all()))[0]:
            self.optim.zero_grad(set_to_none=True)
            with torch.no_grad():
                for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                    buffer.copy_(before)        # BatchNorm has seen what is not finite
            self.tally.sums.copy_(sums)
            return False
        if self.run.optim.clip_value is not None:
            nn.utils.clip_grad_value_(self.model.parameters(), self.run.optim.clip_value)
        if self.run.optim.clip_grad is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.run.optim.clip_grad)
        self.optim.step()
        return True

    def backward(self, batch: "Batch", epoch: int, step: int) -> None:
        """Add the batch's gradients to those that are there, and its losses to the tally."""
        parts = list(self._parts(batch, epoch, step))
        with advice(self.run):
            for number, part in enumerate(parts, start=1):
                with self._together(number == len(parts)):
                    scores, losses, targets = self._losses(part)
                    # DDP and FSDP2 average gradients over the processes: times their number, it is the step of one
                    # process.
                    (losses.sum() * (self.world.size / max(batch.total, 1))).backward()  # type: ignore[no-untyped-call]
                self.tally.add(losses.detach(), scores.detach(), targets)

    def _parts(self, batch: "Batch", epoch: int, step: int) -> Iterator[Part]:
        device, augment = self.world.device, self.run.augment
        layout = torch.channels_last if self.run.train.channels_last else torch.preserve_format
        images = batch.images.to(device, memory_format=layout, non_blocking=True)
        targets = batch.labels.to(device, non_blocking=True)
        if augment.mixup or augment.cutmix:
            seed = derived_seed(self.run.train.seed, "mix", epoch, step, self.world.rank)
            images, targets = mix(images, targets, self.num_classes, augment, seed)
        columns = images, targets, batch.indices >= 0
        count = min(self.run.train.accumulate or 1, len(images) // self.least)
        return map(Part, *(column.tensor_split(count) for column in columns)) if count > 1 else iter([Part(*columns)])

    def _losses(self, part: Part) -> tuple[Tensor, Tensor, Tensor]:
        """(scores, losses, targets) of the images that are no fillers."""
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.run.train.amp == "bf16"):
            scores = self.network(part.images)
        scores, targets = scores.float(), part.targets
        if not part.real.all():
            # (N, classes), with auxiliary ones (1 + classifiers, N, classes), for segmentation (N, classes, H, W)
            scores = scores[part.real] if scores.ndim == 4 else scores[..., part.real, :]
            targets = targets[part.real]
        scores, losses = losses_of(self.model, scores, targets, self.loss_of, self.run.loss.aux_weight)
        return scores, losses, targets

    def _together(self, last: bool) -> AbstractContextManager[object]:
        """A context in which processes exchange gradients, for the last part only."""
        if not last and isinstance(self.network, nn.parallel.DistributedDataParallel):
            return self.network.no_sync()
        return nullcontext()
