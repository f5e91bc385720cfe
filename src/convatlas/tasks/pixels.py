"""Pixels: networks that say of every pixel what it belongs to."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ..data.manifest import Record
from ..data.survey import head_of
from ..deploy.reader import Prediction
from ..draw.numbers import percent
from ..engine.distributed import World
from ..engine.train import Judge
from ..engine.watch import Watch
from ..errors import ConvatlasError
from ..net.answering import Answers
from ..net.model import Convnet
from ..net.segmenter import of_pixels
from ..pixels import Decoding
from ..run import Preprocess, Run
from ..runs.manifest import Kept
from ..segment import evaluate as pixelwise
from ..segment import validation
from ..segment.evaluate import PixelEvaluation
from ..segment.manifest import judged_on, record_of, resumed
from ..segment.pairs import Pairs, decoded_as, open_pairs
from ..segment.patches import PatchLoader, WholeImages
from ..segment.training import channel_notes, leave_sheet, loaders
from ..segment.validation import PixelResult
from ..zoo import transforms
from .task import Asked, Candidate, Measure, Picture, Refusal, Task, Tell
from .told import Line, Table, Told

_FOLDER, _KEPT = "images and masks lie in the folder that DATA names", "images and masks are kept in memory as they are"
_SHAPED = ("it is for classifying images; a network that segments is trained with flip, turns, affine, "
           "elastic and jitter")
_PATCHES, _WHOLE = "its patches keep the images' own pixels", "whole images are judged, one after the other"
_MIRRORED = "what lies beyond an image is mirrored"
_ALONE = "networks that segment are judged one at a time"


class Pixels(Task[Pairs, PixelResult, PixelEvaluation]):
    """A class for every pixel, learnt from images with masks."""

    does = "segments"
    judge = Judge(validation.validate, ("val_iou",))
    column = ("val_iou", "val IoU")
    afterwards = (Line("picture", "open {}"), Line("segment", "convatlas segment {} IMAGE… --out DIR"))
    pipeline = "image-segmentation"
    measures = (Measure("val_iou", "mean_iou", "mean IoU", "over the classes, on the validation images"),
                Measure("val_top1", "accuracy", "pixels right", "of the validation images' pixels"))
    usage = ("convatlas segment FOLDER image.png --out labels",
             'from convatlas.segment.run import segment; segment(model, ["image.png"], "labels")')
    settings: ClassVar[Mapping[str, Refusal]] = {
        "data.data_dir": Refusal(_FOLDER), "data.download": Refusal(_FOLDER),
        "data.sampling": Refusal("it draws images by their class, and here every pixel has one: weigh the classes with "
                                 "loss.class_weights=balanced"),
        "data.cache": Refusal(_KEPT, also=("memory",)), "data.cache_dir": Refusal(_KEPT),
        "data.decode": Refusal(_KEPT, also=("full",)),
        "preprocess.fit": Refusal("it is for classifying images: --set preprocess.fit=none"),
        "preprocess.crop_pct": Refusal(_PATCHES, also=(1.0,)), "preprocess.interpolation": Refusal(_PATCHES),
        "augment.crop": Refusal(_SHAPED, also=("random",)),
        "augment.padding": Refusal(_MIRRORED), "augment.padding_mode": Refusal(_MIRRORED, also=("reflect",)),
        **{f"augment.{name}": Refusal(_SHAPED) for name in (
            "short_side", "scale", "ratio", "pca_colour", "pca_from", "policy", "policy_ops", "policy_magnitude",
            "policy_std", "policy_prob", "erase", "erase_fill", "mixup", "cutmix", "mix_prob")},
        "loss.name": Refusal("it is for classifying images; cross_entropy, dice, focal and tversky judge pixels",
                             also=("dice", "focal", "tversky")),
        "loss.rubbish": Refusal("it is a part of loss map, which is for classifying images"),
        "loss.aux_weight": Refusal("no network that segments has side classifiers"),
    }
    options: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("protocol", "crop_pct", "scales", "crops", "flip", "dense", "image_size", "batch_size",
                         "workers"), _WHOLE),
        "ensemble": _ALONE, "weights": _ALONE, "shares": _ALONE, "data_dir": _FOLDER, "download": _FOLDER,
        "top_k": "a pixel is right or wrong",
    }

    def check(self, run: Run) -> None:
        """As everywhere; where a network begins from weights, these are downloaded, and say how images are prepared."""
        if run.model.weights is not None:
            run = run.change("preprocess", Preprocess(fit=run.preprocess.fit), "data.download", False)
        super().check(run)

    def take(self, candidates: Sequence[Candidate]) -> None:
        """One network, which segments."""
        for candidate in candidates:
            of_pixels(candidate.net, "it cannot be judged together with one that segments")
        if len(candidates) > 1:
            raise ConvatlasError(f"{len(candidates)} networks that segment are given: they are judged one at a time, "
                                 "by `convatlas eval RUN DATA`")

    def open(self, run: Run, here: World, known: Kept | None = None, accept: bool = False) -> Pairs:
        """A folder of images and masks, or `cells`."""
        return open_pairs(run.data) if known is None else resumed(run.data, known, accept)

    def record(self, run: Run, source: Pairs) -> Record:
        """Layout, the reading of the masks, and every file with its part."""
        return record_of(source, run.data, run.split_seed)

    def encoded(self, source: Pairs, index: int) -> Path | None:
        """Of a folder."""
        path = Path(source.train.file_of(index))
        return path if path.exists() else None

    def shape(self, source: Pairs, index: int) -> tuple[int, ...] | None:
        """As the file's head says."""
        file = self.encoded(source, index)
        return tuple(source.train.image(index).shape) if file is None else head_of(file)

    def notes(self, model: Convnet, source: Pairs) -> tuple[str, ...]:
        """Of the data, and of channels that are converted."""
        return (*source.notes, *channel_notes(of_pixels(model), source))

    def loaders(self, run: Run, model: Convnet, source: Pairs, fitted: Mapping[str, Tensor], here: World,
                tell: Tell) -> tuple[PatchLoader, WholeImages]:
        """Patches to train on, whole images to be judged on."""
        height, width = model.image_size
        if run.augment.turns and height != width:
            tell(f"Patches of {height}×{width} pixels are not square: augment.turns does not turn them.")
        how = Decoding(range=run.preprocess.range, most=run.data.max_pixels)
        return loaders(run, of_pixels(model), source.decoded_as(how), here, tell)

    def report(self, where: Path, run: Run, model: Convnet, evaluation: PixelResult, source: Pairs) -> Path:
        """segmentation.png."""
        return leave_sheet(of_pixels(model), source.decoded_as(Decoding(range=run.preprocess.range)), run, where)

    def evaluate(self, candidates: Sequence[Candidate], asked: Asked, here: World, watch: Watch | None,
                 tell: Tell) -> list[PixelEvaluation]:
        """On whole images, masks read as the network's run read them."""
        net, name, path = candidates[0]
        how = Decoding(range=transforms(net).range, most=asked.max_pixels)
        judged = judged_on(path, asked.config, asked.split, asked.accept_changes)
        judged = judged._replace(images=decoded_as(judged.images, how))
        for note in (*judged.notes, *_by_number(net.card.classes, judged.pairs.classes)):
            tell(note)
        return [pixelwise.evaluate(of_pixels(net), name, judged, here, strict=asked.strict, objects=asked.objects,
                                   watch=watch)]

    def join(self, found: Sequence[PixelEvaluation], weights: Sequence[float] | None) -> PixelEvaluation:
        """There is one."""
        return found[0]

    def predict(self, net: Answers, images: Sequence[Picture], *, top_k: int, batch_size: int, strict: bool,
                max_pixels: int | None, here: World) -> list[Prediction]:
        """Refused: every pixel has classes of its own."""
        raise ConvatlasError(f"{net.name} gives scores for pixels, not for images: `convatlas segment RUN IMAGE… --out "
                             "DIR` labels them (in Python convatlas.segment.run.segment)")

    def best(self, evaluation: PixelResult) -> Line:
        """Mean intersection over union."""
        return Line("best", f" intersection over union, mean over the classes ({percent(evaluation.top1)} of the "
                            "pixels right)", percent(evaluation.metrics.mean_iou))

    def told(self, found: PixelEvaluation, top_k: int) -> Told:
        """FCN's figures, loss, what was asked of objects; IoU and Dice of each class."""
        s, judged = found.metrics, found.result
        parts = [Line("mean IoU", f" (weighted by frequency {percent(s.weighted_iou)})", percent(s.mean_iou)),
                 Line("pixels right", f"{percent(s.accuracy)} (mean over the classes {percent(s.mean_accuracy)})"),
                 Line("loss", f"{judged.loss:.4f}")]
        if found.average_precision is not None and found.rand_error is not None and found.warping_error is not None:
            parts += [Line("objects", f"average precision {percent(found.average_precision)} over IoU 0.50 to 0.95, by "
                                      f"{found.objects}"),
                      Line("Rand error", f"{found.rand_error:.4f} adapted" + (
                          "" if found.foreground_rand_error is None
                          else f", {found.foreground_rand_error:.4f} foreground-restricted (ISBI 2012)")),
                      Line("warping error", f"{found.warping_error:.5f}")]
        rows = tuple((name, percent(iou), percent(dice), iou)
                     for name, iou, dice in zip(found.classes, s.iou, s.dice, strict=True))
        return Told(f"{judged.count} images at {judged.images_per_second:.1f} images/s", tuple(parts), judged.skipped,
                    Table(("class", ">IoU", ">Dice", ""), rows), width=13)

    def figures(self, found: PixelEvaluation, top_k: int) -> dict[str, Any]:
        """All figures, and the confusion matrix."""
        return pixelwise.figures(found)

    def write(self, found: PixelEvaluation, where: Path) -> list[Path]:
        """Figures, the table of classes, and the confusion matrix."""
        return pixelwise.write(found, where)


def _by_number(known: Sequence[str], classes: Sequence[str]) -> Iterator[str]:
    """A sentence where the data's classes have other names than the network's."""
    differing = [f"{name!r} for {own!r}" for name, own in zip(classes, known, strict=False) if name != own]
    if differing:
        yield f"The data's classes are taken by their numbers for the network's: {', '.join(differing[:5])}."


PIXELS = Pixels()
