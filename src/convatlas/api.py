"""Train, evaluate and predict: what the command line does, as functions."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from . import weights, zoo
from .data import ImageSet, Loader, Source, UnreadableImage, make_transform, open_data, prepared, read_image, to_tensor
from .data.fitted import fit as fit_preprocess
from .data.fitted import unnormalised
from .data.shards.stream import Stream
from .data.shards.stream_loader import StreamLoader
from .data.transform import Transform
from .deploy import reader
from .deploy.reader import Prediction as Prediction
from .engine.allocator import use
from .engine.auto import choose
from .engine.checkpoint import newest
from .engine.distributed import World, share, world
from .engine.evaluate import Evaluation
from .engine.losses import probabilities
from .engine.threads import resolve_layout, threads_for
from .engine.trackers import tracked
from .engine.train import Batches, Judge, Outcome, Result, Silent, Watch, fit
from .errors import ConvatlasError
from .evaluation.judging import judge_network
from .evaluation.protocol import Protocol, named
from .evaluation.result import Evaluated, join
from .files import is_deployed, whole_write
from .inspect.filters import first_filters
from .inspect.report import write_report
from .net import registry
from .net.layers import layer_table
from .net.layers import macs as macs_of
from .net.model import Convnet
from .net.segmenter import Segmenter
from .recipes import recipe
from .run import Augment, Data, Loss, Preprocess, Run
from .runs import folder
from .runs.folder import run_of as run_of
from .segment.pairs import Pairs, open_pairs
from .segment.training import PIXELS, channel_note, leave_sheet
from .segment.training import loaders as pixel_loaders
from .weights.checkpoints import load as load
from .zoo import Info as Info
from .zoo import create_model as create_model
from .zoo import info as info
from .zoo import list_models as list_models
from .zoo import recipe_for as recipe_for
from .zoo import transforms as transforms

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A run that ended: whole, or interrupted (then there is no evaluation and no report yet)."""

    folder: Path
    outcome: Outcome
    evaluation: Result | None           # of the best weights on the validation images: Evaluation, of pixels segment.judging.Judged
    report: Path | None                 # report.html, of pixels segmentation.png


def train(run: Run, *, out: Path | None = None, resume: Path | None = None, force: bool = False, auto: bool = False,
          watch: Watch | None = None) -> Trained:
    """Train as `run` says and leave a run folder: config.yaml, metrics.csv, model.safetensors, checkpoints/, tb/, report.html.

    `out` names the folder (default runs/<date>-<model>-<data>); `resume` goes on in an existing one instead. `auto` first measures
    for some seconds which settings of speed are best here and puts them into the run. Under torchrun every process calls this. Data,
    names and folders are checked before anything is written.
    """
    watch = watch or Silent()
    with world(run.train.device) as here:
        begun = share(here, lambda: str(folder.begun(out) or "")) if resume is None else ""
        going = resume or (Path(begun) if begun else None)
        if begun:
            run = Run.from_yaml(share(here, lambda: run_of(begun).to_yaml()))
        pixels = registry.variant(run.model.name).segments
        source = open_pairs(run.data) if pixels else _open(run.data, run.train.seed, here)
        run = _with_classes(run, source)
        if isinstance(source, Source) and source.multi_label and run.loss.name != "bce":
            raise ConvatlasError(f"the images of {source.name} have several labels each, for which loss.name = {run.loss.name!r} has no "
                                 "meaning: --set loss.name=bce judges each class by itself")

        def build() -> Convnet:
            torch.manual_seed(run.train.seed)
            start = run.model.weights if going is None or newest(going) is None else None       # a checkpoint has everything
            made: Convnet = create_model(run.model.name, start, download=run.data.download, **run.model.fields)
            return made

        model = build()
        model.check_image_size()
        if run.model.weights is not None and going is None:
            run = _as_pretrained(run, model, watch.tell if here.main else Silent().tell)
        macs = macs_of(model) * run.data.batch_size // here.size
        tell = watch.tell if here.main else Silent().tell
        if auto and going is None:
            run = _fastest(run, build, here, tell)
        settings = _resolved(run, macs, here)
        where = _folder(run, out, going, force, here)
        fitted: dict[str, Tensor] = {}
        batches: Batches
        judged: Any
        if isinstance(source, Pairs):
            assert isinstance(model, Segmenter)
            judge, notes = PIXELS, channel_note(model, source)
            batches, judged = pixel_loaders(settings, model, source, here)
        else:
            fitted = _measured(settings, model, source.train, where, here, tell)
            judge, notes = Judge(), tuple(channel_notes(model, source.train))
            batches, judged = _loaders(settings, model, source, fitted, here, tell)
        for note in (*source.notes, *notes):
            tell(note)

        def save_best(tensors: Mapping[str, Tensor], row: Mapping[str, float]) -> None:
            weights.save(where / folder.WEIGHTS, tensors, weights.Meta(
                model=run.model.name, fields=registry.changed(run.model.name, model.spec), classes=source.classes,
                preprocess=run.preprocess, loss=run.loss, data=source.name, metrics=dict(row)), fitted)

        try:
            with threads_for(macs, here.device):
                outcome = fit(model, batches, judged, settings, where, world=here, num_classes=model.num_classes, save_best=save_best,
                              resume=going is not None,
                              watch=tracked(watch, run.train.track) if here.main else watch, judge=judge)
            if outcome.interrupted:
                return Trained(where, outcome, None, None)
            best = load(where).to(here.device)
            evaluation = judge.measure(best, judged, run.loss, here, best.num_classes, None, lambda: False)
            report = None
            if here.main and isinstance(source, Pairs):
                assert isinstance(best, Segmenter)
                report = leave_sheet(best, source, run, where)
            elif here.main:
                assert isinstance(evaluation, Evaluation) and isinstance(source, Source)
                report = _report(where, run, best, evaluation, source)
        finally:
            watch.close()
        return Trained(where, outcome, evaluation, report)


def _open(data: Data, seed: int, here: World, for_eval: bool = False) -> Source:
    """The data; where it must be downloaded, one process does it before the others read."""
    if data.download:
        share(here, lambda: open_data(data, seed=seed, for_eval=for_eval).name)
    return open_data(data, seed=seed, for_eval=for_eval)


def _with_classes(run: Run, source: Source | Pairs) -> Run:
    """The run with the data's number of classes, unless it names one, which must be enough."""
    wanted = run.model.fields.get("num_classes", len(source.classes))
    if isinstance(wanted, int) and wanted < len(source.classes):
        raise ConvatlasError(f"num_classes = {wanted} is too few: {source.name} has {len(source.classes)} classes")
    return run.model_copy(update={"model": run.model.model_copy(update={"fields": {**run.model.fields, "num_classes": wanted}})})


def _resolved(run: Run, macs: int, here: World) -> Run:
    """What this process runs: `run`, with what it leaves to the network and the machine decided."""
    use(run.train.allocator, macs, here.device)
    layout = resolve_layout(run.train.channels_last, macs, here.device)
    return run.model_copy(update={"train": run.train.model_copy(update={"channels_last": layout})})


def _as_pretrained(run: Run, model: Convnet, tell: Tell) -> Run:
    """The run with the fields of the weights that it starts from, and their preprocessing unless it has one other than its recipe's."""
    if isinstance(model.loaded, weights.Report):
        for line in model.loaded.brief():
            tell(line)
    fields = {**registry.changed(run.model.name, model.spec), **run.model.fields}
    run = run.model_copy(update={"model": run.model.model_copy(update={"fields": fields})})
    theirs, usual = model.preprocess, recipe(run.recipe).preprocess if run.recipe else Preprocess()
    if theirs is None or theirs.fit != "none" or run.preprocess != usual or theirs == usual:
        return run
    tell(f"Pictures are prepared as for these weights: {theirs}.")
    return run.model_copy(update={"preprocess": theirs})


def _fastest(run: Run, build: Callable[[], Convnet], here: World, tell: Tell) -> Run:
    """The run with the settings of speed that are best here, as the first process measures them."""
    def measured() -> str:
        batch = -(-run.data.batch_size // here.size)
        return run.model_copy(update={"train": choose(build, run, batch, here.device, tell)}).to_yaml()

    return Run.from_yaml(share(here, measured))


def _measured(run: Run, model: Convnet, images: ImageSet, where: Path, here: World, tell: Tell) -> dict[str, Tensor]:
    """What preprocessing measures on the training images, kept in the run folder. Each process measures: the result is the same."""
    kept = where / folder.FITTED
    if kept.is_file():
        return load_file(kept)
    transform = unnormalised(run.preprocess, model.image_size, model.in_chans)
    found = fit_preprocess(run.preprocess, run.augment, images, transform, tell)
    if found and here.main:
        with whole_write(kept, errors=(OSError, SafetensorError)) as beside:
            save_file(found, beside)
    return found


def _loaders(run: Run, model: Convnet, source: Source, fitted: Mapping[str, Tensor], here: World,
             tell: Tell) -> tuple[Loader | StreamLoader, Loader | StreamLoader]:
    def loader(images: ImageSet, augment: Augment | None, shuffle: bool) -> Loader | StreamLoader:
        transform = make_transform(run.preprocess, model.image_size, model.in_chans, augment, fitted=fitted)
        images = prepared(images, run.data, transform, tell, processes=int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        batch_size = run.data.batch_size if augment else max(run.data.batch_size, 256)
        return _loader(images, transform, batch_size, here, run.data, seed=run.train.seed, shuffle=shuffle,
                       sampling=run.data.sampling if augment else "all")

    return loader(source.train, run.augment, run.data.shuffle), loader(source.val, None, False)


def _loader(images: ImageSet, transform: Transform, batch_size: int, here: World, data: Data, *, seed: int = 0, shuffle: bool = False,
            sampling: Literal["all", "balanced"] = "all") -> Loader | StreamLoader:
    """What goes over the images in batches, for this process."""
    if isinstance(images, Stream):
        if sampling == "balanced":
            raise ConvatlasError("data.sampling = balanced takes any image at any time, and shards are read one after the other: "
                                 "weigh the classes with loss.class_weights=balanced instead")
        return StreamLoader(images, transform, batch_size, seed=seed, shuffle=shuffle, rank=here.rank, world=here.size,
                            workers=data.workers, strict=data.strict)
    return Loader(images, transform, batch_size, seed=seed, shuffle=shuffle, sampling=sampling, rank=here.rank, world=here.size,
                  workers=data.workers, strict=data.strict)


def _folder(run: Run, out: Path | None, going: Path | None, force: bool, here: World) -> Path:
    """The run folder, made or checked by the first process, and known to all."""
    def choose() -> str:
        if going is None:
            return str(folder.create(run, out, force))
        folder.resume(going, run)
        return str(going)

    return Path(share(here, choose))


def channel_notes(model: Convnet, images: ImageSet) -> Iterator[str]:
    """A sentence where pictures and network differ in channels, and the pictures are converted."""
    try:
        channels = images.read(0).shape[0]
    except UnreadableImage:
        return
    if channels != model.in_chans:
        how = {(1, 3): "grey pictures are repeated on three channels", (3, 1): "colour pictures are turned grey"}
        told = how.get((channels, model.in_chans), f"pictures have {channels} channels")
        yield f"{model.name} takes {model.in_chans} channel(s): {told} (--in-chans {channels} builds it for the pictures as they are)."


def _report(where: Path, run: Run, model: Convnet, evaluation: Evaluation, source: Source) -> Path:

    about = zoo.describe(registry.variant(run.model.name))
    facts = {key: about[key] for key in ("Mirrors", "Departs") if about[key]}
    return write_report(where, run=run, title=f"{run.model.name} on {source.name}", idea=about["Idea"], layers=layer_table(model),
                        evaluation=evaluation, images=source.val, classes=source.classes, filters=first_filters(model),
                        facts={"Paper": about["title"], **facts})


Model = str | Path | Convnet


def evaluate(model: Model | Sequence[Model], data: str, *, protocol: str | Protocol = "centre", weights: Sequence[float] | None = None,
             split: str = "val", batch_size: int = 256, data_dir: str | None = None, download: bool = False, device: str = "auto",
             workers: int = 0, strict: bool = False, watch: Watch | None = None) -> Evaluated:
    """Measure a model, the best weights of a run folder, a file of weights or a deployed folder on the validation part of `data`.

    Several models are an ensemble: their probabilities are averaged, with `weights` where given; the result has each one's figures too.
    `protocol` names what the network is shown (`evaluation.protocol.PROTOCOLS`), or is one. Classes are matched by name where the weights
    know theirs. Data without a validation part of its own is measured whole, unless it is what a run was trained on: then its held-out
    images are.
    """
    models = [model] if isinstance(model, str | Path | nn.Module) else list(model)
    members = evaluate_each(models, data, protocol=protocol, split=split, batch_size=batch_size, data_dir=data_dir, download=download,
                            device=device, workers=workers, strict=strict, watch=watch)
    return members[0] if len(members) == 1 and weights is None else join(members, weights)


def evaluate_each(models: Sequence[Model], data: str, *, protocol: str | Protocol = "centre", split: str = "val", batch_size: int = 256,
                  data_dir: str | None = None, download: bool = False, device: str = "auto", workers: int = 0, strict: bool = False,
                  watch: Watch | None = None) -> list[Evaluated]:
    """`evaluate` of each model by itself, all on the same images."""
    if split not in ("val", "train"):
        raise ConvatlasError(f"split {split!r} is refused: it is 'val' or 'train'")
    shown = named(protocol) if isinstance(protocol, str) else protocol
    config = Data(source=data, data_dir=data_dir, download=download, cache="off", batch_size=batch_size, workers=workers, strict=strict)
    with world(device) as here:
        tell = watch.tell if watch and here.main else Silent().tell
        nets = [_opened(model, device) for model in models]
        source = _judged_on(models, config, split, here)
        images = source.val if split == "val" else source.train
        for note in dict.fromkeys((*source.notes, *(note for net in nets for note in channel_notes(net, images)))):
            tell(note)
        return [judge_network(net, net.name if isinstance(model, nn.Module) else str(model), transforms(net), source, images, config,
                              shown, here, watch, tell) for model, net in zip(models, nets, strict=True)]


def _judged_on(models: Sequence[Model], config: Data, split: str, here: World) -> Source:
    """The data; where runs were trained on it and it has no validation part of its own, what all of them held out."""
    paths = [Path(model) for model in models if not isinstance(model, nn.Module)]
    runs = [run for path in paths if (run := _trained_on(path, config.source)) is not None]
    if not runs:
        return _open(config, 0, here, for_eval=split == "val")
    kept = dict.fromkeys((run.data.val_fraction, run.train.seed) for run in runs)
    sources = [_open(config.model_copy(update={"val_fraction": share}), seed, here) for share, seed in kept]
    held = [[source.val.name(i) for i in range(len(source.val))] for source in sources]
    if any(names != held[0] for names in held):
        raise ConvatlasError(f"the runs held out different images of {config.source} (data.val_fraction, train.seed: "
                             f"{', '.join(map(str, kept))}): one was trained on what another is judged on; judge them on other data")
    return sources[0]


def _trained_on(path: Path, data: str) -> Run | None:
    """The run in folder `path`, if `data` is what it was trained on."""
    if not (path / folder.CONFIG).is_file():
        return None
    run = run_of(path)
    same = run.data.source == data or (Path(data).exists() and Path(data).resolve() == Path(run.data.source).resolve())
    return run if same else None


def predict(model: str | Path | Convnet, images: Sequence[str | Path | Image.Image | Tensor], *, top_k: int = 5, device: str = "auto",
            batch_size: int = 64, strict: bool = False) -> list[Prediction]:
    """The `top_k` likeliest classes of each picture: a path, a PIL image, or a uint8 tensor (C, H, W).

    `model` is as in `evaluate`. A picture that cannot be read has an `error` in place of classes; with `strict` it stops everything.
    """
    if top_k < 1:
        raise ConvatlasError(f"top_k = {top_k} is refused: it must be at least 1")
    files = [image for image in images if isinstance(image, str | Path)]
    if isinstance(model, str | Path) and len(files) == len(images) and reader.answers(model, device):
        return reader.predict(model, files, top_k=top_k, batch_size=batch_size, strict=strict)
    with world(device) as here:
        net = _opened(model, device).to(here.device).eval()
        transform, names = transforms(net), net.classes or tuple(str(i) for i in range(net.num_classes))
        found: list[Prediction | None] = [None] * len(images)
        for start in range(0, len(images), batch_size):
            batch: dict[int, Tensor] = {}
            for i in range(start, min(start + batch_size, len(images))):
                try:
                    batch[i] = transform(_pixels(images[i]))
                except UnreadableImage as error:
                    if strict:
                        raise
                    found[i] = Prediction(_name(images[i], i), (), (), str(error))
            if batch:
                with torch.inference_mode():
                    scores = net(torch.stack(list(batch.values())).to(here.device)).float()
                best = probabilities(scores, net.scores or Loss()).cpu().topk(min(top_k, scores.shape[1]))
                for i, values, indices in zip(batch, best.values.tolist(), best.indices.tolist(), strict=True):
                    found[i] = Prediction(_name(images[i], i), tuple(names[j] for j in indices), tuple(values))
        return [prediction for prediction in found if prediction is not None]


def _opened(model: Model, device: str) -> Convnet:
    """The network itself, or that of a path; a deployed one is as good as a Convnet for answering."""
    if isinstance(model, nn.Module):
        return model
    if not is_deployed(model):
        return load(model)
    from .deploy.bundle import deployed  # an eighth of a second that only deployed folders need

    return cast(Convnet, deployed(model, None if device == "auto" else device))


def _pixels(image: str | Path | Image.Image | Tensor) -> Tensor:
    if isinstance(image, Tensor):
        return image
    return to_tensor(image) if isinstance(image, Image.Image) else read_image(Path(image))


def _name(image: str | Path | Image.Image | Tensor, number: int) -> str:
    return str(image) if isinstance(image, str | Path) else f"image {number}"
