"""The training loop: one page, for any network, on one process or many, exactly resumable."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import ConvatlasError
from ..run import Run
from ..runs.folder import DENSITIES
from . import checkpoint, evaluate
from .checkpoint import Progress, seed_everything
from .curvature import Curvature
from .distributed import World, agree, share_buffers, synchronized, total
from .ema import Average
from .freeze import Freezing, Thawing
from .interrupt import Interrupt
from .least import least_part
from .listener import Listener, validation
from .losses import check, class_weights, per_image
from .metrics import means
from .optim import optimizer
from .optimizers import LevenbergMarquardt
from .records import Records, rank
from .session import Outcome as Outcome
from .session import Session, diverged
from .sparse import Sparsity
from .step import Step
from .watch import Silent as Silent
from .watch import Watch as Watch

SHOW = 0.1      # seconds between two looks at the running means: each one waits for the device


class Batches(evaluate.Batches, Protocol):
    """Batches to train on: `Loader`, `StreamLoader`, `PatchLoader`."""

    images: Any             # with `labels`, of which class weights are made

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of one epoch (`data.loader.Batch`), from number `start` on."""
        ...


class Result(Protocol):
    """Metrics of a validation."""

    @property
    def loss(self) -> float:
        """Mean over the images."""
        ...

    @property
    def top1(self) -> float:
        """The share of images, or of pixels, that is right."""
        ...

    @property
    def top5(self) -> float:
        """The share whose label is among the five best-scored."""
        ...

    @property
    def extras(self) -> Mapping[str, float]:
        """More columns of metrics.csv."""
        ...


@dataclass(frozen=True)
class Judge:
    """Validation after each epoch: `measure(model, val, loss, world, num_classes, watch, stop)`, None if stopped.

    `columns` are what metrics.csv gets besides its own (`Result.extras`).
    """

    measure: Callable[..., Result | None] = evaluate.measure
    columns: tuple[str, ...] = ()


def fit(
    model: nn.Module,
    train: Batches,
    val: Any,
    run: Run,
    folder: Path,
    *,
    world: World,
    num_classes: int,
    resume: bool = False,
    save_best: Callable[[Mapping[str, Tensor], Mapping[str, float]], None],
    watch: Watch,
    judge: Judge = Judge(),
) -> Outcome:
    """Train `model` as `run` says, keeping metrics.csv, tb/ and checkpoints/ in `folder`, which exists.

    `model` maps (N, C, H, W) to (N, num_classes), or, with a judge of its own, to scores of pixels. All processes call
    it together, with loaders that give each a share.
    `save_best(whole state dict on the CPU, row)` is called on rank 0 after each epoch that is the best so far
    (`records.rank`). SIGINT and SIGTERM stop it after the step it is in, with a checkpoint;
    `resume=True` goes on from the newest one; on the CPU, with as many threads on the same machine, the rest equals the
    uninterrupted run bit for bit. Seeds torch's global generators. The model is trained in place and stays on
    `world.device` (sharded, under fsdp). Raises ConvatlasError for a loss that is not finite, an unwritable folder, or
    a checkpoint that does not fit.
    """
    watch, device, settings = watch if world.main else Silent(), world.device, run.train
    steps = train.steps                                 # of the optimiser, in each epoch
    pause = 60 * settings.checkpoint_minutes            # seconds from one checkpoint to the next within an epoch
    sharded = world.size > 1 and settings.parallel == "fsdp"
    _refuse(run, world)
    saved = checkpoint.newest(folder)
    if saved is not None and not resume:
        raise ConvatlasError(
            f"{str(folder)!r} holds {saved.path.name} of an earlier run; resume that run, or choose another --out"
        )
    begun = saved.progress if saved else Progress()

    seed_everything(settings.seed, 0, world.rank)
    model.to(device)
    if settings.channels_last and not sharded:          # FSDP2 takes contiguous weights only
        model.to(memory_format=torch.channels_last)
    least = least_part(model, settings, world.size)
    freezing = Freezing(model, settings)
    freezing.at(begun.epoch + begun.step / steps)       # before DDP looks for what moves
    if settings.grad_checkpointing:
        model.set_grad_checkpointing()  # type: ignore[operator]
    if settings.compile:
        model.compile()
    if settings.sync_bn:
        synchronized(model, world)
    check(run.loss)
    loss_of = per_image(run.loss, num_classes, class_weights(run.loss, train.images.labels, num_classes))
    made = partial(optimizer, optim=run.optim, moving=freezing.moving, thaws=bool(settings.unfreeze))
    move = Step(model, made, run, loss_of, num_classes, world, least)
    optim = move.optim

    # In this order: weights are masked before the average takes them in. Around the validation in reverse: the average
    # is in the network before the masks are put on it.
    listeners: list[Listener] = [Thawing(freezing, move, steps, watch.tell)]
    if isinstance(optim, LevenbergMarquardt):
        listeners.append(Curvature(optim, move, train))
    if run.sparse.sparsity:                             # share of weights that are zero
        listeners.append(Sparsity(move, train, settings.epochs * steps, folder / DENSITIES))
    if settings.ema is not None:                        # decay per step
        listeners.append(Average(model, settings.ema, settings.ema_warmup))

    session = Session(move, listeners, train, val, folder, begun)
    if saved is not None:
        for text in session.restore(saved):
            watch.tell(text)
    elif resume:
        watch.tell(f"There is no checkpoint in {str(folder)!r} yet: training starts from the first step.")
    watch.start(run, folder, begun.epoch + 1, steps)
    records = Records(folder, begun.epoch, begun.epoch * steps, judge.columns) if world.main else nullcontext()
    with closing(watch), records as book, Interrupt() as interrupt:
        if saved is None:
            for listener in listeners:
                listener.start()
        for epoch in range(begun.epoch, settings.epochs):       # passes over the training images
            start, images_seen = session.progress.step, 0
            began = shown = time.perf_counter()
            move.network.train()
            for listener in listeners:
                listener.before_epoch(epoch, start)
            for step, batch in enumerate(train.epoch(epoch, start=start), start=start):
                for listener in listeners:
                    listener.before_step(epoch, step)
                lr = session.rate(epoch, step)
                for group in optim.param_groups:
                    group["lr"] = lr * group["lr_scale"]
                if not move(batch, epoch, step):
                    session.leave_out(epoch, step, lr, watch.tell)
                for listener in listeners:
                    listener.after_step(epoch * steps + step + 1)

                images_seen += batch.total
                now, last = time.perf_counter(), step + 1 == steps
                show, bad = last or now - shown >= SHOW, False
                if show or device.type == "cpu":        # elsewhere each look waits for the device
                    mean_loss, accuracy = means(move.tally.sums)
                    bad = not math.isfinite(mean_loss)
                stop, due, bad = agree(world, interrupt.asked, now - session.kept >= pause, bad)
                if bad:
                    raise diverged("the loss", epoch, step + 1, steps, lr)
                if show:
                    shown = now
                    watch.step(epoch + 1, step + 1, images_seen, mean_loss, accuracy, images_seen / (now - began))
                if stop or (due and not last):
                    session.keep(replace(session.progress, step=step + 1))
                if stop:
                    return session.outcome(interrupted=True)

            train_seconds, lr = time.perf_counter() - began, session.rate(epoch, steps - 1)
            share_buffers(world, model)
            with validation(listeners):
                result = judge.measure(model, val, run.loss, world, num_classes, watch, stop=lambda: interrupt.asked)
                if result is not None:
                    if not math.isfinite(result.loss):
                        raise diverged("the validation loss", epoch, steps, steps, lr)
                    train_loss, train_top1 = means(total(world, move.tally.sums))
                    row: dict[str, float] = {
                        "epoch": epoch + 1,
                        "step": (epoch + 1) * steps,
                        "lr": lr,
                        "train_loss": train_loss,
                        "train_top1": train_top1,
                        "val_loss": result.loss,
                        "val_top1": result.top1,
                        "val_top5": result.top5,
                        "images_per_second": images_seen / train_seconds,
                        "seconds": session.seconds(),
                        **result.extras,
                    }
                    if book is not None:
                        book.write(row)
                    best = session.progress.best
                    if not best or rank(row) > rank(best):
                        best, state = row, checkpoint.weights(model)
                        if world.main:
                            save_best(state, row)
            if result is None:                          # resuming begins with the validation
                session.keep(replace(session.progress, step=steps))
                return session.outcome(interrupted=True)
            move.tally.sums.zero_()
            plateau = session.progress.plateau.after(result.top1, run.schedule)
            session.keep(replace(session.progress, epoch=epoch + 1, step=0, plateau=plateau, best=best))
            watch.epoch(row)
    for listener in listeners:
        listener.end()
    return session.outcome(interrupted=False)


def _refuse(run: Run, world: World) -> None:
    """Raise ConvatlasError for settings that do not go together, before anything is done."""
    several, sharded = world.size > 1, world.size > 1 and run.train.parallel == "fsdp"
    for asked, problem in (
        (run.optim.name == "lm" and several,
         "optim.name = lm estimates second derivatives in one process; start it without torchrun"),
        (run.optim.name == "lm" and run.train.compile,
         "optim.name = lm looks into each layer, and train.compile hides them; leave it off"),
        (run.optim.name == "lm" and bool(run.train.unfreeze),
         "optim.name = lm estimates second derivatives of what moves as an epoch begins; leave train.unfreeze out"),
        (run.sparse.sparsity > 0 and sharded, "sparse.sparsity does not go with parallel = fsdp; use --parallel ddp"),
        (bool(run.train.unfreeze) and sharded, "train.unfreeze does not go with parallel = fsdp; use --parallel ddp"),
    ):
        if asked:
            raise ConvatlasError(problem)
