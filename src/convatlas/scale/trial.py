"""Trials of a search: one specification trained from one seed, on one thread, judged on images held out for the search.

Data has three parts here. Trials learn from one and are judged by the search part, which is the data's own validation
part, or is held out of its training part; what was chosen is judged once by the test part.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as pictures

from .. import bounded
from ..api import evaluate
from ..data.images import ImageSet, encoded
from ..data.shards.stream import Stream
from ..data.source import open_data
from ..data.split import stratified
from ..data.survey import head_of
from ..engine.auto import Trials
from ..engine.distributed import pick
from ..engine.records import read_rows
from ..errors import ConvatlasError
from ..evaluation.result import Evaluated
from ..files import digest, put
from ..memory import fits
from ..net import registry
from ..net.card import Card, Values
from ..net.model import Convnet
from ..run import Data, Run
from ..runs.folder import METRICS
from ..trials import InterruptedTrialError, Part, attempt, heeded, pack, part, pooled
from .cluster import Submit, on_ray
from .ledger import Entry, Ledger, Point

SEARCHED = 0.2          # share of the training images that trials are judged by
FINAL = 1000            # the first seed of what is judged by the test part; those of a search begin at 0
ARCHIVE, NOTE = "images.npz", "images.json"
POLL = 1.0              # seconds between two looks at the ledger while others do the rest
SECONDS = 2.0           # to measure a step

Tell = Callable[[str], None]


# -- images ----------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Images:
    """The images of a search, packed into an archive with all three parts."""

    path: Path
    learnt: int         # images that trials learn from
    searched: int       # that they are judged by
    tested: int
    classes: int


def packed(data: Data, folder: Path, *, side: int, most: int | None = None, tell: Tell = lambda text: None) -> Images:
    """The images of `data` as an archive in `folder`, `most` of the training images at most, stratified; one that is
    there already is taken.

    Images of one size are kept as they are; of several, the middle square, at `side` pixels, which is told. Raises
    ConvatlasError for images without one class each, for streams, and for more than fit into memory.
    """
    said = json.dumps([data.source, data.data_dir, side, most])
    note, path = folder / NOTE, folder / ARCHIVE
    if note.is_file() and path.is_file():
        known = bounded.read_json(note)
        if known["said"] == said and known["digest"] == digest(path):
            return Images(path, *known["counts"])
    source = open_data(data, seed=data.split_seed or 0)
    if source.train.labels.dim() > 1:
        raise ConvatlasError(f"{data.source!r} has images with several labels or masks: a search takes images of one "
                             "class each")
    if isinstance(source.train, Stream):
        raise ConvatlasError(f"{data.source!r} is read one shard after the other, and a search goes over its images "
                             "many times: bring some of them into a folder")
    test = source.val if source.test is None else source.test
    all_ = torch.arange(len(source.train))
    if most is not None and most < len(all_):
        all_ = stratified(source.train.labels, most / len(all_), 0)[1]
    if source.val is test:
        kept, held = stratified(source.train.labels[all_], SEARCHED, 0)
        learnt, searched = (source.train, all_[kept]), (source.train, all_[held])
    else:
        learnt, searched = (source.train, all_), (source.val, torch.arange(len(source.val)))
    tested = (test, torch.arange(len(test)))
    parts = _parts((learnt, searched, tested), data.source, side, tell)
    pack(path, dict(zip(("train", "val", "test"), parts, strict=True)), source.classes)
    counts = (*(len(labels) for _, labels in parts), len(source.classes))
    if not source.parted:
        tell(f"{data.source} has no test part: {counts[2]:,} images are held out as one.")
    elif source.test is None:
        tell(f"{data.source} has no test part: its validation part of {counts[2]:,} images stands for it.")
    put(note, json.dumps({"said": said, "digest": digest(path), "counts": counts}))
    return Images(path, *counts)


def _parts(chosen: Sequence[tuple[ImageSet, torch.Tensor]], source: str, side: int, tell: Tell) -> list[Part]:
    shapes = {shape for images, index in chosen for shape in _shapes(images, index)}
    count = sum(len(index) for _, index in chosen)
    one = len(shapes) == 1
    most = max(shape[0] for shape in shapes)
    size = count * (int(np.prod(next(iter(shapes)))) if one else most * side * side)
    if not fits(2 * size):      # packed, and read by a trial
        raise ConvatlasError(f"{source!r} has {count:,} images, which take {size / 2**30:.1f} GiB unpacked, more than "
                             "there is memory for: take some of them with --images")
    if one:
        return [part(images, index, source) for images, index in chosen]
    tell(f"Images of {source} have several sizes: of each the middle square is kept, at {side}×{side} pixels.")
    return [(np.stack([_square(images.read(int(number)), most, side) for number in index]),
             images.labels[index].numpy()) for images, index in chosen]


def _shapes(images: ImageSet, index: torch.Tensor) -> Iterable[tuple[int, ...]]:
    for number in index.tolist():
        file = encoded(images, number)
        yield (file and head_of(file)) or tuple(images.read(number).shape)


def _square(image: torch.Tensor, channels: int, side: int) -> NDArray[np.uint8]:
    """The middle square of a picture, uint8 (C, side, side)."""
    least = min(image.shape[1:])
    square = pictures.resize(pictures.center_crop(image, [least]), [side, side], antialias=True)
    return np.asarray(square.expand(channels, -1, -1))


# -- one trial -------------------------------------------------------------------------------------------------------

def run_of(base: Run, spec: Values, seed: int, images: Images) -> Run:
    """The run that trains a specification of `base`'s network from a seed on the packed images."""
    found = registry.variant(base.model.name)
    fields = Card(found.name, spec, found.spec).fields
    return base.change("model.fields", fields | {"num_classes": images.classes}, "train.seed", seed,
                       "data.source", str(images.path), "data.data_dir", None, "data.download", False)


def accuracy(run: Run, folder: Path) -> float:
    """Train, or go on, in a run folder: the share of the search part that is right after the last epoch, which is fixed
    beforehand. A run that diverges knows no more than chance.
    """
    if attempt(run, folder).diverged:
        return 1 / int(run.model.fields["num_classes"])
    return read_rows(folder / METRICS)[-1]["val_top1"]


def judged(run: Run, folder: Path) -> float:
    """Train, or go on, in a run folder: the share of the test part that is right. Weights are those of the best epoch
    by the search part, and see the test part here only.
    """
    if attempt(run, folder).diverged:
        return 1 / int(run.model.fields["num_classes"])
    found = evaluate(folder, run.data.source, split="test", device=run.train.device)
    assert isinstance(found, Evaluated)     # for it classifies
    return found.evaluation.top1


def seconds(run: Run, images: Images) -> float:
    """Seconds that a training takes on one thread, from some of its steps, measured here."""
    def build() -> Convnet:
        return registry.build(run.model.name, run.model.fields)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        step = Trials(build, run, run.data.batch_size, pick(run.train.device), lambda text: None, SECONDS)
        images_per_second = step.batch / step([run.train])[0].seconds
    finally:
        torch.set_num_threads(threads)
    # a forward pass takes a third of a step
    return run.train.epochs * (images.learnt + images.searched / 3) / images_per_second


# -- many ------------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Work:
    """The work of a search: which trials are wanted, given those that there are, and how one is done.

    Both are called in workers: functions at a module's top level, or `partial`s of such.
    """

    folder: Path
    wanted: Callable[[Sequence[Entry]], Iterable[Point]]
    do: Callable[[Entry], float]


def working(work: Work) -> None:
    """Do trials until none is wanted any more, beside whoever else does some on the same ledger."""
    ledger = Ledger(work.folder)
    while True:
        added = ledger.extend(work.wanted)
        claim = ledger.claim()
        if claim is not None:
            try:
                claim.done(work.do(claim.entry))
            finally:
                claim.let_go()
        elif not added and all(entry.state == "done" for entry in ledger.entries()):
            return
        else:
            time.sleep(POLL)


def conduct(work: Work, workers: int, told: Callable[[Sequence[Entry], Entry], str], tell: Tell, *,
            ray: str | None = None) -> tuple[Entry, ...]:
    """Have the work done by so many processes (0: by this one), of the Ray cluster at the address `ray` if it is given,
    and tell, as `told` words it, each trial that is done.

    Raises KeyboardInterrupt when it is interrupted, after checkpoints are written; the same call goes on.
    """
    ledger = Ledger(work.folder)
    known = {entry.number for entry in ledger.entries() if entry.state == "done"}

    def look() -> None:
        entries = ledger.entries()
        for entry in entries:
            if entry.state == "done" and entry.number not in known:
                known.add(entry.number)
                tell(told(entries, entry))

    if known:
        tell(f"{len(known)} trials are done already.")
    with _submitting(workers, ray) as submit:
        if submit is None:
            try:
                working(work)
            except InterruptedTrialError:
                raise KeyboardInterrupt from None
        else:
            futures = [submit(working, work) for _ in range(workers)]
            while (state := wait(futures, timeout=POLL, return_when="FIRST_EXCEPTION")).not_done:
                look()
                _check(state.done)
            _check(state.done)
    look()
    return ledger.entries()


@contextmanager
def _submitting(workers: int, ray: str | None) -> Iterator[Submit | None]:
    if ray is not None:
        with on_ray(ray) as submit:
            yield submit
    else:
        with pooled(workers) as pool:
            yield None if pool is None else lambda do, given: pool.executor.submit(heeded, do, given)


def _check(done: Iterable[Future[None]]) -> None:
    """Raise what has gone wrong in a process, which stops all."""
    for future in done:
        try:
            future.result()
        except BrokenExecutor as error:
            raise ConvatlasError("a process of the search was ended from outside, as systems do when memory is short: "
                                 "the same command goes on, with --workers 1 in less memory") from error
