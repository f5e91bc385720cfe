"""Judging: the images a network is to be judged on, and one network on them, by a protocol."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..data import ImageSet, Source, open_data, prepared
from ..data.batches import batches
from ..data.transform import Transform
from ..engine.distributed import World, share
from ..engine.evaluate import Evaluation
from ..engine.evaluate import evaluate as measure
from ..engine.watch import Watch
from ..errors import ConvatlasError
from ..net.answering import Answers
from ..run import Data, Loss, Run
from ..runs.folder import CONFIG, run_of
from .matching import match
from .protocol import Protocol
from .result import Evaluated
from .views import Averaged, ViewLoader, whole_pictures

Tell = Callable[[str], None]


def opened(data: Data, seed: int, here: World, for_eval: bool = False) -> Source:
    """The data; where it must be downloaded, one process does it before the others read."""
    if data.download:
        share(here, lambda: open_data(data, seed=seed, for_eval=for_eval).name)
    return open_data(data, seed=seed, for_eval=for_eval)


def judged_on(paths: Sequence[Path], config: Data, split: str, here: World) -> Source:
    """The data; where runs in `paths` were trained on it and it has no validation part of its own, what all of them
    held out.
    """
    runs = [run for path in paths if (run := trained_on(path, config.source)) is not None]
    if not runs:
        return opened(config, 0, here, for_eval=split == "val")
    kept = dict.fromkeys((run.data.val_fraction, run.train.seed) for run in runs)
    sources = [opened(config.model_copy(update={"val_fraction": part}), seed, here) for part, seed in kept]
    held = [[source.val.name(i) for i in range(len(source.val))] for source in sources]
    if any(names != held[0] for names in held):
        raise ConvatlasError(f"the runs held out different images of {config.source} (data.val_fraction, train.seed: "
                             f"{', '.join(map(str, kept))}): one was trained on what another is judged on; judge them "
                             "on other data")
    return sources[0]


def trained_on(path: Path, data: str) -> Run | None:
    """The run in folder `path`, if `data` is what it was trained on."""
    if not (path / CONFIG).is_file():
        return None
    run = run_of(path)
    same = run.data.source == data or (Path(data).exists() and Path(data).resolve() == Path(run.data.source).resolve())
    return run if same else None


def judge_network(net: Answers, name: str, transform: Transform, source: Source, images: ImageSet, config: Data,
                  protocol: Protocol, here: World, watch: Watch | None, tell: Tell) -> Evaluated:
    """The figures of `net`, which `transform` prepares pictures for, on `images` of `source`, read as `config` says.

    `config.batch_size` pictures of the network's own size are computed at once, or as many pixels. Raises
    ConvatlasError where the protocol or the classes do not fit the network.
    """
    plan = protocol.resolved(net.image_size, transform.crop_pct)
    shown = _shown(transform, protocol, plan)
    if not plan.dense:
        net.check_image_size(shown.size)
    # files are decoded no smaller
    largest = shown if plan.single else replace(shown, size=(max(plan.scales),) * 2, crop_pct=1.0)
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
