"""One network on the images it is to be judged on, by a protocol."""

from collections.abc import Callable
from dataclasses import replace

from ..data import ImageSet, Source, prepared
from ..data.loader import Loader
from ..data.shards.stream import Stream
from ..data.shards.stream_loader import StreamLoader
from ..data.transform import Transform
from ..engine.distributed import World
from ..engine.evaluate import Evaluation
from ..engine.evaluate import evaluate as measure
from ..engine.watch import Watch
from ..net.answering import Answers
from ..run import Data, Loss
from .matching import match
from .protocol import Protocol
from .result import Evaluated
from .views import Averaged, ViewLoader, whole_pictures

Tell = Callable[[str], None]


def judge_network(net: Answers, name: str, transform: Transform, source: Source, images: ImageSet, config: Data, protocol: Protocol,
                  here: World, watch: Watch | None, tell: Tell) -> Evaluated:
    """The figures of `net`, which `transform` prepares pictures for, on `images` of `source`, read as `config` says.

    `config.batch_size` pictures of the network's own size are computed at once, or as many pixels. Raises ConvatlasError where the
    protocol or the classes do not fit the network.
    """
    plan = protocol.resolved(net.image_size, transform.crop_pct)
    shown = _shown(transform, protocol, plan)
    if not plan.dense:
        net.check_image_size(shown.size)
    largest = shown if plan.single else replace(shown, size=(max(plan.scales),) * 2, crop_pct=1.0)     # files are decoded no smaller
    matched = match(prepared(images, config, largest, tell), source.classes, net, config.strict)
    for note in matched.notes:
        tell(note)
    single = _single if plan.single else _several
    evaluation, loss = single(net.to(here.device), shown, matched.images, plan, config, here, watch)
    return Evaluated(evaluation, matched.classes, source.name, name, loss, plan, described(shown, plan), matched.images)


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
    if isinstance(images, Stream):
        loader: Loader | StreamLoader = StreamLoader(images, transform, config.batch_size, rank=here.rank, world=here.size,
                                                     workers=config.workers, strict=config.strict)
    else:
        loader = Loader(images, transform, config.batch_size, rank=here.rank, world=here.size, workers=config.workers,
                        strict=config.strict)
    loss = net.card.loss or Loss()
    return measure(net, loader, loss, here, net.num_classes, watch, keep_scores=True), loss


def _several(net: Answers, transform: Transform, images: ImageSet, plan: Protocol, config: Data, here: World,
             watch: Watch | None) -> tuple[Evaluation, Loss]:
    """Several views, or whole pictures: as many pictures at a time as have a batch's pixels, at least one."""
    h, w = transform.size
    budget = config.batch_size * h * w
    sides = [scale * scale for scale in plan.scales] if plan.dense else [h * w]
    seen = sum(sides) * plan.views // len(sides)
    loader = ViewLoader(images, transform, plan, max(1, budget // seen), rank=here.rank, world=here.size, workers=config.workers,
                        strict=config.strict)
    averaged = Averaged(net, plan, budget)
    return measure(averaged, loader, averaged.loss, here, net.num_classes, watch, keep_scores=True), averaged.loss


def described(transform: Transform, plan: Protocol) -> str:
    """What is done to every picture, in words."""
    def numbers(values: tuple[float, ...]) -> str:
        return "/".join(f"{value:.4g}" for value in dict.fromkeys(values))

    normalised = {
        "none": f"(x − {numbers(transform.mean)}) / {numbers(transform.std)}",
        "channel": "mean 0, deviation 1 per channel of the training images",
        "pixel_mean": f"the training images' mean picture taken off, / {numbers(transform.std)}",
        "gcn": "each picture to mean 0, deviation 1", "zca": "each picture to mean 0, deviation 1; ZCA whitening",
    }[transform.fit]
    return f"{plan}; {transform.interpolation}; {normalised}"
