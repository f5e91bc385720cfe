"""Judging: the images a network is to be judged on, and one network on them, by a protocol."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from ..data import Files, ImageSet, Source, Subset, open_data, prepared
from ..data.batches import batches
from ..data.images import Joined
from ..data.manifest import (
    PARTS,
    Listing,
    check_content,
    compared,
    content_of,
    held,
    items_of,
    leaks,
    listing,
    moved,
    place,
    resumed,
    sets_of,
)
from ..data.shards.stream import Stream
from ..data.transform import Transform
from ..engine.distributed import World, share
from ..engine.evaluate import Evaluation
from ..engine.evaluate import evaluate as measure
from ..engine.watch import Watch
from ..errors import ConvatlasError
from ..net.answering import Answers
from ..run import Data, Loss
from ..runs.folder import CONFIG, run_of
from ..runs.manifest import Kept, Manifest, kept, run_folder
from .matching import match
from .protocol import Protocol
from .result import Evaluated
from .views import Averaged, ViewLoader, whole_pictures

Tell = Callable[[str], None]
Part = Literal["train", "val", "test", "all"]
Split = Literal["auto", "train", "val", "test", "all"]


class Judged(NamedTuple):
    """Opened data, the images of it that are to be judged, and which part of it they are."""

    source: Source
    images: ImageSet
    part: Part
    notes: tuple[str, ...]


def opened(data: Data, seed: int, here: World, for_eval: bool = False) -> Source:
    """The data; where it must be downloaded, one process does it before the others read."""
    if data.download:
        share(here, lambda: open_data(data, seed=seed, for_eval=for_eval).name)
    return open_data(data, seed=seed, for_eval=for_eval)


def judged_on(paths: Sequence[Path], config: Data, split: Split, here: World, accept: bool = False) -> Judged:
    """The images that networks from `paths` are to be judged on.

    Where they were trained on this data, their runs' manifests say what they held out, whatever the folder holds by
    now. Raises ConvatlasError where that has changed, unless `accept`, and where the runs held out different images.
    """
    whole = opened(config, 0, here, for_eval=True)
    items = items_of(whole)
    files, now = (None, None) if items is None else (items[0], listing(items[1], config.source))
    known = [found for path in paths if (found := known_at(path)) is not None]
    mine = [found for found in known if _is_data_of(found, config, now, here)]
    notes = [note for found in known if found not in mine for note in leaks(found, now, config.source)]
    part = part_for(split, parted=whole.parted, known=bool(mine), test=whole.test is not None, where=config.source)
    told = of_test(whole.name) if split == "auto" and part == "test" and whole.test is not whole.val else ()
    if not mine:
        sets = {"train": whole.train, "val": whole.val, "test": whole.test, "all": None}
        return Judged(whole, sets[part] or everything(whole, files, now), part, (*whole.notes, *told, *notes))
    if part in ("all", "test"):
        return Judged(whole, everything(whole, files, now) if part == "all" or whole.test is None else whole.test, part,
                      (*told, *notes))
    parts = [_parts(found, config, whole, files, now, here, accept) for found in mine]
    names = [[images["val"].name(i) for i in range(len(images["val"]))] for images, _ in parts]
    if any(each != names[0] for each in names):
        kinds = dict.fromkeys((found.manifest.val_fraction, found.manifest.seed) for found in mine)
        raise ConvatlasError(f"the runs held out different images of {config.source} (data.val_fraction, its seed: "
                             f"{', '.join(map(str, kinds))}): one was trained on what another is judged on; judge them "
                             "on other data, or train them with the same --set data.split_seed=0")
    return Judged(whole, parts[0][0][part], part, tuple(dict.fromkeys([note for _, each in parts for note in each]
                                                                      + notes)))


def part_for(split: Split, *, parted: bool, known: bool, test: bool, where: str) -> Part:
    """The part that is judged: as `split` asks, which must be there; of its own accord the test part, else what was
    held out, else everything.

    `parted`: the data has parts of its own; `known`: a run says what it held out of it; `test`: it has a test part.
    """
    if split == "auto":
        return "test" if test else "val" if parted or known else "all"
    if split == "test" and not test:
        raise ConvatlasError(f"{where} has no test part: --split val, train or all")
    if split in ("train", "val") and not (parted or known):
        raise ConvatlasError(f"{where} has no {'training' if split == 'train' else 'validation'} part of its own, and "
                             "is not what the network was trained on: --split all judges all its images")
    return split


def of_test(name: str) -> tuple[str, ...]:
    """A sentence for data whose test part is judged of its own accord."""
    return (f"Judged is the test part of {name}; --split val, train or all judges others.",)


def everything(source: Source, files: Files | None, now: Listing | None) -> ImageSet:
    """All images of the data, each once; `files` and `now` list them where they are files."""
    if not source.parted and source.test is None:
        return source.val
    if files is not None and now is not None:
        return Subset(files, torch.tensor(now.once))
    sets = list(sets_of(source.train, source.val, source.test).values())
    if len(sets) > 1 and any(isinstance(images, Stream) for images in sets):
        raise ConvatlasError(f"{source.name} is read as a stream, part by part: judge each by --split")
    return Joined(sets) if sets[1:] else sets[0]


def known_at(path: Path) -> Kept | None:
    """The manifest of a run folder, of weights in it or of a deployed folder; of an older run what its config.yaml
    says.
    """
    found, folder = kept(path), run_folder(path)
    if found is not None or not (folder / CONFIG).is_file():
        return found
    run = run_of(folder)
    data, where = run.data, place(run.data.source)
    return Kept(folder, Manifest(source=data.source, place=where and str(where), name=data.source,
                                 val_fraction=data.val_fraction, seed=run.split_seed))


def own_data(folder: Path, here: World) -> Source:
    """The data of the run in `folder`, with the images that it was trained on and those that it held out."""
    run = run_of(folder)
    source, known = opened(run.data, run.split_seed, here), kept(folder)
    return source if known is None else resumed(source, known, run.data, accept=False)[0]


def is_place_of(known: Kept, source: str) -> bool:
    """True if `source` names what the run names; a deployed folder does not know its place."""
    where, manifest = place(source), known.manifest
    return source == manifest.source if where is None or manifest.place is None else str(where) == manifest.place


def _is_data_of(known: Kept, config: Data, now: Listing | None, here: World) -> bool:
    """True if this is the data that the run was trained on, at its place, or moved or copied to another."""
    if is_place_of(known, config.source):
        return True
    if now is not None:
        return moved(known, now)
    if known.entries or not known.manifest.parts:
        return False
    try:
        source = _as_split(known, config, here)
    except ConvatlasError:      # nothing to train on
        return False
    return content_of(source.val) == known.manifest.parts["val"].digest


def _parts(known: Kept, config: Data, whole: Source, files: Files | None, now: Listing | None, here: World,
           accept: bool) -> tuple[Mapping[str, ImageSet], tuple[str, ...]]:
    """The images that the run was trained on and those that it held out, and what has changed since."""
    if files is None or now is None or not known.entries:
        source = _as_split(known, config, here)
        told = check_content(source, known, config.source, accept) if known.manifest.parts else ()
        return {"train": source.train, "val": source.val}, (*source.notes, *told)
    told = compared(known, now, whole.classes, config.source, resumes=False, accept=accept)
    parts = {part: Subset(files, torch.tensor(now.of(known.part(part)), dtype=torch.int64)) for part in PARTS}
    held(known, config.source, {part: len(images) for part, images in parts.items()}, resumes=False)
    return parts, told


def _as_split(known: Kept, config: Data, here: World) -> Source:
    """The data opened and split as the run did."""
    kept_out = {"val_fraction": known.manifest.val_fraction}
    return opened(config.model_copy(update=kept_out), known.manifest.seed, here)


def judge_network(net: Answers, name: str, transform: Transform, judged: Judged, config: Data, protocol: Protocol,
                  here: World, watch: Watch | None, tell: Tell) -> Evaluated:
    """The figures of `net`, which `transform` prepares pictures for, on the judged images, read as `config` says.

    `config.batch_size` pictures of the network's own size are computed at once, or as many pixels. Raises
    ConvatlasError where the protocol or the classes do not fit the network.
    """
    plan = protocol.resolved(net.image_size, transform.crop_pct)
    shown = _shown(transform, protocol, plan)
    if not plan.dense:
        net.check_image_size(shown.size)
    # files are decoded no smaller
    largest = shown if plan.single else replace(shown, size=(max(plan.scales),) * 2, crop_pct=1.0)
    source = judged.source
    matched = match(prepared(judged.images, config, largest, tell), source.classes, net, config.strict)
    for note in matched.notes:
        tell(note)
    single = _single if plan.single else _several
    evaluation, loss = single(net.to(here.device), shown, matched.images, plan, config, here, watch)
    return Evaluated(evaluation, matched.classes, source.name, name, loss, plan, described(shown, plan), matched.images,
                     judged.part)


def _shown(transform: Transform, protocol: Protocol, plan: Protocol) -> Transform:
    """The transform at the protocol's sizes."""
    size = plan.image_size
    assert size is not None
    if plan.dense:
        return whole_pictures(replace(transform, size=size))
    share = min(size) / plan.scales[0] if protocol.scales else protocol.crop_pct or transform.crop_pct
    return replace(transform, size=size, crop_pct=share)


def _single(net: Answers, transform: Transform, images: ImageSet, plan: Protocol, config: Data, here: World,
            watch: Watch | None) -> tuple[Evaluation, Loss]:
    """One centre crop: whole batches, as in training's validation."""
    loader = batches(images, transform, config.batch_size, config, rank=here.rank, world=here.size)
    loss = net.card.loss or Loss()
    return measure(net, loader, loss, here, net.num_classes, watch, keep_scores=True), loss


def _several(net: Answers, transform: Transform, images: ImageSet, plan: Protocol, config: Data, here: World,
             watch: Watch | None) -> tuple[Evaluation, Loss]:
    """Several views, or whole pictures: as many pictures at a time as have a batch's pixels, at least one."""
    h, w = transform.size
    budget = config.batch_size * h * w
    sides = [scale * scale for scale in plan.scales] if plan.dense else [h * w]
    seen = sum(sides) * plan.views // len(sides)
    loader = ViewLoader(images, transform, plan, max(1, budget // seen), rank=here.rank, world=here.size,
                        workers=config.workers, strict=config.strict)
    averaged = Averaged(net, plan, budget)
    return measure(averaged, loader, averaged.loss, here, net.num_classes, watch, keep_scores=True), averaged.loss


def described(transform: Transform, plan: Protocol) -> str:
    """The preparation of every picture, in words."""
    def numbers(values: tuple[float, ...]) -> str:
        return "/".join(f"{value:.4g}" for value in dict.fromkeys(values))

    normalized = {
        "none": f"(x − {numbers(transform.mean)}) / {numbers(transform.std)}",
        "channel": "mean 0, deviation 1 per channel of the training images",
        "pixel_mean": f"the training images' mean picture taken off, / {numbers(transform.std)}",
        "gcn": "each picture to mean 0, deviation 1", "zca": "each picture to mean 0, deviation 1; ZCA whitening",
    }[transform.fit]
    return f"{plan}; {transform.interpolation}; {normalized}"
