"""Rivals of a baseline that was found: networks that nobody searched for, at its price, from the same seeds.

All are trained alike and judged by the test part, by which nothing has been chosen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..arch.efficientnet import EfficientNet
from ..evaluation.statistics import paired
from ..net import registry
from ..net.card import Card
from ..run import Run
from ..tasks.fit import input_size
from . import compound
from .baseline import given, record_of, recorded
from .baseline_plan import BASE, Asked, Plan, fitted, looked, own_fields
from .cost import Latency
from .ledger import Entry, Point
from .price import Tell, checked
from .trial import FINAL, Work, conduct, judged, run_of

COMPARED = "compared"                   # the ledger
CONFIDENCE = 0.95                       # that all intervals cover their effects (Bonferroni)
FOUND, RULE, START = "found", "EfficientNet-B0 by the rule", "the start, brought there"


@dataclass(frozen=True)
class Rival:
    """The network that is found against another at its price: differences in accuracy, in points, seed by seed."""

    name: str
    price: float
    accuracies: tuple[float, ...]       # of the test part, by seed
    effects: tuple[float, ...]
    mean: float
    low: float
    high: float

    @property
    def word(self) -> str:
        """`better`, `worse` or `too small to tell`, of the one that is found; seeds that all differ alike tell nothing
        of chance.
        """
        if self.high - self.low < 1e-9:
            return "too small to tell"
        return "better" if self.low > 0 else "worse" if self.high < 0 else "too small to tell"

    @property
    def sentence(self) -> str:
        """`beside EfficientNet-B0 by the rule: better, +1.20 [+0.80, +1.60] points of accuracy, 5 seeds`."""
        return (f"beside {self.name}: {self.word}, {self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}] points of "
                f"accuracy, {len(self.effects)} seeds")


@dataclass(frozen=True)
class Compared:
    """The network that was found, against its rivals."""

    accuracies: tuple[float, ...]       # of what was found, by seed
    rivals: tuple[Rival, ...]
    specs: Mapping[str, EfficientNet]   # by name
    latencies: Mapping[str, Latency]    # measured, where they are what networks cost


def compared(plan: Plan, found: EfficientNet, asked: Asked, out: Path, workers: int, tell: Tell) -> Compared:
    """Train and judge what was found and its rivals, as many seeds as were asked; goes on where it was interrupted."""
    folder = out / COMPARED
    runs = {FOUND: run_of(plan.run, found, 0, plan.images), **rivals(plan, found, asked, out, tell)}
    specs = {name: _spec(run) for name, run in runs.items()}
    prices = {name: plan.price(spec) for name, spec in specs.items()}
    points: list[Point] = [{"network": name, "seed": FINAL + seed} for seed in range(plan.seeds) for name in runs]
    entries = conduct(Work(folder, partial(given, points), partial(_judged, folder, runs, prices)), workers,
                      partial(_told, folder), tell)
    shares = {name: tuple(record_of(folder, entry.number).accuracy for entry in entries
                          if entry.point["network"] == name) for name in runs}
    return Compared(shares[FOUND], tuple(against(name, prices[name], shares[FOUND], shares[name], len(runs) - 1)
                                         for name in runs if name != FOUND), specs,
                    checked(plan.price, specs, tell))


def against(name: str, price: float, ours: Sequence[float], theirs: Sequence[float], rivals: int) -> Rival:
    """One rival beside what was found, seed by seed; of several the intervals share the confidence."""
    effects = tuple(100 * (a - b) for a, b in zip(ours, theirs, strict=True))
    return Rival(name, price, tuple(theirs), effects, *paired(effects, 1 - (1 - CONFIDENCE) / rivals))


def rivals(plan: Plan, found: EfficientNet, asked: Asked, out: Path, tell: Tell) -> dict[str, Run]:
    """The rivals' runs, by name.

    EfficientNet-B0 as `convatlas train` takes it for this data, brought to the price by the compound rule in depth,
    width and resolution; and the start of the space, brought there likewise, unless it is what was found.
    """
    look, images = looked(asked, out, tell)
    own = own_fields(asked, look)
    if "image_size" not in asked.run.model.fields:
        own["image_size"] = input_size(asked.run, look)
    run, _ = fitted(asked, look, own)
    spec = _spec(run.change("model.fields.num_classes", images.classes))
    by_rule = compound.reach(spec, plan.price(found), plan.price).point.spec
    sized = Card(BASE, by_rule, spec).fields        # depth, width and image size
    run = run_of(fitted(asked, look, own | sized)[0], by_rule, 0, images)
    if found == plan.start:
        return {RULE: run}
    start = compound.reach(plan.start, plan.price(found), plan.price).point.spec
    return {RULE: run, START: run_of(plan.run, start, 0, images)}


def _spec(run: Run) -> EfficientNet:
    spec = registry.card(run.model.name, run.model.fields).spec
    assert isinstance(spec, EfficientNet)
    return spec


def _judged(folder: Path, runs: Mapping[str, Run], prices: Mapping[str, float], entry: Entry) -> float:
    name = str(entry.point["network"])
    run = runs[name].change("train.seed", int(entry.point["seed"]))
    return recorded(folder, entry, prices[name], partial(judged, run)).accuracy


def _told(folder: Path, entries: Sequence[Entry], entry: Entry) -> str:
    done = sum(each.state == "done" for each in entries)
    return (f"{done} of {len(entries)}: {entry.point['network']}, seed {entry.point['seed']}, "
            f"{100 * record_of(folder, entry.number).accuracy:.2f} % of the test part")
