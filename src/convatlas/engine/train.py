"""The training loop: one page, for any network, on one process or many, exactly resumable."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import ConvatlasError
from ..run import Run
from ..runs.folder import DENSITIES
from . import checkpoint
from .auxiliary import with_auxiliary
from .checkpoint import Progress, seed_everything
from .curvature import estimate
from .distributed import World, agree, local, share_buffers, synchronised, total, wrap
from .ema import Average
from .evaluate import measure, unreadable
from .freeze import Freezing, keep_still
from .interrupt import Interrupt
from .losses import class_weights, per_image
from .metrics import Tally, means
from .optim import optimizer
from .optimizers import LevenbergMarquardt
from .records import Records, rank
from .schedule import learning_rate
from .sparse import Sparsity
from .step import Step
from .watch import Silent as Silent
from .watch import Watch as Watch

SHOW = 0.1      # seconds between two looks at the running means: each one waits for the device


class Batches(Protocol):
    """What goes over images: `Loader`, `StreamLoader`, `PatchLoader`."""

    images: Any             # with `labels`, of which class weights are made

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        ...

    @property
    def skipped(self) -> Mapping[int, str]:
        """Images that could not be read: index -> reason."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of one epoch (`data.loader.Batch`), from number `start` on."""
        ...


class Result(Protocol):
    """What a judge finds."""

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
    """How a network is judged after each epoch: `measure(model, val, loss, world, num_classes, watch, stop)`, None if it was stopped.

    `columns` are what metrics.csv gets besides its own (`Result.extras`).
    """

    measure: Callable[..., Result | None] = measure
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    epochs: int                     # finished
    best_epoch: int                 # counted from 1; 0 before the first
    best: Mapping[str, float]       # its row of metrics.csv
    interrupted: bool               # stopped by a signal; resume goes on
    seconds: float                  # of training, all sessions together
    skipped: int                    # images that could not be read in this session


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

    `model` maps (N, C, H, W) to (N, num_classes), or, with a judge of its own, to scores of pixels. All processes call it together,
    with loaders that give each a share.
    `save_best(whole state dict on the CPU, row)` is called on rank 0 after each epoch that is the best so far
    (`records.rank`). SIGINT and SIGTERM stop it after the step it is in, with a checkpoint;
    `resume=True` goes on from the newest one, and on the CPU the rest equals the uninterrupted run bit for bit. Seeds
    torch's global generators. The model is trained in place and stays on `world.device` (sharded, under fsdp).
    Raises ConvatlasError for a loss that is not finite, an unwritable folder, or a checkpoint that does not fit.
    """
    watch = watch if world.main else Silent()
    device, settings, total_steps = world.device, run.train, run.train.epochs * train.steps
    sharded = world.size > 1 and settings.parallel == "fsdp"
    _check(run, world)

    seed_everything(settings.seed, 0, world.rank)
    model.to(device)
    if settings.channels_last and not sharded:      # FSDP2 takes contiguous weights only
        model.to(memory_format=torch.channels_last)
    facts = {"seed": settings.seed, "steps_per_epoch": train.steps, "optim": run.optim.name}
    saved = checkpoint.newest(folder)
    if saved is not None and not resume:
        raise ConvatlasError(
            f"{str(folder)!r} holds {saved.path.name} of an earlier run; resume that run, or choose another --out"
        )
    progress = saved.progress if saved else Progress()
    freezing = Freezing(model, settings)
    optim = optimizer(model, run.optim, freezing.moving)
    freezing.at(progress.epoch + progress.step / train.steps)       # before DDP looks for what moves
    if settings.grad_checkpointing:
        model.set_grad_checkpointing()  # type: ignore[operator]
    if settings.compile:
        model.compile()
    loss_of = per_image(run.loss, num_classes, class_weights(run.loss, train.images.labels, num_classes))
    if settings.sync_bn:
        synchronised(model, world)
    network = wrap(world, with_auxiliary(model, world, settings.parallel), settings.parallel)
    sparsity = Sparsity(model, run.sparse, steps=total_steps, seed=settings.seed) if run.sparse.sparsity else None
    tally = Tally(device)
    move = Step(model, network, optim, run, loss_of, num_classes, world, tally)

    if saved is not None:
        if world.size > 1 and settings.parallel == "ddp":
            _rehearse(network, next(train.epoch(progress.epoch)).images.to(device))
        for text in (*saved.complaints, *checkpoint.restore(saved, world, model, optim, tally.sums, facts)):
            watch.tell(text)
        if sparsity is not None:
            sparsity.load(saved.extras("sparse"))
    elif resume:
        watch.tell(f"There is no checkpoint in {str(folder)!r} yet: training starts from the first step.")
    if sparsity is not None and saved is None:
        network.train()
        sparsity.start(lambda: move.first(next(train.epoch(0))))
    average = None if settings.ema is None else Average(model, settings.ema, settings.ema_warmup)
    if average is not None and saved is not None:
        average.load(saved.extras("ema"))

    earlier, began = progress.seconds, time.perf_counter()
    kept = began

    def rate(epoch: int, step: int) -> float:
        counters = {"epoch": epoch, "step": step, "steps": train.steps, "epochs": settings.epochs}
        return learning_rate(run.schedule, run.optim.lr, plateau=progress.plateau, **counters) * 0.5**progress.left_out

    def keep(progress: Progress) -> None:
        nonlocal kept
        if agree(world, not _finite(model))[0]:
            raise _diverged("a weight", progress.epoch, progress.step, train.steps, rate(progress.epoch, progress.step))
        share_buffers(world, model)
        extras = {**({"ema": average.tensors()} if average else {}), **({"sparse": sparsity.tensors()} if sparsity else {})}
        checkpoint.save(folder, world, model, optim, tally.sums, progress, facts, settings.keep, extras)
        kept = time.perf_counter()

    def outcome(interrupted: bool) -> Outcome:
        skipped, best = len(unreadable(world, train)) + len(unreadable(world, val)), progress.best
        return Outcome(progress.epoch, int(best.get("epoch", 0)), best, interrupted, progress.seconds, skipped)

    def seconds() -> float:
        return earlier + time.perf_counter() - began

    watch.start(run, folder, progress.epoch + 1, train.steps)
    records = Records(folder, progress.epoch, progress.epoch * train.steps, judge.columns) if world.main else nullcontext()
    with closing(watch), records as book, Interrupt() as interrupt:
        if sparsity is not None and saved is None:
            _note_densities(folder, world, sparsity, "start")
        while progress.epoch < settings.epochs:
            epoch, images_seen = progress.epoch, 0
            epoch_began = shown = time.perf_counter()
            network.train()
            keep_still(model)
            if isinstance(optim, LevenbergMarquardt) and progress.step == 0:
                optim.set_curvature(model, estimate(model, _first_images(train, epoch, run.optim.samples, device), loss_of))
            for step, batch in enumerate(train.epoch(epoch, start=progress.step), start=progress.step):
                thawed = freezing.at(epoch + step / train.steps)
                if thawed:
                    watch.tell(f"From here on these move too: {', '.join(thawed)}.")
                    keep_still(model)
                    move.network = network = wrap(world, with_auxiliary(model, world, settings.parallel), settings.parallel)
                    network.train()
                    keep_still(model)
                lr = rate(epoch, step)
                for group in optim.param_groups:
                    group["lr"] = lr * group["lr_scale"]
                if not move(batch, epoch, step):
                    progress = replace(progress, left_out=progress.left_out + 1)
                    watch.tell(f"The loss of step {step + 1} in epoch {epoch + 1} is not finite: the step is left out and the rate "
                               f"halved, for the {_ordinal(progress.left_out)} time of at most {settings.nan_limit}.")
                    if progress.left_out > settings.nan_limit:
                        raise _diverged("the loss", epoch, step + 1, train.steps, lr)
                done = epoch * train.steps + step + 1
                if sparsity is not None:
                    sparsity.after_step(optim, done)
                if average is not None:
                    average.update(done - 1)

                images_seen += batch.total
                now, last = time.perf_counter(), step + 1 == train.steps
                show, bad = last or now - shown >= SHOW, False
                if show or device.type == "cpu":        # elsewhere each look waits for the device
                    mean_loss, accuracy = means(tally.sums)
                    bad = not math.isfinite(mean_loss)
                stop, due, bad = agree(world, interrupt.asked, now - kept >= 60 * settings.checkpoint_minutes, bad)
                if bad:
                    raise _diverged("the loss", epoch, step + 1, train.steps, lr)
                if show:
                    shown = now
                    watch.step(epoch + 1, step + 1, images_seen, mean_loss, accuracy, images_seen / (now - epoch_began))
                if stop or (due and not last):
                    progress = replace(progress, step=step + 1, seconds=seconds())
                    keep(progress)
                if stop:
                    return outcome(interrupted=True)

            train_seconds = time.perf_counter() - epoch_began
            share_buffers(world, model)
            with average.swapped() if average else nullcontext():
                if sparsity is not None:
                    sparsity.apply()            # an average over masks that moved has fewer zeros
                result = judge.measure(model, val, run.loss, world, num_classes, watch, stop=lambda: interrupt.asked)
                judged = checkpoint.weights(model) if result is not None and average else None
            if result is None:                          # resuming begins with the validation
                progress = replace(progress, step=train.steps, seconds=seconds())
                keep(progress)
                return outcome(interrupted=True)
            lr = rate(epoch, train.steps - 1)
            if not math.isfinite(result.loss):
                raise _diverged("the validation loss", epoch, train.steps, train.steps, lr)
            train_loss, train_top1 = means(total(world, tally.sums))
            row: dict[str, float] = {
                "epoch": epoch + 1,
                "step": (epoch + 1) * train.steps,
                "lr": lr,
                "train_loss": train_loss,
                "train_top1": train_top1,
                "val_loss": result.loss,
                "val_top1": result.top1,
                "val_top5": result.top5,
                "images_per_second": images_seen / train_seconds,
                "seconds": seconds(),
                **result.extras,
            }
            if book is not None:
                book.write(row)
            best = progress.best
            if not best or rank(row) > rank(best):
                best, state = row, judged or checkpoint.weights(model)
                if world.main:
                    save_best(state, row)
            tally.sums.zero_()
            progress = replace(progress, epoch=epoch + 1, step=0, seconds=seconds(),
                               plateau=progress.plateau.after(result.top1, run.schedule), best=best)
            keep(progress)
            watch.epoch(row)
    if sparsity is not None:
        _note_densities(folder, world, sparsity, "end")
    return outcome(interrupted=False)


def _check(run: Run, world: World) -> None:
    """What cannot be done is refused before anything is."""
    several, sharded = world.size > 1, world.size > 1 and run.train.parallel == "fsdp"
    for asked, problem in (
        (run.optim.name == "lm" and several, "optim.name = lm estimates second derivatives in one process; start it without torchrun"),
        (run.optim.name == "lm" and run.train.compile, "optim.name = lm looks into each layer, and train.compile hides them; leave it off"),
        (run.sparse.sparsity > 0 and sharded, "sparse.sparsity does not go with parallel = fsdp; use --parallel ddp"),
        (bool(run.train.unfreeze) and sharded, "train.unfreeze does not go with parallel = fsdp; use --parallel ddp"),
    ):
        if asked:
            raise ConvatlasError(problem)


def _first_images(train: Batches, epoch: int, count: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """The first `count` images of an epoch with their labels, batch by batch."""
    for batch in train.epoch(epoch):
        real = (batch.indices >= 0).nonzero().flatten()[:count]
        yield batch.images[real].to(device), batch.labels[real].to(device)
        count -= len(real)
        if not count:
            return


def _note_densities(folder: Path, world: World, sparsity: Sparsity, when: str) -> None:
    """Keep the densities of all tensors in densities.json, those of the start beside those of the end."""
    if world.main:
        path = folder / DENSITIES
        noted = json.loads(path.read_text(encoding="utf-8")) if when == "end" and path.exists() else {}
        path.write_text(json.dumps({**noted, when: sparsity.report()}, indent=1) + "\n", encoding="utf-8")


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def _rehearse(network: nn.Module, images: Tensor) -> None:
    """One step without an effect, before the state is restored.

    DDP adds up its first gradients in one layout and all later ones in another, which follows the order in which the
    first came; from three processes on, sums differ in the last bit between the two. So a resumed run gets its first
    step behind it.
    """
    network(images).sum().backward()
    network.zero_grad(set_to_none=True)


def _finite(model: nn.Module) -> bool:
    """Whether every weight that this process holds is a finite number."""
    return all(bool(local(parameter).isfinite().all()) for parameter in model.parameters())


def _diverged(what: str, epoch: int, step: int, steps: int, lr: float) -> ConvatlasError:
    return ConvatlasError(
        f"{what} is not a finite number in epoch {epoch + 1}, step {step} of {steps}, at learning rate {lr:.3g}; "
        "lower --lr, lengthen schedule.warmup_epochs, set optim.clip_grad or --set train.on_nan=skip (checkpoints from before are kept)"
    )
