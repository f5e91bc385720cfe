"""Plan of a baseline's search: all that is decided before it begins, kept in its folder, by which it goes on."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

import torch

from .. import bounded
from ..arch.efficientnet import EfficientNet
from ..draw.markup import counted
from ..draw.numbers import duration
from ..engine.distributed import world
from ..errors import ConvatlasError
from ..files import check_format, put
from ..net import registry
from ..net.card import plain
from ..net.model import pair
from ..run import Run
from ..tasks import task_of
from ..tasks.fit import Choice, Found, looked_at, scaled
from . import compound
from .price import Price, Tell, Unit, priced
from .space import Space
from .trial import Images, packed, run_of, seconds

BASE = "efficientnet_b0"
FORMAT = 1                              # of a search's folder, whose plan.json says it
PLAN = "plan.json"
FEW = 5                                 # networks that are trained in full, at most; one of them is the start
SHARE = 0.5                             # of the time, at most, that they take


@dataclass(frozen=True)
class Asked:
    """The question of a search: whatever decides its figures."""

    run: Run
    choice: Choice | None       # that the recipe is to be made to fit the data
    unit: Unit
    target: float               # multiply-adds, or seconds
    minutes: float
    seeds: int                  # of the comparison at the end; 0: none
    images: int | None = None   # that are trained on, at most

    @property
    def plain(self) -> dict[str, Any]:
        """Plain values, by which a folder knows its question."""
        return {"run": self.run.to_yaml(), "unit": self.unit, "target": self.target, "minutes": self.minutes,
                "seeds": self.seeds, "images": self.images}


@dataclass(frozen=True)
class Plan:
    """A search as it is done: all that was decided before it began."""

    run: Run                    # of a full training
    start: EfficientNet
    price: Price
    images: Images
    target: float
    each: float                 # seconds of the start's epoch on one thread, as measured (`clock`)
    few: int                    # networks that are trained in full
    limit: float                # seconds, of all threads together, that networks are trained for one epoch
    seeds: int

    @cached_property
    def space(self) -> Space:
        """The networks around the start."""
        return Space(self.start)

    @property
    def one_epoch(self) -> Run:
        """The run of a proxy."""
        warm = self.run.schedule.warmup_epochs / self.run.train.epochs
        return self.run.change("train.epochs", 1, "schedule.warmup_epochs", round(warm, 2))

    def words(self, workers: int) -> str:
        """The work that is planned in words, and about how long it takes."""
        many, epochs = max(1, round(self.limit / self.each)), self.run.train.epochs
        full, at_once = epochs * self.each, max(1, workers)
        said = (f"One epoch of the start ({self.price.words(self.start)}) takes about {duration(self.each)} of a "
                f"processor: in {duration((self.limit + self.few * full) / at_once)} at most {many:,} of "
                f"{self.space.size:.1e} networks are trained for one epoch, and the best {self.few} for "
                f"{counted(epochs, 'epoch')}, {at_once} at a time, longer where the machine has other work")
        return said if not self.seeds else said + (
            f"; then what is found is compared with EfficientNet-B0 by the rule and with the start, {self.seeds} seeds "
            f"each: {3 * self.seeds} trainings of {counted(epochs, 'epoch')}, about "
            f"{duration(3 * self.seeds * full / at_once)} more")


def clock() -> float:
    """Seconds that a search counts: of the processor that this process had, so that whatever else a machine does takes
    nothing away; of the clock on the wall where a GPU does the work.
    """
    return time.monotonic() if torch.cuda.is_available() else time.process_time()


def planned(asked: Asked, out: Path, workers: int, tell: Tell) -> Plan:
    """The plan of a search in a folder; one that lies there already is gone on with, and must have been asked the same.

    Packs the images, brings the start to the target and measures what a step of it takes.
    """
    path = out / PLAN
    if path.is_file():
        return _kept(path, asked)
    found, images = looked(asked, out, tell)
    base, lines = fitted(asked, found, own_fields(asked, found))
    for line in lines:
        tell(line)
    spec = registry.card(BASE, base.model.fields | {"num_classes": images.classes}).spec
    assert isinstance(spec, EfficientNet)
    space, price = priced(spec, asked.target, asked.unit, tell)
    plan = Plan(base, space.start, price, images, asked.target, 0.0, 0, 0.0, asked.seeds)
    wall, began = time.monotonic(), clock()
    each = seconds(run_of(plan.one_epoch, plan.start, 0, images), images)
    share = min(1.0, (clock() - began) / max(time.monotonic() - wall, 1e-9))    # of the processor
    plan = shared(replace(plan, each=each * share), asked.minutes, max(1, workers))
    put(path, json.dumps({"format": FORMAT, "asked": asked.plain, "plan": _plain(plan)}, indent=1) + "\n", parents=True)
    return plan


def shared(plan: Plan, minutes: float, workers: int) -> Plan:
    """The plan with its time shared out: at most half for full trainings, of two networks at least."""
    total, whole = 60 * minutes * workers, plan.each * plan.run.train.epochs
    few = min(FEW, int(SHARE * total / whole))
    if few < 2:
        least = ceil(2 * whole / SHARE / 60 / workers)
        raise ConvatlasError(f"--minutes {minutes:g} is too few: two trainings of "
                             f"{counted(plan.run.train.epochs, 'epoch')}, of about {duration(whole)} each, "
                             f"take half of the time at most: give {least} minutes "
                             "or more, fewer epochs (--epochs) or fewer images (--images)")
    return replace(plan, few=few, limit=total - few * whole)


def looked(asked: Asked, out: Path, tell: Tell) -> tuple[Found, Images]:
    """The data as it was found, and packed."""
    task = task_of(BASE)
    with world(asked.run.train.device) as here:
        found = looked_at(task, task.open(asked.run, here, None, False))
    side = min(pair(registry.card(BASE, own_fields(asked, found)).spec.image_size))
    images = packed(asked.run.data, out, side=side, most=asked.images, tell=tell)
    return found._replace(images=images.learnt, held=images.searched), images


def own_fields(asked: Asked, found: Found) -> dict[str, Any]:
    """Fields of the start that the data decides, unless the user has: one channel where pictures are grey, and their
    own size, or that of EfficientNet-B0 at the target by the compound rule where that is smaller.
    """
    fields = ({"in_chans": 1} if found.gray else {}) | asked.run.model.fields
    spec = registry.card(BASE, {**fields, "image_size": registry.variant(BASE).spec.image_size}).spec
    assert isinstance(spec, EfficientNet)
    by_rule = spec if asked.unit == "latency" else compound.reach(spec, asked.target, Price("macs")).point.spec
    return {"image_size": min([*pair(by_rule.image_size), *([found.side] if found.side else [])])} | fields


def fitted(asked: Asked, found: Found, fields: Mapping[str, Any]) -> tuple[Run, Sequence[str]]:
    """The run of a network with these fields, its recipe made to fit the data."""
    run = asked.run.change("model.fields", dict(fields))
    if asked.choice is None:
        return run, ()
    said = asked.choice.said | {f"model.fields.{field}" for field in fields}
    return scaled(run, asked.choice._replace(said=said), found)


def _plain(plan: Plan) -> dict[str, Any]:
    return {**{name: value for name, value in vars(plan).items() if name != "space"}, "run": plan.run.to_yaml(),
            "start": plain(plan.start), "price": asdict(plan.price),
            "images": {**asdict(plan.images), "path": plan.images.path.name}}


def _kept(path: Path, asked: Asked) -> Plan:
    """The plan that lies in a folder."""
    try:
        stored = bounded.read_json(path)
        check_format(stored.get("format"), FORMAT, str(path))
        if differs := [name for name, value in asked.plain.items() if stored["asked"][name] != value]:
            raise ConvatlasError(f"{str(path.parent)!r} holds a search that was asked otherwise "
                                 f"({', '.join(differs)}): ask the same to go on, or name another folder with --out")
        kept, images = stored["plan"], stored["plan"]["images"]
        spec = registry.change(registry.variant(BASE).spec, kept["start"])
        assert isinstance(spec, EfficientNet)
        price = Price(**{**kept["price"], "seconds": tuple(kept["price"]["seconds"])})
        return Plan(**{**kept, "run": Run.from_yaml(kept["run"], str(path)), "start": spec, "price": price,
                       "images": Images(**{**images, "path": path.parent / images["path"]})})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConvatlasError(f"{str(path)!r} is no plan of a search ({error}): name another folder with "
                             "--out") from error
