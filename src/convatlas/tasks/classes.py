"""Classes: networks that say what is in an image, by one label or several."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .. import bounded, zoo
from ..data import ImageSet, Loader, Source, UnreadableImage, make_transform, prepared, to_tensor
from ..data.batches import batches
from ..data.fitted import fit, unnormalized
from ..data.images import as_tensor, decoded_as, encoded
from ..data.manifest import Record, record_of, resumed
from ..data.shards.stream import Stream
from ..data.shards.stream_loader import StreamLoader
from ..data.survey import head_of, notes_of, survey
from ..deploy.reader import Prediction
from ..draw.numbers import exact, percent
from ..engine.distributed import World
from ..engine.evaluate import Evaluation
from ..engine.least import least_batch
from ..engine.losses import probabilities
from ..engine.train import Judge
from ..engine.watch import Watch
from ..errors import ConvatlasError
from ..evaluation import files
from ..evaluation.figures import figures, per_class
from ..evaluation.judging import judge_network, judged_on, opened
from ..evaluation.result import Evaluated, join
from ..files import whole_write
from ..inspect.filters import first_filters
from ..inspect.report import write_report
from ..net import registry
from ..net.answering import Answers
from ..net.layers import layer_table
from ..net.model import Convnet
from ..net.segmenter import of_images
from ..pixels import Decoding, decode
from ..run import Augment, Loss, Run
from ..runs import folder
from ..runs.manifest import Kept
from .task import Asked, Candidate, Measure, Picture, Refusal, Task, Tell
from .told import Line, Table, Told

_MASK = Refusal("only images with masks have pixels to be judged")


class Classes(Task[Source, Evaluation, Evaluated]):
    """One class for an image, or several labels."""

    does = "classifies"
    judge = Judge()
    column = ("val_top1", "val acc")
    afterwards = (Line("report", "open {} in a browser"), Line("predict", "convatlas predict {} IMAGE…"))
    pipeline = "image-classification"
    measures = tuple(Measure(f"val_top{k}", "accuracy", f"top-{k}", "of the validation images") for k in (1, 5))
    usage = ("convatlas predict FOLDER photo.jpg", 'print(convatlas.predict(model, ["photo.jpg"]))')
    settings: ClassVar[Mapping[str, Refusal]] = {
        "data.masks": Refusal("it says how masks are read"),
        "data.mask_orientation": Refusal("it says how masks are read"),
        "augment.turns": Refusal("whole images are not turned; augment.affine turns them by some degrees"),
        "loss.name": Refusal("it takes cross_entropy, map, mse or bce", also=("map", "mse", "bce")),
        "loss.add": _MASK, "loss.gamma": _MASK, "loss.alpha": _MASK, "loss.border": _MASK, "loss.border_sigma": _MASK,
        "loss.pixels": _MASK, "loss.ignore_index": _MASK,
    }
    options: ClassVar[Mapping[str, str]] = dict.fromkeys(("objects", "masks"), "objects are found in masks of pixels")

    def take(self, candidates: Sequence[Candidate]) -> None:
        """Any number of networks, all of which classify."""
        for candidate in candidates:
            of_images(candidate.net, "`convatlas eval RUN DATA` judges it alone, on images with masks")

    def open(self, run: Run, here: World, known: Kept | None = None, accept: bool = False) -> Source:
        """A data set as `data.open_data` opens it."""
        source = opened(run.data, run.split_seed, here)
        if known is not None:
            source, told = resumed(source, known, run.data, accept)
            source = replace(source, notes=(*source.notes, *told))
        if source.multi_label and run.loss.name != "bce":
            raise ConvatlasError(f"the images of {source.name} have several labels each, for which loss.name = "
                                 f"{run.loss.name!r} has no meaning: --set loss.name=bce judges each class by itself")
        return source

    def record(self, run: Run, source: Source) -> Record:
        """Layout, classes, and every file with its part."""
        return record_of(source, run.data, run.split_seed)

    def encoded(self, source: Source, index: int) -> Path | bytes | None:
        """Of a folder or of shards."""
        return encoded(source.train, index)

    def shape(self, source: Source, index: int) -> tuple[int, ...] | None:
        """As the file's head says; of shards that are read one after the other, None."""
        if isinstance(source.train, Stream):
            return None
        file = encoded(source.train, index)
        return tuple(source.train.read(index).shape) if file is None else head_of(file)

    def notes(self, model: Convnet, source: Source) -> tuple[str, ...]:
        """Of the data, and of channels that are converted."""
        return (*source.notes, *channel_notes(model, source.train))

    def measured(self, run: Run, model: Convnet, source: Source, where: Path, here: World, tell: Tell,
                 inherited: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Means, deviations, whitening, components of colour. Each process measures: the result is the same."""
        kept = where / folder.FITTED
        if kept.is_file():
            try:
                bounded.safetensors_head(kept)
                return load_file(kept)
            except (OSError, ValueError, SafetensorError) as error:
                raise ConvatlasError(f"what preprocessing measured, {str(kept)!r}, cannot be read: {error}; remove it, "
                                     "and it is measured again") from error
        transform = unnormalized(run.preprocess, model.image_size, model.in_chans)
        images = decoded_as(source.train, Decoding(range=run.preprocess.range, most=run.data.max_pixels))
        asked = run.preprocess.model_copy(update={"fit": "none"}) if inherited else run.preprocess
        found = {**fit(asked, run.augment, images, transform, tell), **inherited}
        if found and here.main:
            with whole_write(kept, errors=(OSError, SafetensorError)) as beside:
                save_file(found, beside)
        return found

    def loaders(self, run: Run, model: Convnet, source: Source, fitted: Mapping[str, Tensor], here: World,
                tell: Tell) -> tuple[Loader | StreamLoader, Loader | StreamLoader]:
        """Augmented and shuffled to train on; as they are, and more of them at once, to be judged on."""
        def loader(images: ImageSet, augment: Augment | None, shuffle: bool) -> Loader | StreamLoader:
            transform = make_transform(run.preprocess, model.image_size, model.in_chans, augment, fitted=fitted)
            images = prepared(images, run.data, transform, tell, processes=int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
            batch_size = run.data.batch_size if augment else max(run.data.batch_size, 256)
            least = least_batch(model, run, len(images), here, tell) if augment else 1
            return batches(images, transform, batch_size, run.data, rank=here.rank, world=here.size, least=least,
                           seed=run.train.seed, shuffle=shuffle, sampling=run.data.sampling if augment else "all")

        return loader(source.train, run.augment, run.data.shuffle), loader(source.val, None, False)

    def report(self, where: Path, run: Run, model: Convnet, evaluation: Evaluation, source: Source) -> Path:
        """report.html."""
        about = zoo.describe(registry.variant(run.model.name))
        facts = {key: about[key] for key in ("Mirrors", "Departs") if about[key]}
        return write_report(where, run=run, title=f"{run.model.name} on {source.name}", idea=about["Idea"],
                            layers=layer_table(model), evaluation=evaluation,
                            images=decoded_as(source.val, Decoding(range=run.preprocess.range)), classes=source.classes,
                            filters=first_filters(model), facts={"Paper": about["title"], **facts})

    def evaluate(self, candidates: Sequence[Candidate], asked: Asked, here: World, watch: Watch | None,
                 tell: Tell) -> list[Evaluated]:
        """By the protocol that is asked for; on images that runs held out, where they were trained on this data."""
        config = asked.config
        paths = [candidate.path for candidate in candidates if candidate.path is not None]
        judged = judged_on(paths, config, asked.split, here, asked.accept_changes)
        converted = (note for candidate in candidates for note in channel_notes(candidate.net, judged.images))
        how = Decoding(range=zoo.transforms(candidates[0].net).range, most=config.max_pixels)
        looked = notes_of(survey(len(judged.images), partial(encoded, judged.images), how))
        for note in dict.fromkeys((*judged.notes, *converted, *looked)):
            tell(note)
        return [judge_network(net, name, zoo.transforms(net), judged, config, asked.protocol, here, watch, tell)
                for net, name, _ in candidates]

    def join(self, found: Sequence[Evaluated], weights: Sequence[float] | None) -> Evaluated:
        """Their probabilities averaged; one network without weights is itself."""
        return found[0] if len(found) == 1 and weights is None else join(found, weights)

    def predict(self, net: Answers, images: Sequence[Picture], *, top_k: int, batch_size: int, strict: bool,
                max_pixels: int | None, here: World) -> list[Prediction]:
        """By batches; a picture that cannot be read has an `error`, or with `strict` stops everything."""
        net = net.to(here.device).eval()
        transform, names = zoo.transforms(net), net.card.classes or tuple(str(i) for i in range(net.num_classes))
        how = Decoding(range=transform.range, most=max_pixels)
        found: list[Prediction | None] = [None] * len(images)
        notes: dict[int, tuple[str, ...]] = {}
        for start in range(0, len(images), batch_size):
            batch: dict[int, Tensor] = {}
            for i in range(start, min(start + batch_size, len(images))):
                try:
                    pixels, notes[i] = _pixels(images[i], how)
                    batch[i] = transform(pixels)
                except UnreadableImage as error:
                    if strict:
                        raise
                    found[i] = Prediction(_name(images[i], i), (), (), str(error))
            if batch:
                with torch.inference_mode():
                    scores = net(torch.stack(list(batch.values())).to(here.device)).float()
                best = probabilities(scores, net.card.loss or Loss()).cpu().topk(min(top_k, scores.shape[1]))
                for i, values, indices in zip(batch, best.values.tolist(), best.indices.tolist(), strict=True):
                    found[i] = Prediction(_name(images[i], i), tuple(names[j] for j in indices), tuple(values),
                                          notes=notes[i])
        return [prediction for prediction in found if prediction is not None]

    def best(self, evaluation: Evaluation) -> Line:
        """Top-1."""
        right = round(evaluation.top1 * evaluation.count)
        return Line("best", f" of the validation images right ({right} of {evaluation.count})",
                    percent(evaluation.top1))

    def told(self, found: Evaluated, top_k: int) -> Told:
        """Top-1 with its confidence interval, top-k, loss, mean average precision, calibration; precision and recall of
        each class.
        """
        result, (low, high), calibration = found.evaluation, found.interval, found.calibration()
        shown = dict.fromkeys(each.preprocess for each in found.members or (found,))
        parts: list[Line | Table] = [Line("shown", text) for text in shown]
        if found.members:
            parts.append(_members(found, top_k))
        parts.append(Line("top-1", f" ({int(result.right.sum())} of {result.count}; with 95 % confidence "
                                   f"{percent(low)} to {percent(high)})", percent(result.top1)))
        if top_k > 1 and (share := found.top_k(top_k)) is not None:
            parts.append(Line(f"top-{top_k}", percent(share)))
        kind = "" if found.loss.name == "cross_entropy" else f" ({found.loss.name})"
        parts.append(Line("loss", f"{result.loss:.4f}{kind}"))
        if result.mean_ap is not None:
            parts.append(Line("mAP", percent(result.mean_ap)))
        if calibration is not None:
            heat = "" if math.isnan(calibration.temperature) else (
                "; no temperature gives the least log loss here: it falls to the bound of the search, "
                f"{calibration.bound:g}" if calibration.bound is not None else
                f"; {percent(calibration.cooled)} with scores divided by {calibration.temperature:.2f}, which gives "
                "the least log loss here")
            parts.append(Line("calibration error", percent(calibration.error) + heat))
        rows = tuple((row.name, str(row.images), percent(row.precision), percent(row.recall), row.recall)
                     for row in per_class(found.classes, result.confusion.tolist()))
        return Told(f"{exact(result.count)} images at {exact(round(result.images_per_second))} images/s", tuple(parts),
                    result.skipped, Table(("class", ">images", ">precision", ">recall", ""), rows))

    def figures(self, found: Evaluated, top_k: int) -> dict[str, Any]:
        """All figures."""
        return figures(found, top_k)

    def write(self, found: Evaluated, where: Path) -> list[Path]:
        """Confusion matrix, predictions, calibration."""
        return files.write(found, where)


CLASSES = Classes()


def channel_notes(model: Answers, images: ImageSet) -> Iterator[str]:
    """A sentence where pictures and network differ in channels, and the pictures are converted."""
    try:
        channels = images.read(0).shape[0]
    except UnreadableImage:
        return
    if channels != model.in_chans:
        how = {(1, 3): "grey pictures are repeated on three channels", (3, 1): "colour pictures are turned grey"}
        told = how.get((channels, model.in_chans), f"pictures have {channels} channels")
        yield (f"{model.name} takes {model.in_chans} channel(s): {told} (--in-chans {channels} builds it for the "
               "pictures as they are).")


def _members(found: Evaluated, top_k: int) -> Table:
    shares = [share for member in found.members if (share := member.top_k(top_k)) is not None]
    rows = tuple((member.model, f"{weight:.3g}", percent(member.evaluation.top1),
                  *([percent(shares[i])] if shares else []), f"{member.log_loss:.4f}")
                 for i, (member, weight) in enumerate(zip(found.members, found.weights, strict=True)))
    return Table(("member", ">weight", ">top-1", *([f">top-{top_k}"] if shares else []), ">log loss"), rows)


def _pixels(image: Picture, how: Decoding) -> tuple[Tensor, tuple[str, ...]]:
    """Pixels, and keys of pixels.NOTES."""
    if isinstance(image, Tensor):
        return image, ()
    if isinstance(image, Image.Image):
        return to_tensor(image, how.range), ()
    found = decode(Path(image), how)
    return as_tensor(found.pixels), tuple(sorted(found.notes))


def _name(image: Picture, number: int) -> str:
    return str(image) if isinstance(image, str | Path) else f"image {number}"
