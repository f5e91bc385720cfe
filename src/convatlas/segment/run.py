"""`segment`: what a trained network says of every pixel, for images of any size, as files in a folder."""

import math
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..data import UnreadableImage
from ..data.transform import as_channels
from ..engine.distributed import World, agree, share, world
from ..engine.losses import probabilities as probabilities_of
from ..engine.threads import resolve_layout
from ..errors import ConvatlasError, nearest
from ..files import writing
from ..net.digest import weights_digest
from ..net.fold import fold_structure
from ..net.layers import macs as macs_of
from ..net.model import Convnet
from ..net.segmenter import Segmenter, of_pixels
from ..pixels import Decoding
from ..run import Loss
from ..weights.checkpoints import load
from ..zoo import transforms
from .finish import Finished, areas, as_picture, counted, read_labels, write_areas, write_instances, write_overlay
from .jobs import Job, jobs_of
from .output import ELSEWHERE, Journal, create, flush, opened
from .picture import MAPPED, Picture, picture
from .reach import tile_for_memory
from .symmetry import CHOICES, Augmentation, averaged
from .tiles import Predict, Read, Tiling, blocks, tiling

DONE = -1                                           # stands for a band in the journal: the image's files are all there
Instances = Literal["none", "components", "watershed"]
Watch = Callable[[str, int, int], None]             # image, tiles done, tiles


def segment(model: str | Path | Convnet, images: Sequence[Any], out: str | Path, *, tile: int | None = None,
            overlap: int | None = None, tta: Augmentation = "none", probabilities: bool = False, overlay: bool = False,
            instances: Instances = "none", batch_size: int = 1, device: str = "auto",
            strict: bool = False, max_pixels: int | None = None, watch: Watch | None = None) -> list[Finished]:
    """Label every pixel of each image: a path, a Pillow image, a tensor (C, H, W) or an array (H, W[, C]) or (C, H, W).

    `out` gets `<image>.labels.*` (class numbers; PNG or TIFF for pictures, and for .npy, large TIFFs and Zarr an array
    of the same kind), on request `<image>.probabilities.npy` (K, H, W), `<image>.overlay.png`, `<image>.instances.tif`
    and `.csv`; always `areas.csv`. Tiles, overlap and blending as `tiles` says; `tta` as `symmetry` does. Called again
    after an interruption it goes on, and with as many threads per process on the same machine every bit is what an
    uninterrupted call writes; otherwise probabilities differ by float rounding, and a label where two classes are that
    close. Under torchrun the processes share the tiles. A picture of more than `max_pixels` (default: as free memory
    allows) that would be read whole is not decoded. Raises ConvatlasError; an image that cannot be read has an
    `error` unless `strict`.
    """
    if tta not in CHOICES:
        raise ConvatlasError(f"tta = {tta!r} is refused{nearest(tta, CHOICES)}; there is {', '.join(CHOICES)}")
    folder = Path(out).expanduser()
    asked = {"probabilities": probabilities, "overlay": overlay, "instances": instances != "none"}
    files = [what for what, wanted in asked.items() if wanted]
    jobs = jobs_of(images, folder, files)
    net = _ready(model if isinstance(model, nn.Module) else load(model))
    # not below: this imports torch._dynamo, and a process that does so among others may abort when it ends
    macs = macs_of(net)
    with world(device) as here:
        layout = torch.channels_last if resolve_layout(None, macs, here.device) else torch.contiguous_format
        net.to(here.device).to(memory_format=layout)
        settings = {"network": net.name, "weights": weights_digest(net, named=False).hexdigest()[:16],
                    "images": [job.image for job in jobs],
                    "tile": tile, "overlap": overlap, "batch_size": batch_size, "tta": tta,
                    "files": [*files, instances]}
        journal = Journal(folder, settings)
        journal.take(share(here, partial(journal.begin, lambda: tile or tile_for_memory(net, batch_size))))
        names = net.card.classes or tuple(map(str, range(max(net.num_classes, 2))))
        work = _Work(here, net, averaged(partial(_shares, net), tta), journal, overlap, batch_size,
                     instances, names, Decoding(range=transforms(net).range, most=max_pixels), watch)
        found = [_result(work, job, strict) for job in jobs]
        _first(here, partial(write_areas, folder / "areas.csv", found, names))
        _first(here, journal.end)
        return found


@dataclass(frozen=True)
class _Work:
    """State shared by all images."""

    here: World
    net: Segmenter
    predict: Predict
    journal: Journal
    overlap: int | None
    batch_size: int
    instances: Instances
    classes: Sequence[str]          # their names
    how: Decoding                   # of pictures
    watch: Watch | None


def _first(here: World, act: Callable[[], object]) -> None:
    """Done by the first process while the others wait; its ConvatlasError is raised in all."""
    share(here, lambda: str(act()))


def _ready(model: Convnet) -> Segmenter:
    """A copy in eval mode that computes the same faster: folded."""
    net = deepcopy(of_pixels(model, "`convatlas predict` is for it, and unet is a network that segments"))
    if not net.num_classes:
        raise ConvatlasError(f"{net.name} was built with num_classes = 0 and gives no scores")
    fold_structure(net)
    return net


def _reader(net: Segmenter, image: Picture, device: torch.device) -> Read:
    """Parts of the picture as the network's input: its channels, from 0 to 1, normalised; no resizing and no cropping.
    """
    transform, dtype = transforms(net), next(net.parameters()).dtype
    if transform.fit not in ("none", "channel"):
        raise ConvatlasError(f"preprocess.fit = {transform.fit} looks at whole pictures of one size, and a part of an "
                             "image has neither: train with fit none or channel")

    def read(top: int, left: int, height: int, width: int) -> Tensor:
        pixels = as_channels(image.read(top, left, height, width), net.in_chans)
        values = pixels.to(torch.float32) if pixels.is_floating_point() else pixels.to(torch.float32).div_(255)
        return transform.normalized(values).to(device, dtype)

    try:
        read(0, 0, 1, 1)
    except UnreadableImage:
        raise
    except ConvatlasError as error:     # channels that do not fit
        raise UnreadableImage(f"{image.name!r}: {error}") from error
    return read


def _shares(net: Segmenter, images: Tensor) -> Tensor:
    """Probabilities (n, K, h, w) of images; of a single score, by the logistic function."""
    scores: Tensor = net(images).float()
    return scores.sigmoid() if net.num_classes == 1 else probabilities_of(scores, net.card.loss or Loss())


def _result(work: _Work, job: Job, strict: bool) -> Finished:
    """One image labelled, unless it was before the last interruption, or why it cannot be."""
    try:
        notes = _label(work, job) if (job.name, DONE) not in work.journal.done else ()
        return replace(_found(job, len(work.classes)), notes=notes)
    except UnreadableImage as error:
        if strict:
            raise
        return Finished(job.image, error=str(error))


def _label(work: _Work, job: Job) -> tuple[str, ...]:
    """One image, from its opening to its last file; keys of pixels.NOTES."""
    image = picture(job.source, job.image, work.how)
    if job.instances is not None and math.prod(image.size) > MAPPED:
        raise ConvatlasError(f"{job.image!r} has {math.prod(image.size)} pixels, and objects are found in memory, in "
                             f"{MAPPED} at most: leave the instances out, and find them in parts of the labels")
    read = _reader(work.net, image, work.here.device)
    try:
        _write(work, job, tiling(work.net, image.size, work.journal.tile, work.overlap), read)
    except UnreadableImage as error:    # a damaged part that the other processes, which wait for this one, may not see
        if work.here.size > 1:
            raise ConvatlasError(str(error)) from error
        raise
    _first(work.here, partial(_finish, work, job, image))
    return tuple(sorted(image.notes))


def _write(work: _Work, job: Job, cut: Tiling, read: Read) -> None:
    """The bands that are left, each process a contiguous part of them, into the arrays on disk."""
    here, journal, classes = work.here, work.journal, work.net.num_classes
    left = [band for band in range(len(cut.rows)) if (job.name, band) not in journal.done]
    if len(left) == len(cut.rows):
        chunk = cut.rows[0].stop - cut.rows[0].start - cut.overlap      # of Zarr: no two bands touch one
        _first(here, partial(create, job.labels, cut.size, "uint8" if classes <= 256 else "uint16", chunk))
        if job.probabilities:
            _first(here, partial(create, job.probabilities, (classes, *cut.size), "float32", chunk))
    mine = left[here.rank * len(left) // here.size : (here.rank + 1) * len(left) // here.size]
    done, across = 0, len(cut.columns)
    with torch.inference_mode(), writing(job.labels, ELSEWHERE):
        # where no band is left they may have become a picture already
        labels: Any = opened(job.labels) if mine else None
        shares = opened(job.probabilities) if mine and job.probabilities else None
        for top, start, found in blocks(cut, read, work.predict, mine, batch_size=work.batch_size):
            part = (slice(top, top + found.shape[1]), slice(start, start + found.shape[2]))
            # argmax takes ten times as long
            labels[part] = (found[0] > 0.5 if classes == 1 else found.max(dim=0).indices).cpu().numpy()
            if shares is not None:
                shares[(slice(None), *part)] = found.cpu().numpy()
            done += 1
            if done % across == 0:
                flush(labels, shares)
                journal.add(job.name, mine[done // across - 1])
            if work.watch and here.main:
                work.watch(job.image, done, len(mine) * across)
    # the others' too, however long they take
    while not {(job.name, band) for band in range(len(cut.rows))} <= journal.done:
        time.sleep(0 if here.size == 1 else 0.2)
        journal.take()
    # nobody goes on, and writes to the journal, while another still reads what this image is told by
    agree(here, False)


def _finish(work: _Work, job: Job, image: Picture) -> None:
    """The files that are made of the labels; doing it twice does no harm."""
    as_picture(job.labels, job.final)
    labels = read_labels(job.final)
    if job.overlay is not None:
        write_overlay(image, labels, job.overlay)
    if job.instances is not None and work.instances != "none":
        write_instances(np.asarray(labels[:]), work.instances, work.classes, job.instances)
    work.journal.add(job.name, DONE)


def _found(job: Job, classes: int) -> Finished:
    """The files that there are now."""
    pixels = areas(read_labels(job.final), classes)
    objects = None if job.instances is None else counted(job.instances)
    return Finished(job.image, job.final, pixels, job.probabilities, job.overlay, job.instances, objects)
