"""The training loop: one page, for any network, on one process or many, exactly resumable."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import ConvatlasError
from ..run import Run
from . import checkpoint
from .checkpoint import Progress, seed_everything
from .distributed import World, agree, local, share_buffers, total, wrap
from .evaluate import measure, unreadable
from .interrupt import Interrupt
from .losses import per_image
from .metrics import Tally, means
from .optim import learning_rate, optimizer
from .records import Records
from .sides import losses_of, with_sides
from .watch import Silent as Silent
from .watch import Watch as Watch

if TYPE_CHECKING:
    from ..data.loader import Loader

SHOW = 0.1      # seconds between two looks at the running means: each one waits for the device


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
    train: "Loader",
    val: "Loader",
    run: Run,
    folder: Path,
    *,
    world: World,
    num_classes: int,
    resume: bool = False,
    save_best: Callable[[Mapping[str, Tensor], Mapping[str, float]], None],
    watch: Watch,
) -> Outcome:
    """Train `model` as `run` says, keeping metrics.csv, tb/ and checkpoints/ in `folder`, which exists.

    `model` maps (N, C, H, W) to (N, num_classes). All processes call it together, with loaders that give each a share.
    `save_best(whole state dict on the CPU, row)` is called on rank 0 after each epoch that is the best so far: highest
    val_top1, among equals lowest val_loss. SIGINT and SIGTERM stop it after the step it is in, with a checkpoint;
    `resume=True` goes on from the newest one, and on the CPU the rest equals the uninterrupted run bit for bit. Seeds
    torch's global generators. The model is trained in place and stays on `world.device` (sharded, under fsdp).
    Raises ConvatlasError for a loss that is not finite, an unwritable folder, or a checkpoint that does not fit.
    """
    watch = watch if world.main else Silent()
    device, settings, loss_of = world.device, run.train, per_image(run.loss, num_classes)
    layout = torch.channels_last if settings.channels_last else torch.preserve_format
    sharded = world.size > 1 and settings.parallel == "fsdp"

    seed_everything(settings.seed, 0, world.rank)
    model.to(device)
    if not sharded:     # FSDP2 takes contiguous weights only
        model.to(memory_format=layout)
    if settings.compile:
        model.compile()
    network = wrap(world, with_sides(model, world, settings.parallel), settings.parallel)
    optim = optimizer(model, run.optim)
    tally = Tally(device)

    facts = {"seed": settings.seed, "steps_per_epoch": train.steps, "optim": run.optim.name}
    progress = Progress()
    saved = checkpoint.newest(folder)
    if saved is not None and not resume:
        raise ConvatlasError(
            f"{str(folder)!r} holds {saved.path.name} of an earlier run; resume that run, or choose another --out"
        )
    if saved is not None:
        progress = saved.progress
        if world.size > 1 and settings.parallel == "ddp":
            _rehearse(network, next(train.epoch(progress.epoch)).images.to(device, memory_format=layout))
        for text in (*saved.complaints, *checkpoint.restore(saved, world, model, optim, tally.sums, facts)):
            watch.tell(text)
    elif resume:
        watch.tell(f"There is no checkpoint in {str(folder)!r} yet: training starts from the first step.")

    earlier, began = progress.seconds, time.perf_counter()
    kept = began

    def rate(epoch: int, step: int) -> float:
        counters = {"epoch": epoch, "step": step, "steps": train.steps, "epochs": settings.epochs}
        return learning_rate(run.schedule, run.optim.lr, plateau=progress.plateau, **counters)

    def keep(progress: Progress) -> None:
        nonlocal kept
        if agree(world, not _finite(model))[0]:
            raise _diverged("a weight", progress.epoch, progress.step, train.steps, rate(progress.epoch, progress.step))
        share_buffers(world, model)
        checkpoint.save(folder, world, model, optim, tally.sums, progress, facts, settings.keep)
        kept = time.perf_counter()

    def outcome(interrupted: bool) -> Outcome:
        skipped, best = len(unreadable(world, train)) + len(unreadable(world, val)), progress.best
        return Outcome(progress.epoch, int(best.get("epoch", 0)), best, interrupted, progress.seconds, skipped)

    def seconds() -> float:
        return earlier + time.perf_counter() - began

    watch.start(run, folder, progress.epoch + 1, train.steps)
    records = Records(folder, progress.epoch, progress.epoch * train.steps) if world.main else nullcontext()
    with closing(watch), records as book, Interrupt() as interrupt:
        while progress.epoch < settings.epochs:
            epoch, images_seen = progress.epoch, 0
            epoch_began = shown = time.perf_counter()
            network.train()
            for step, batch in enumerate(train.epoch(epoch, start=progress.step), start=progress.step):
                lr = rate(epoch, step)
                for group in optim.param_groups:
                    group["lr"] = lr

                images = batch.images.to(device, memory_format=layout, non_blocking=True)
                labels = batch.labels.to(device, non_blocking=True)
                with torch.autocast(device.type, torch.bfloat16, enabled=settings.amp == "bf16"):
                    scores = network(images)
                scores = scores.float()
                real = batch.indices >= 0
                if not real.all():                      # fillers weigh nothing
                    scores, labels = scores[..., real, :], labels[real]
                scores, losses = losses_of(model, scores, labels, loss_of)
                # DDP and FSDP2 average gradients over the processes: times their number, it is the step of one process.
                loss = losses.sum() * (world.size / max(batch.total, 1))
                optim.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                if run.optim.clip_grad is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), run.optim.clip_grad)
                optim.step()

                tally.add(losses.detach(), scores.detach(), labels)
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
            result = measure(model, val, run.loss, world, num_classes, watch, stop=lambda: interrupt.asked)
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
            }
            if book is not None:
                book.write(row)
            best = progress.best
            if not best or (row["val_top1"], -row["val_loss"]) > (best["val_top1"], -best["val_loss"]):
                best, state = row, checkpoint.weights(model)
                if world.main:
                    save_best(state, row)
            tally.sums.zero_()
            progress = Progress(epoch + 1, 0, seconds(), progress.plateau.after(result.top1, run.schedule), best)
            keep(progress)
            watch.epoch(row)
    return outcome(interrupted=False)


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
        "lower --lr, lengthen schedule.warmup_epochs or set optim.clip_grad (checkpoints from before are kept)"
    )
