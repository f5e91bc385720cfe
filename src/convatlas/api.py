"""Train, evaluate and predict: what the command line does, as functions."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from . import count, folder, registry, weights, zoo
from .data import ImageSet, Loader, Source, UnreadableImage, make_transform, open_data, prepared, read_image, to_tensor
from .data.fitted import fit as fit_preprocess
from .data.fitted import unnormalised
from .data.stream import Stream
from .data.stream_loader import StreamLoader
from .data.transform import Transform
from .engine.allocator import use
from .engine.distributed import World, share, world
from .engine.evaluate import Evaluation
from .engine.evaluate import evaluate as measure
from .engine.losses import probabilities
from .engine.threads import resolve_layout, threads_for
from .engine.trackers import tracked
from .engine.train import Outcome, Silent, Watch, fit
from .errors import ConvatlasError
from .folder import run_of as run_of
from .model import Convnet
from .run import Augment, Data, Loss, Run
from .zoo import Info as Info
from .zoo import create_model as create_model
from .zoo import info as info
from .zoo import list_models as list_models
from .zoo import load as load
from .zoo import recipe_for as recipe_for
from .zoo import transforms as transforms

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A run that ended: whole, or interrupted (then there is no evaluation and no report yet)."""

    folder: Path
    outcome: Outcome
    evaluation: Evaluation | None       # of the best weights on the validation images
    report: Path | None


def train(run: Run, *, out: Path | None = None, resume: Path | None = None, force: bool = False, auto: bool = False,
          watch: Watch | None = None) -> Trained:
    """Train as `run` says and leave a run folder: config.yaml, metrics.csv, model.safetensors, checkpoints/, tb/, report.html.

    `out` names the folder (default runs/<date>-<model>-<data>); `resume` goes on in an existing one instead. `auto` first measures
    for some seconds which settings of speed are best here and puts them into the run. Under torchrun every process calls this. Data,
    names and folders are checked before anything is written.
    """
    watch = watch or Silent()
    with world(run.train.device) as here:
        source = _open(run.data, run.train.seed, here)
        run = _with_classes(run, source)
        if source.multi_label and run.loss.name != "bce":
            raise ConvatlasError(f"the images of {source.name} have several labels each, for which loss.name = {run.loss.name!r} has no "
                                 "meaning: --set loss.name=bce judges each class by itself")

        def build() -> Convnet:
            torch.manual_seed(run.train.seed)
            made: Convnet = create_model(run.model.name, run.model.weights, **run.model.fields)
            return made

        model = build()
        model.check_image_size()
        macs = count.macs(model) * run.data.batch_size // here.size
        tell = watch.tell if here.main else Silent().tell
        if auto and resume is None:
            run = _fastest(run, build, out, here, tell)
        settings = _resolved(run, macs, here)
        where = _folder(run, out, resume, force, here)
        fitted = _measured(settings, model, source.train, where, here, tell)
        loaders = _loaders(settings, model, source, fitted, here, tell)
        notes = (*source.notes, *channel_notes(model, source.train)) if here.main else ()
        for note in notes:
            watch.tell(note)

        def save_best(tensors: Mapping[str, Tensor], row: Mapping[str, float]) -> None:
            weights.save(where / folder.WEIGHTS, tensors, weights.Meta(
                model=run.model.name, fields=registry.changed(run.model.name, model.spec), classes=source.classes,
                preprocess=run.preprocess, loss=run.loss, data=source.name, metrics=dict(row)), fitted)

        try:
            with threads_for(macs, here.device):
                outcome = fit(model, *loaders, settings, where, world=here, num_classes=model.num_classes, save_best=save_best,
                              resume=resume is not None or folder.restarted(),
                              watch=tracked(watch, run.train.track) if here.main else watch)
            if outcome.interrupted:
                return Trained(where, outcome, None, None)
            best = load(where).to(here.device)
            evaluation = measure(best, loaders[1], run.loss, here, best.num_classes)
            report = _report(where, run, best, evaluation, source) if here.main else None
        finally:
            watch.close()
        return Trained(where, outcome, evaluation, report)


def _open(data: Data, seed: int, here: World, for_eval: bool = False) -> Source:
    """The data; where it must be downloaded, one process does it before the others read."""
    if data.download:
        share(here, lambda: open_data(data, seed=seed, for_eval=for_eval).name)
    return open_data(data, seed=seed, for_eval=for_eval)


def _with_classes(run: Run, source: Source) -> Run:
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


def _fastest(run: Run, build: Callable[[], Convnet], out: Path | None, here: World, tell: Tell) -> Run:
    """The run with the settings of speed that are best here, as the first process measures them; a restarted one has them."""
    def choose() -> str:
        from .engine.auto import choose

        begun = folder.begun(out)
        if begun is not None:
            return run_of(begun).to_yaml()
        batch = -(-run.data.batch_size // here.size)
        return run.model_copy(update={"train": choose(build, run, batch, here.device, tell)}).to_yaml()

    return Run.from_yaml(share(here, choose))


def _measured(run: Run, model: Convnet, images: ImageSet, where: Path, here: World, tell: Tell) -> dict[str, Tensor]:
    """What preprocessing measures on the training images, kept in the run folder. Each process measures: the result is the same."""
    kept = where / folder.FITTED
    if kept.is_file():
        return load_file(kept)
    transform = unnormalised(run.preprocess, model.image_size, model.in_chans)
    found = fit_preprocess(run.preprocess, run.augment, images, transform, tell)
    if found and here.main:
        beside = kept.with_name(f".{kept.name}")
        save_file(found, beside)
        beside.replace(kept)
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


def _folder(run: Run, out: Path | None, resume: Path | None, force: bool, here: World) -> Path:
    """The run folder, made or checked by the first process, and known to all; torchrun's restarts go on in theirs."""
    def choose() -> str:
        going = resume or folder.begun(out)
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
    from .inspect.filters import first_filters
    from .inspect.report import write_report

    about = zoo.describe(registry.variant(run.model.name))
    facts = {key: about[key] for key in ("Mirrors", "Departs") if about[key]}
    return write_report(where, run=run, title=f"{run.model.name} on {source.name}", idea=about["Idea"], layers=count.layers(model),
                        evaluation=evaluation, images=source.val, classes=source.classes, filters=first_filters(model),
                        facts={"Paper": about["title"], **facts})


@dataclass(frozen=True)
class Evaluated:
    """What `evaluate` returns."""

    evaluation: Evaluation
    classes: tuple[str, ...]        # of the model: the names of the confusion matrix's rows and columns
    data: str


def evaluate(model: str | Path | Convnet, data: str, *, split: str = "val", batch_size: int = 256, data_dir: str | None = None,
             download: bool = False, device: str = "auto", workers: int = 0, strict: bool = False,
             watch: Watch | None = None) -> Evaluated:
    """Measure a model, or the best weights of a run folder, on the validation (or training) part of `data`.

    Classes are matched by name where the weights know theirs. Data without a validation part of its own is measured whole,
    unless it is what the run was trained on: then its held-out images are.
    """
    if split not in ("val", "train"):
        raise ConvatlasError(f"split {split!r} is refused: it is 'val' or 'train'")
    with world(device) as here:
        net = model if isinstance(model, nn.Module) else load(model)
        config = Data(source=data, data_dir=data_dir, download=download)
        run = None if isinstance(model, nn.Module) else _trained_on(Path(model), data)
        if run is not None:
            config = config.model_copy(update={"val_fraction": run.data.val_fraction})
        source = _open(config, run.train.seed if run else 0, here, for_eval=run is None and split == "val")
        transform = transforms(net)
        images = prepared(source.val if split == "val" else source.train, config.model_copy(update={"cache": "off"}), transform)
        images = _matched(images, source.classes, net)
        loader = _loader(images, transform, batch_size, here, config.model_copy(update={"workers": workers, "strict": strict}))
        if watch and here.main:
            for note in (*source.notes, *channel_notes(net, images)):
                watch.tell(note)
        evaluation = measure(net.to(here.device), loader, net.scores or Loss(), here, net.num_classes, watch)
        return Evaluated(evaluation, net.classes or source.classes, source.name)


def _trained_on(path: Path, data: str) -> Run | None:
    """The run in folder `path`, if `data` is what it was trained on."""
    if not (path / folder.CONFIG).is_file():
        return None
    run = run_of(path)
    same = run.data.source == data or (Path(data).exists() and Path(data).resolve() == Path(run.data.source).resolve())
    return run if same else None


class _Renumbered:
    """An image set whose labels are another list's numbers of the same names."""

    def __init__(self, images: ImageSet, labels: Tensor) -> None:
        self.images, self.labels = images, labels
        self.read, self.name = images.read, images.name

    def __len__(self) -> int:
        return len(self.images)


def _matched(images: ImageSet, classes: Sequence[str], model: Convnet) -> ImageSet:
    """The images with the model's class numbers; a class that the model does not know is a ConvatlasError."""
    known = model.classes
    if not known and len(classes) > model.num_classes:
        raise ConvatlasError(f"{model.name} has {model.num_classes} classes, the data {len(classes)}")
    if not known or tuple(classes) == known[: len(classes)]:
        return images
    unknown = [name for name in classes if name not in known]
    if unknown:
        raise ConvatlasError(f"the data has classes that the model does not know: {_some(unknown)}; it knows {_some(known)}")
    numbers = torch.tensor([known.index(name) for name in classes])
    if isinstance(images, Stream):
        return images.relabelled(numbers[images.labels])
    if images.labels.ndim == 1:
        return _Renumbered(images, numbers[images.labels])
    labels = images.labels.new_zeros(len(images), len(known))
    labels[:, numbers] = images.labels
    return _Renumbered(images, labels)


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (" …" if len(names) > 5 else "")


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one picture, best first; `error` says why there are none."""

    image: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    error: str | None = None


def predict(model: str | Path | Convnet, images: Sequence[str | Path | Image.Image | Tensor], *, top_k: int = 5, device: str = "auto",
            batch_size: int = 64, strict: bool = False) -> list[Prediction]:
    """The `top_k` likeliest classes of each picture: a path, a PIL image, or a uint8 tensor (C, H, W).

    A picture that cannot be read has an `error` in place of classes; with `strict` it stops everything.
    """
    if top_k < 1:
        raise ConvatlasError(f"top_k = {top_k} is refused: it must be at least 1")
    with world(device) as here:
        net = (model if isinstance(model, nn.Module) else load(model)).to(here.device).eval()
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


def _pixels(image: str | Path | Image.Image | Tensor) -> Tensor:
    if isinstance(image, Tensor):
        return image
    return to_tensor(image) if isinstance(image, Image.Image) else read_image(Path(image))


def _name(image: str | Path | Image.Image | Tensor, number: int) -> str:
    return str(image) if isinstance(image, str | Path) else f"image {number}"
