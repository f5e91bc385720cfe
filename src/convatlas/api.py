"""Train, evaluate and predict: what the command line does, as functions."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from . import weights
from .data.normalization import apply as normalize
from .data.survey import understood
from .deploy import reader
from .deploy.bundle import deployed
from .deploy.native import training
from .deploy.reader import Prediction as Prediction
from .engine.allocator import use
from .engine.auto import choose
from .engine.checkpoint import newest
from .engine.distributed import World, pick, share, world
from .engine.least import check_batch
from .engine.threads import resolve_layout, threads_for
from .engine.trackers import tracked
from .engine.train import Outcome, Result, Silent, Watch, fit
from .errors import ConvatlasError
from .evaluation.judging import Split
from .evaluation.protocol import Protocol, named
from .evaluation.result import Evaluated
from .files import is_deployed
from .net.answering import Answers
from .net.card import Provenance
from .net.layers import macs as macs_of
from .net.model import Convnet
from .recipes import recipe
from .run import MEASURED, Preprocess, Run
from .runs import folder
from .runs.folder import run_of as run_of
from .runs.manifest import kept
from .runs.manifest import write as write_manifest
from .segment.evaluate import PixelEvaluation
from .tasks import CLASSES, Asked, Candidate, Picture, Task, task_of
from .tasks.fit import Choice, looked_at, scaled
from .tasks.within_memory import within_memory
from .weights.checkpoints import load as load
from .weights.classes import of_classes
from .zoo import Info as Info
from .zoo import create_model as create_model
from .zoo import info as info
from .zoo import list_models as list_models
from .zoo import of_registered
from .zoo import recipe_for as recipe_for
from .zoo import transforms as transforms

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A run that ended: whole, or interrupted (then there is no evaluation and no report yet)."""

    folder: Path
    outcome: Outcome
    # of the best weights on the validation images: Evaluation, of pixels segment.validation.PixelResult
    evaluation: Result | None
    report: Path | None                 # report.html, of pixels segmentation.png


def train(run: Run, *, out: str | Path | None = None, resume: str | Path | None = None, force: bool = False,
          auto: bool = False, accept_changes: bool = False, choice: Choice | None = None,
          watch: Watch | None = None) -> Trained:
    """Train as `run` says and leave a run folder: config.yaml, metrics.csv, model.safetensors, checkpoints/, tb/,
    report.html.

    `out` names the folder (default runs/<date>-<model>-<data>); `resume` goes on in an existing one instead. `auto`
    first measures for some seconds which settings of speed are best here and puts them into the run. `choice`
    (`tasks.choose`) says that the recipe was chosen for the data, and is to be made to fit it. Under torchrun every
    process calls this. Data, names and folders are checked before anything is written. A resumed run goes on
    with the images that it began with; where these have changed it is a ConvatlasError, unless `accept_changes`.
    """
    watch = watch or Silent()
    out, resume = out if out is None else Path(out), resume if resume is None else Path(resume)
    with ExitStack() as open_, world(run.train.device) as here:
        begun = share(here, lambda: str(folder.begun(out) or "")) if resume is None else ""
        going = resume or (Path(begun) if begun else None)
        if begun:
            run = Run.from_yaml(share(here, lambda: run_of(begun).to_yaml()))
        run = of_registered(run)
        task = task_of(run.model.name)
        if going is None:
            task.check(run)
        source = task.open(run, here, kept(going) if going is not None else None, accept_changes)
        tell = watch.tell if here.main else Silent().tell
        if going is None:
            found = looked_at(task, source)
            run, lines = (run, (f"{found}.",)) if choice is None else scaled(run, choice, found)
            for line in lines:
                tell(line)
        run = _with_classes(run, source.name, source.classes)

        def build() -> Convnet:
            torch.manual_seed(run.train.seed)
            # a checkpoint has everything
            start = run.model.weights if going is None or newest(going) is None else None
            made: Convnet = create_model(run.model.name, start, download=run.data.download,
                                         by_order=run.model.by_order, **run.model.fields)
            if start is not None:
                of_classes(made, source.classes)
            return made

        model = build()
        model.check_image_size()
        check_batch(model, run, here)
        if run.model.weights is not None and going is None:
            run = _as_pretrained(run, model, tell)
        inherited = _inherited(run, model)
        macs = macs_of(model) * run.data.batch_size // here.size
        if going is None:
            run = understood(run, len(source.train), partial(task.encoded, source), tell)
        run = within_memory(run, model, here, tell, going=going is not None)
        depthwise = share(here, lambda: training.decide(run.train, model, macs, here.device, tell, going is not None))
        if auto and going is None:
            run = _fastest(run, (lambda: training.take(build())) if depthwise == "native" else build, here, tell)
            if run.train.amp != "off" and run.train.depthwise == "auto":
                depthwise = "torch"
        if going is None:
            run = run.change("train.depthwise", depthwise)
        if depthwise == "native":
            training.take(model)
        settings = _resolved(run, macs, here)
        where = _folder(run, out, going, force, here)
        share(here, lambda: str(open_.enter_context(folder.held(where))))
        recorded = _recorded(task, run, source, where, accept_changes, here)
        fitted = task.measured(settings, model, source, where, here, tell, inherited)
        batches, judged = task.loaders(settings, model, source, fitted, here, tell)
        for note in (*task.notes(model, source), *recorded):
            tell(note)

        def save_best(tensors: Mapping[str, Tensor], row: Mapping[str, float]) -> None:
            weights.save(where / folder.WEIGHTS, tensors, replace(
                model.card, classes=source.classes, preprocess=run.preprocess, loss=run.loss, fitted=fitted,
                provenance=Provenance(source.name, dict(row))))

        try:
            with threads_for(macs, here.device):
                outcome = fit(model, batches, judged, settings, where, world=here, num_classes=model.num_classes,
                              save_best=save_best, resume=going is not None,
                              watch=tracked(watch, run.train.track) if here.main else watch, judge=task.judge)
            if outcome.interrupted:
                return Trained(where, outcome, None, None)
            best = load(where).to(here.device)
            evaluation = task.judge.measure(best, judged, run.loss, here, best.num_classes, None, lambda: False)
            report = task.report(where, run, best, evaluation, source) if here.main else None
        finally:
            watch.close()
        return Trained(where, outcome, evaluation, report)


def _with_classes(run: Run, data: str, classes: Sequence[str]) -> Run:
    """The run with the data's number of classes, unless it names one, which must be enough."""
    wanted = run.model.fields.get("num_classes", len(classes))
    if isinstance(wanted, int) and wanted < len(classes):
        raise ConvatlasError(f"num_classes = {wanted} is too few: {data} has {len(classes)} classes")
    return run.change("model.fields", {**run.model.fields, "num_classes": wanted})


def _resolved(run: Run, macs: int, here: World) -> Run:
    """The run of this process: `run`, with what it leaves to the network and the machine decided."""
    use(run.train.allocator, macs, here.device)
    return run.change("train.channels_last", resolve_layout(run.train.channels_last, macs, here.device))


def _as_pretrained(run: Run, model: Convnet, tell: Tell) -> Run:
    """The run with the fields of the weights that it starts from, and their preprocessing unless it has one other than
    its recipe's.
    """
    if model.card.provenance.report is not None:
        for line in model.card.provenance.report.brief():
            tell(line)
    run = run.change("model.fields", {**model.card.fields, **run.model.fields})
    theirs, usual = model.card.preprocess, recipe(run.recipe).preprocess if run.recipe else Preprocess()
    asked = run.preprocess != usual
    if theirs is None:
        if model.card.foreign:
            tell(f"How pictures were prepared for these weights is not known: they are prepared as {_said(asked)}, "
                 f"{run.preprocess}.")
        return run
    if asked:
        if run.preprocess != theirs:
            tell(f"Pictures were prepared otherwise for these weights, {theirs}: they are prepared as {_said(asked)}, "
                 f"{run.preprocess}.")
        return run
    if theirs.fit in MEASURED or theirs != usual:
        measured = " and what was measured then" if theirs.fit in MEASURED else ""
        tell(f"Pictures are prepared as for these weights: {theirs}{measured}.")
    return run.change("preprocess", theirs)


def _said(asked: bool) -> str:
    """The one who says how pictures are prepared."""
    return "this run says" if asked else "the recipe says (--set preprocess.mean=… preprocess.std=… says otherwise)"


def _inherited(run: Run, model: Convnet) -> dict[str, Tensor]:
    """Measurements that came with the weights, where pictures are prepared by the same kind; they must fit the input.
    """
    theirs = model.card.preprocess
    if theirs is None or run.preprocess.fit not in MEASURED or theirs.fit != run.preprocess.fit:
        return {}
    fitted = {name: tensor for name, tensor in model.card.fitted.items() if not name.startswith("pca_")}
    picture = torch.zeros(model.in_chans, *model.image_size)
    if fitted:
        normalize(run.preprocess.fit, picture, fitted, run.preprocess.std)      # raises where it does not
    return fitted


def _fastest(run: Run, build: Callable[[], Convnet], here: World, tell: Tell) -> Run:
    """The run with the settings of speed that are best here, as the first process measures them."""
    def measured() -> str:
        batch = -(-run.data.batch_size // here.size)
        return run.change("train", choose(build, run, batch, here.device, tell)).to_yaml()

    return Run.from_yaml(share(here, measured))


def _folder(run: Run, out: Path | None, going: Path | None, force: bool, here: World) -> Path:
    """The run folder, made or checked by the first process, and known to all."""
    def choose() -> str:
        if going is None:
            return str(folder.create(run, out, force))
        folder.resume(going, run)
        return str(going)

    return Path(share(here, choose))


def _recorded(task: Task[Any, Any, Any], run: Run, source: Any, where: Path, accept: bool,
              here: World) -> tuple[str, ...]:
    """Keep in the run folder what its data is, unless that stands there; returns what is worth telling of it."""
    def write() -> str:
        if kept(where) is not None and not accept:
            return ""
        record = task.record(run, source)
        write_manifest(where, record.manifest, record.entries)
        return "\n".join(record.notes)

    return tuple(share(here, write).splitlines())


Model = str | Path | Answers | Candidate


def evaluate(model: Model | Sequence[Model], data: str | Path, *, protocol: str | Protocol = "centre",
             weights: Sequence[float] | None = None, split: Split = "auto",
             objects: Literal["none", "components", "watershed"] = "none",
             masks: Literal["auto", "classes", "instances", "binary"] = "auto", batch_size: int = 256,
             data_dir: str | None = None, download: bool = False, device: str = "auto", workers: int = 0,
             strict: bool = False, max_pixels: int | None = None, accept_changes: bool = False,
             preprocess: Mapping[str, Any] | None = None, watch: Watch | None = None) -> Evaluated | PixelEvaluation:
    """Measure a model, the best weights of a run folder, a file of weights or a deployed folder on `data`.

    Several models are an ensemble: their probabilities are averaged, with `weights` where given; the result has each
    one's figures too. `protocol` names what the network is shown (`evaluation.protocol.PROTOCOLS`), or is one. Classes
    are matched by name where the weights know theirs. Of its own accord (`split` auto) the test part is judged, else
    the validation part; data without either is judged whole, unless it is what a run was trained on: then the images
    that the run held out are, whatever has been added since. Where those have changed it is a ConvatlasError, unless
    `accept_changes`. `preprocess` (`{"mean": …, "std": …}`) changes how the weights say that pictures are prepared, and
    must say it where others trained them and that is not known. Of a network that segments `data` is images with masks,
    `masks` what the masks' numbers are, `objects` how objects are found; the result is a `PixelEvaluation`. An option
    that the network's task does not take is a ConvatlasError.
    """
    asked = Asked(str(data), split, named(protocol) if isinstance(protocol, str) else protocol, weights, objects, masks,
                  batch_size, data_dir, download, workers, strict, max_pixels, accept_changes)
    models = list(model) if isinstance(model, Sequence) and not isinstance(model, str | Candidate) else [model]
    candidates = [opened(each, device, preprocess) for each in models]
    task = task_of(candidates[0].net.name)
    task.check_options(asked.changed)
    task.take(candidates)
    with world(device) as here:
        hearer, tell = _told(watch, here)
        for line in chain.from_iterable(map(account, candidates)):
            tell(line)
        found = task.evaluate(candidates, asked, here, hearer, tell)
        result: Evaluated | PixelEvaluation = task.join(found, weights)
        return result


def evaluate_each(models: Sequence[Model], data: str | Path, *, protocol: str | Protocol = "centre",
                  split: Split = "auto", batch_size: int = 256, data_dir: str | None = None,
                  download: bool = False, device: str = "auto", workers: int = 0, strict: bool = False,
                  accept_changes: bool = False, watch: Watch | None = None) -> list[Evaluated]:
    """`evaluate` of each network that classifies by itself, all on the same images; one that segments is a
    ConvatlasError.
    """
    asked = Asked(str(data), split, named(protocol) if isinstance(protocol, str) else protocol, batch_size=batch_size,
                  data_dir=data_dir, download=download, workers=workers, strict=strict, accept_changes=accept_changes)
    candidates = [opened(model, device) for model in models]
    CLASSES.take(candidates)
    with world(device) as here:
        return CLASSES.evaluate(candidates, asked, here, *_told(watch, here))


def _told(watch: Watch | None, here: World) -> tuple[Watch | None, Tell]:
    """The watcher of the progress, and the hearer of the notes: on the first process only."""
    return (watch, watch.tell) if watch is not None and here.main else (None, Silent().tell)


def predict(model: Model, images: Picture | Sequence[Picture], *, top_k: int = 5, device: str = "auto",
            batch_size: int = 64, strict: bool = False, max_pixels: int | None = None,
            preprocess: Mapping[str, Any] | None = None) -> list[Prediction]:
    """The `top_k` likeliest classes of each picture: a path, a PIL image, or a uint8 tensor (C, H, W); one alone is a
    list of one, a tensor (N, C, H, W) is N.

    `model` and `preprocess` are as in `evaluate`. A picture that cannot be read has an `error` in place of classes;
    with `strict` it stops everything; one of more than `max_pixels` (default: as free memory allows) is not decoded. A
    network that segments is a ConvatlasError: `segment.run.segment` is for it.
    """
    if top_k < 1:
        raise ConvatlasError(f"top_k = {top_k} is refused: it must be at least 1")
    if isinstance(images, str | Path | Image.Image):
        images = [images]
    elif isinstance(images, Tensor):
        images = [images] if images.ndim == 3 else list(images)
    files = [image for image in images if isinstance(image, str | Path)]
    if (isinstance(model, str | Path) and len(files) == len(images) and not preprocess
            and reader.answers(model, device)):
        return reader.predict(model, files, top_k=top_k, batch_size=batch_size, strict=strict, max_pixels=max_pixels)
    net = opened(model, device, preprocess).net
    with world(device) as here:
        return task_of(net.name).predict(net, images, top_k=top_k, batch_size=batch_size, strict=strict,
                                         max_pixels=max_pixels, here=here)


def opened(model: Model, device: str = "auto", preprocess: Mapping[str, Any] | None = None) -> Candidate:
    """The network itself, or that of a path; with `preprocess`, one that prepares pictures so."""
    candidate = _opened(model, device)
    if not preprocess:
        return candidate
    if not isinstance(candidate.net, Convnet):
        raise ConvatlasError(f"{candidate.name!r} is deployed, and prepares pictures as it was made to: "
                             "preprocess.* is refused")
    net = copy(candidate.net)
    net.card = weights.prepared(net.card, preprocess)
    return candidate._replace(net=net)


def _opened(model: Model, device: str) -> Candidate:
    if isinstance(model, Candidate):
        return model
    if not isinstance(model, str | Path):
        origin = model.card.provenance.path
        return Candidate(model, model.name, Path(origin) if origin else None)
    if not is_deployed(model):
        return Candidate(load(model), str(model), Path(model))
    pick(device)        # a device that is not here is told as such
    return Candidate(deployed(model, None if device == "auto" else device), str(model), Path(model))


def account(candidate: Candidate) -> tuple[str, ...]:
    """Sentences on weights that others trained: whose they are, and how pictures are prepared for them."""
    report = candidate.net.card.provenance.report
    return tuple(report.brief()) if candidate.net.card.foreign and report is not None else ()
