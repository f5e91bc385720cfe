"""`convatlas train`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from . import console
from .options import (
    COMMON,
    DATA,
    DATA_HELP,
    DEVICE_HELP,
    FIELD,
    OUTPUT,
    REAL,
    SPEED,
    TRAINING,
    WHOLE,
    AcceptChanges,
    DataDir,
    Debug,
    DeviceName,
    Download,
    MaxPixels,
    Strict,
    argument,
    option,
    switch,
    times,
)
from .paths import saved

if TYPE_CHECKING:
    from ..api import Trained
    from ..run import Run
    from ..tasks.fit import Choice

Optimizer = Literal["sgd", "sgd_caffe", "adam", "adamw", "rmsprop", "rmsprop_tf", "lm"]
ScheduleName = Literal["constant", "steps", "exponential", "cosine", "linear", "poly", "plateau"]


def train(
    model: Annotated[str | None, argument("MODEL", "A name that [bold]convatlas list[/] shows.")] = None,
    data: Annotated[str | None, argument("DATA", f"{DATA_HELP} Left out: digits.")] = None,
    device: Annotated[DeviceName | None, option("--device", panel=COMMON, help=DEVICE_HELP)] = None,
    workers: Annotated[int | None, option(
        "--workers", panel=COMMON, parser=WHOLE, help="Processes that read images.")] = None,
    seed: Annotated[int | None, option(
        "--seed", panel=COMMON, parser=WHOLE, help="The same seed gives the same run.")] = None,
    debug: Debug = False,
    data_dir: DataDir = None,
    download: Download = False,
    image_size: Annotated[str | None, option(
        "--image-size", panel=DATA, metavar="N|HxW",
        help="Pixels of the network's input; images are brought to it.")] = None,
    in_chans: Annotated[int | None, option(
        "--in-chans", panel=DATA, parser=WHOLE,
        help="Channels of the input: 1 grey, 3 colour; images are converted.")] = None,
    cache: Annotated[Literal["auto", "off", "memory", "disk"] | None, option(
        "--cache", panel=DATA, help="Decode image files once and keep the pixels: in memory where they fit (auto), or "
        "on disk.")] = None,
    strict: Strict = False,
    max_pixels: MaxPixels = None,
    recipe: Annotated[str | None, option(
        "--recipe", panel=TRAINING, metavar="NAME",
        help="This recipe as it is; [bold]convatlas recipe list[/] shows all. Left out: on its paper's data the "
        "network's own, on other data modern, with --weights finetune, made to fit the data.")] = None,
    config: Annotated[Path | None, option(
        "--config", "-c", panel=TRAINING, metavar="FILE",
        help="YAML with fields of a run, such as another run's config.yaml.")] = None,
    epochs: Annotated[int | None, option(
        "--epochs", panel=TRAINING, parser=WHOLE, help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, option(
        "--batch-size", "-b", panel=TRAINING, parser=WHOLE,
        help="Images per step, over all processes together (not per process).")] = None,
    lr: Annotated[float | None, option(
        "--lr", panel=TRAINING, parser=REAL, help="Learning rate at its highest.")] = None,
    optimizer: Annotated[Optimizer | None, option(
        "--optimizer", panel=TRAINING, metavar="NAME", help="sgd, adam, adamw, rmsprop; sgd_caffe and rmsprop_tf as "
        "Caffe and TensorFlow have them; lm: LeNet-5's.")] = None,
    schedule: Annotated[ScheduleName | None, option(
        "--schedule", panel=TRAINING, metavar="NAME",
        help="How the rate falls: constant, steps, exponential, cosine, linear, poly or plateau.")] = None,
    warmup_epochs: Annotated[float | None, option(
        "--warmup-epochs", panel=TRAINING, parser=REAL, help="Epochs over which the rate rises at the "
        "beginning.")] = None,
    weight_decay: Annotated[float | None, option(
        "--weight-decay", panel=TRAINING, parser=REAL, help="Pull of the weights towards zero.")] = None,
    label_smoothing: Annotated[float | None, option(
        "--label-smoothing", panel=TRAINING, parser=REAL, help="Share of the target given to all classes "
        "alike.")] = None,
    mixup: Annotated[float | None, option("--mixup", panel=TRAINING, parser=REAL, help="Alpha of Mixup.")] = None,
    cutmix: Annotated[float | None, option("--cutmix", panel=TRAINING, parser=REAL, help="Alpha of CutMix.")] = None,
    ema: Annotated[float | None, option(
        "--ema", panel=TRAINING, parser=REAL, help="Validate and keep a running average of the weights with this "
        "decay.")] = None,
    clip_grad: Annotated[float | None, option(
        "--clip-grad", panel=TRAINING, parser=REAL, help="Largest norm of the gradient.")] = None,
    freeze: Annotated[str | None, option(
        "--freeze", panel=TRAINING, metavar="NAMES",
        help="Parts that do not move, with commas between them, such as stem,stages.0.")] = None,
    lr_head: Annotated[float | None, option(
        "--lr-head", panel=TRAINING, metavar="Nx", parser=times,
        help="The new classifier's rate, such as 10x that of the rest.")] = None,
    layer_decay: Annotated[float | None, option(
        "--layer-decay", panel=TRAINING, parser=REAL, help="Each stage's rate is this times the next one's, such as "
        "0.7.")] = None,
    accumulate: Annotated[int | None, option(
        "--accumulate", panel=SPEED, parser=WHOLE, help="Compute each batch in this many parts, for less memory; left "
        "out: as many as memory asks for.")] = None,
    auto: Annotated[bool, switch(
        "--auto", panel=SPEED, help="Measure for some seconds which of the settings below are fastest here, and use "
        "them.")] = False,
    amp: Annotated[Literal["off", "bf16"] | None, option(
        "--amp", panel=SPEED, help="bf16: compute in bfloat16 where it is safe.")] = None,
    channels_last: Annotated[bool | None, typer.Option(
        "--channels-last/--channels-first", rich_help_panel=SPEED, show_default=False,
        help="Memory layout; left out: last, except for small networks on the CPU.")] = None,
    compile: Annotated[bool | None, typer.Option(
        "--compile/--no-compile", rich_help_panel=SPEED, show_default=False,
        help="Compile the network first: takes a minute, worth it on GPUs.")] = None,
    weights: Annotated[str | None, option(
        "--weights", panel=TRAINING, metavar="PATH|NAME",
        help="Begin from the weights of a run folder, of a file of torchvision's or timm's network, or of a name that "
        "[bold]convatlas list --pretrained[/] shows, such as digits.")] = None,
    by_order: Annotated[bool, switch(
        "--by-order", panel=TRAINING, help="Pair the weights' tensors with the network's by their order, kinds and "
        "shapes, where their names are unknown.")] = False,
    parallel: Annotated[Literal["ddp", "fsdp"] | None, option(
        "--parallel", panel=SPEED, help="Under torchrun: copy the network to every process, or shard it.")] = None,
    sets: Annotated[list[str] | None, option(
        "--set", panel=TRAINING, metavar=FIELD,
        help="Any field of a run, such as [bold]augment.flip=0.5[/]; repeatable.")] = None,
    out: Annotated[Path | None, option(
        "--out", panel=OUTPUT, metavar="DIR", help="The run folder; left out: runs/DATE-MODEL-DATA.")] = None,
    force: Annotated[bool, switch(
        "--force", panel=OUTPUT, help="Replace a run that is already in that folder.")] = False,
    track: Annotated[str | None, option(
        "--track", panel=OUTPUT, metavar="NAMES", help="Send the metrics to wandb or mlflow as well (extras to "
        "install).")] = None,
    resume: Annotated[Path | None, option(
        "--resume", panel=OUTPUT, metavar="RUN",
        help="Go on with an interrupted run; MODEL and DATA come from it.")] = None,
    accept_changes: AcceptChanges = False,
) -> None:
    """Train a network and leave a run folder: weights, metrics, TensorBoard events, and a report to open in a browser.
    What you leave out comes from a recipe: on its paper's data the way the paper trained the network, on your own a
    modern one that is made to fit the data, which is told. Stronger than the recipe is a --config file, stronger than
    that the flags below, strongest --set. Ctrl-C stops after writing a checkpoint.

    [bold]Examples[/]
      convatlas train lenet5 digits
      convatlas train alexnet_owt photos/ --epochs 20 --set augment.flip=0.5
      convatlas train resnet50 photos/ --weights resnet50-11ad3fa6.pth --freeze stem,stages.0
      convatlas train --resume runs/2026-11-23-lenet5-digits --epochs 40
      torchrun --nproc-per-node 2 -m convatlas train lenet5 digits
    """
    from .configuration import configured, resumed
    from .configuration import image_size as size

    flags = [
        ("model.name", model), ("model.weights", weights),
        ("model.by_order", by_order or None),
        ("model.fields.image_size", size(image_size)), ("model.fields.in_chans", in_chans),
        ("data.source", data), ("data.data_dir", data_dir), ("data.download", download or None),
        ("data.strict", strict or None), ("data.batch_size", batch_size), ("data.workers", workers),
        ("data.cache", cache), ("data.max_pixels", max_pixels),
        ("augment.mixup", mixup), ("augment.cutmix", cutmix), ("loss.label_smoothing", label_smoothing),
        ("optim.name", optimizer), ("optim.lr", lr), ("optim.weight_decay", weight_decay),
        ("optim.clip_grad", clip_grad),
        ("optim.layer_decay", layer_decay),
        ("optim.groups", None if lr_head is None else [{"names": "head.classifier", "lr": lr_head}]),
        ("schedule.name", schedule), ("schedule.warmup_epochs", warmup_epochs),
        ("train.epochs", epochs), ("train.seed", seed), ("train.device", device), ("train.ema", ema),
        ("train.freeze", _names(freeze)), ("train.accumulate", accumulate), ("train.track", _names(track)),
        ("train.parallel", parallel), ("train.amp", amp), ("train.channels_last", channels_last),
        ("train.compile", compile),
    ]
    if resume is None:
        run, choice = configured(flags, recipe=recipe, config=config, sets=sets or ())
        if data is None and run.data.source == "digits" and os.environ.get("RANK", "0") == "0":
            console.plain("no DATA is named: the digits that come along are taken", to=console.err)
    else:
        if out is not None or force:
            flag = "--force" if force else "--out"
            raise typer.BadParameter("a resumed run goes on in its own folder", param_hint=flag)
        run, choice = resumed(saved(resume), flags, recipe=recipe, config=config, sets=sets or ()), None
    _train(run, choice, out, resume, force, auto, accept_changes)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _train(run: "Run", choice: "Choice | None", out: Path | None, resume: Path | None, force: bool, auto: bool,
           accept: bool) -> None:
    from .progress import Progress

    with console.loading():
        from ..api import train as fit

    speaks = os.environ.get("RANK", "0") == "0"     # torchrun starts one process per rank: only one speaks
    watch = Progress(console.out) if speaks else None
    try:
        trained = fit(run, out=out, resume=resume, force=force, auto=auto, accept_changes=accept, choice=choice,
                      watch=watch)
    except KeyboardInterrupt:                       # before the first step, or a second Ctrl-C
        if speaks:
            again = f"; go on with: convatlas train --resume {watch.folder}" if watch and watch.folder else ""
            console.plain(f"interrupted{again}", to=console.err)
        raise typer.Exit(130) from None
    finally:
        if watch is not None:
            watch.close()
    if speaks:
        _tell(run, trained)
    if trained.outcome.interrupted:
        raise typer.Exit(130)


def _tell(run: "Run", trained: "Trained") -> None:
    from ..runs.folder import run_of
    from ..tasks import task_of

    run, task = run_of(trained.folder), task_of(run.model.name)     # the run as it was fitted to the data
    outcome, folder = trained.outcome, str(trained.folder)
    lines = [""]
    if outcome.interrupted:
        lines += [f"[yellow]interrupted[/] after {outcome.epochs} of {run.train.epochs} epochs; a checkpoint is "
                  "written", f"go on    convatlas train --resume {escape(folder)}"]
    elif trained.evaluation is not None:
        best = task.best(trained.evaluation)
        lines.append(f"{best.label:<8} [bold green]{best.figure}[/]{best.text}, after epoch {outcome.best_epoch} of "
                     f"{run.train.epochs}")
    if outcome.skipped:
        lines.append(f"skipped  {outcome.skipped} images that could not be read")
    lines.append(f"run      {escape(folder)}  ({console.duration(outcome.seconds)} of training)")
    for line, path in zip(task.afterwards, (trained.report, None if outcome.interrupted else folder), strict=True):
        if path is not None:
            lines.append(f"{line.label:<8} {line.text.format(escape(str(path)))}")
    for each in lines:
        console.out.print(each, soft_wrap=True)
