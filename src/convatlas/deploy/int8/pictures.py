"""The user's pictures for quantising: those that calibrate, as the network's inputs, and those that judge."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...data import Files, ImageSet, Loader, Source, Subset, Transform, open_data, prepared
from ...data.image_folder import SUFFIXES
from ...data.shards.stream import Stream
from ...data.shards.stream_loader import StreamLoader
from ...engine.distributed import World
from ...engine.evaluate import Batches, Evaluation
from ...engine.evaluate import evaluate as measure
from ...errors import ConvatlasError
from ...evaluation.judging import is_place_of, known_at, own_data
from ...evaluation.matching import match
from ...files import folders_in, listed
from ...net.model import Convnet
from ...run import Data, Loss
from ...runs.folder import CONFIG
from ...zoo import transforms
from ..backends import Predictor

Pictures = str | Path | Source | Tensor                 # a folder or a named set, opened data, or inputs (n, C, h, w)
Labeled = str | Path | Source | tuple[Tensor, Tensor]      # the same with classes; or inputs and classes (n,)
BATCH = 32          # of judging


def of_run(model: str | Path, calibrate: Pictures | None,
           evaluate: Labeled | None) -> tuple[Pictures | None, Labeled | None]:
    """Both; where `model` is a run folder, its own data stands in for what is left out.

    So it does for either that names that data: the images that the run held out then judge it. `calibrate` without
    `evaluate` is judged by nothing.
    """
    folder = Path(model).expanduser()
    known = known_at(folder) if (folder / CONFIG).is_file() else None
    if known is None:
        return calibrate, evaluate

    def same(data: object) -> bool:
        return isinstance(data, str | Path) and is_place_of(known, str(data))

    if calibrate is not None and not same(calibrate) and not same(evaluate):
        return calibrate, evaluate
    try:
        own = own_data(folder, World(0, 1, torch.device("cpu")))
    except ConvatlasError as error:
        raise ConvatlasError(f"the images of the run {str(folder)!r}, which would calibrate int8, cannot be opened "
                             f"({error}): give --calibrate DATA") from error
    judged = own if same(evaluate) or (evaluate is None and calibrate is None) else evaluate
    return own if calibrate is None or same(calibrate) else calibrate, judged


def calibration(model: Convnet, source: Pictures, count: int, data_dir: str | None = None) -> Tensor:
    """At most `count` pictures, chosen at random by a fixed seed, as `model` takes them: float32 (n, in_chans, h, w).

    Of data with parts the training part is taken; a folder may also hold pictures without folders of classes. Pictures
    that cannot be read are skipped; where none can be read, or they have other channels than the network takes, it is a
    ConvatlasError.
    """
    if count < 1:
        raise ConvatlasError(f"calibration_count = {count} is refused: it must be at least 1")
    if isinstance(source, Tensor):
        _check(model, source)
        return source[:count].float()
    images, name = _pictures(source, data_dir)
    transform = transforms(model)
    if isinstance(images, Stream):
        loader: Loader | StreamLoader = StreamLoader(images, transform, BATCH)
    else:
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count]
        loader = Loader(_small(Subset(images, chosen), transform), transform, BATCH)
    found: list[Tensor] = []
    try:
        for batch in loader.epoch(0):
            found.append(batch.images[batch.indices >= 0])
            if sum(map(len, found)) >= count:
                break
    except ConvatlasError as error:
        raise ConvatlasError(f"the pictures of {name!r} cannot calibrate {model.name}: {error}") from error
    return torch.cat(found)[:count]


def _pictures(source: str | Path | Source, data_dir: str | None) -> tuple[ImageSet, str]:
    if isinstance(source, Source):
        return source.train, source.name
    folder = Path(source).expanduser()
    if folder.is_dir() and not folders_in(folder):
        paths, _ = listed(folder, SUFFIXES, deep=False)
        if not paths:
            raise ConvatlasError(f"{str(folder)!r} has no pictures to calibrate with: none of its files ends in "
                                 f"{', '.join(sorted(SUFFIXES))}")
        return Files(paths, torch.zeros(len(paths), dtype=torch.int64)), str(folder)
    opened = open_data(Data(source=str(source), data_dir=data_dir), for_eval=True)
    return opened.train, str(source)


def _small(images: ImageSet, transform: Transform) -> ImageSet:
    """JPEGs are decoded no larger than needed."""
    return prepared(images, Data(cache="off"), transform)


class Evaluator(NamedTuple):
    """Labelled pictures, ready to be scored again and again."""

    batches: Batches
    notes: tuple[str, ...]
    loss: Loss
    num_classes: int

    def __call__(self, predictor: Predictor) -> Evaluation:
        """The evaluation of `predictor` on the pictures."""
        found = measure(_Steady(predictor, BATCH), self.batches, self.loss, World(0, 1, torch.device("cpu")),
                        self.num_classes)
        if not found.count:
            raise ConvatlasError("none of the pictures that are to judge the network can be read")
        return found


def evaluator(model: Convnet, source: Labeled, data_dir: str | None = None) -> Evaluator:
    """The validation images of `source` (of data by name or folder, its test part, where there is one) with the
    network's classes; a ConvatlasError where the classes do not fit.
    """
    loss = model.card.loss or Loss()
    if isinstance(source, tuple):
        _check(model, source[0])
        if len(source[0]) != len(source[1]):
            raise ConvatlasError(f"evaluate has {len(source[0])} images and {len(source[1])} classes: each image "
                                 "needs its class")
        return Evaluator(_InMemory(*source), (), loss, model.num_classes)
    opened = (source if isinstance(source, Source)
              else open_data(Data(source=str(source), data_dir=data_dir), for_eval=True))
    judged = opened.val if isinstance(source, Source) or opened.test is None else opened.test
    transform = transforms(model)
    matched = match(prepared(judged, Data(cache="auto"), transform, lambda text: None), opened.classes, model)
    seen = matched.images
    loader = StreamLoader(seen, transform, BATCH) if isinstance(seen, Stream) else Loader(seen, transform, BATCH)
    return Evaluator(loader, (*opened.notes, *matched.notes), loss, model.num_classes)


def _check(model: Convnet, images: Tensor) -> None:
    if images.ndim != 4 or not len(images) or images.shape[1] != model.in_chans:
        raise ConvatlasError(f"{model.name} takes images (n, {model.in_chans}, h, w), at least one, not "
                             f"{tuple(images.shape)}")


class _Batch(NamedTuple):
    images: Tensor
    labels: Tensor
    indices: Tensor


class _InMemory:
    """Inputs and classes as batches."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels, self.skipped = images, labels, dict[int, str]()
        self.steps = -(-len(images) // BATCH)

    def epoch(self, epoch: int) -> Iterator[_Batch]:
        """The batches in their order."""
        for start in range(0, len(self.images), BATCH):
            end = min(start + BATCH, len(self.images))
            yield _Batch(self.images[start:end], self.labels[start:end], torch.arange(start, end))


class _Steady(nn.Module):
    """Scores in batches of one size, the last one filled up: an engine compiles each shape anew."""

    def __init__(self, predictor: Predictor, batch: int) -> None:
        super().__init__()
        self.predictor, self.batch = predictor, batch

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, h, w) to (n, K), n at most the batch."""
        if len(x) == self.batch:
            return self.predictor(x)
        return self.predictor(torch.cat([x, x[-1:].expand(self.batch - len(x), -1, -1, -1)]))[: len(x)]
