"""Experiments as values: what is trained, what is measured, and what is claimed of it. Imports no torch.

An experiment has **arms**, differences between specifications and recipes; each is trained from the same **seeds**, so
that arms are compared in pairs; a **claim** is one number per seed, the effect, and how large it must be.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ...errors import ConvatlasError
from ...run import Run
from .trial import Arm, Figures, Rows, Trial, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Size = Literal["quick", "standard", "full"]
BySeed = Mapping[str, Figures]          # of all arms with one seed

TUNING = 1000       # the first seed of runs that only serve to choose a rate; results begin at seed 0


@dataclass(frozen=True)
class Images:
    """The images of an experiment: a named data set, a folder or an .npz, and how many of its images are taken.

    A number takes that many, stratified over the classes and the same for every seed; None takes all.
    """

    source: str
    train: int | None = None
    test: int | None = None


@dataclass(frozen=True)
class Protocol:
    """One size of an experiment: all that is decided before it runs."""

    arms: tuple[Arm, ...]
    minutes: float                      # budget on two cores
    base: Run | None = None             # of every arm; None: nothing is trained
    images: Images | None = None        # None: all of the base's own, as they are
    seeds: int = 5
    rates: tuple[float, ...] = ()       # learning rates tried for each arm, on a fifth of the training images held out
    tuning_epochs: int | None = None    # epochs of those trials; None: as many as the experiment's
    tuning_seeds: int = 1
    claims: tuple["Claim", ...] = ()    # in place of the experiment's, where this size can show others

    def run(self, arm: Arm, seed: int, source: str, rate: float | None = None) -> Run:
        """The run of an arm with a seed on the images at `source`."""
        assert self.base is not None
        run = self.base
        for field, value in arm.changes.items():
            merged = {**run.model.fields, **value} if field == "model.fields" else value
            run = run.change(field, merged)
        if rate is not None:
            run = run.change("optim.lr", rate)
        return run.change("train.seed", seed, "data.source", source)

    def plain(self) -> dict[str, Any]:
        """The protocol as plain values for a results file."""
        return {
            "arms": {arm.name: _plain(arm.changes) for arm in self.arms},
            "base": None if self.base is None else self.base.model_dump(mode="json"),
            "images": None if self.images is None else vars(self.images),
            "minutes": self.minutes, "seeds": self.seeds, "rates": list(self.rates),
            "tuning_epochs": self.tuning_epochs, "tuning_seeds": self.tuning_seeds,
        }


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=lambda record: record.model_dump(mode="json")))


@dataclass(frozen=True)
class Claim:
    """A sentence that an experiment can find true or false, and its effect in numbers.

    It holds where the whole interval of the mean effect lies above `above`, does not hold here where all of it lies
    below, and is too small to tell otherwise. "Without loss" is an effect above minus the loss that would not matter.
    """

    text: str
    effect: Callable[[BySeed], float]       # of one seed; larger speaks for the claim
    unit: str
    above: float = 0.0
    by_chance: bool = True          # False: an identity or a count, which no seed changes


@dataclass(frozen=True)
class Results:
    """Measurements of an experiment: of each seed and arm its figures, and its rows of metrics.csv."""

    arms: tuple[str, ...]
    figures: Mapping[int, BySeed]
    rows: Mapping[int, Mapping[str, Rows]]

    @property
    def paired(self) -> list[BySeed]:
        """The figures of the seeds of which all arms are done, in the order of the seeds."""
        return [self.figures[seed] for seed in sorted(self.figures) if set(self.figures[seed]) >= set(self.arms)]

    def of(self, arm: str, figure: str) -> list[float]:
        """A figure of one arm, over the seeds."""
        return [by_seed[arm][figure] for by_seed in self.paired]

    def series(self, arm: str, name: str) -> list[float]:
        """The figures `name/…` of one arm in the order in which they were measured, means over the seeds; none where it
        has none.
        """
        measured = [[value for figure, value in by_seed[arm].items() if figure.startswith(f"{name}/")]
                    for by_seed in self.paired]
        return [sum(values) / len(values) for values in zip(*measured, strict=True)]


@dataclass(frozen=True)
class Experiment:
    """An experiment: its protocols, what is measured, what is claimed, and the picture that the paper drew of it."""

    title: str
    paper: str                                  # and its figure or table
    claims: tuple[Claim, ...]
    picture: Callable[[Results], "Figure"]
    quick: Protocol
    standard: Protocol | None = None            # on the paper's data, at a stated part of it
    full: Protocol | None = None                # as published, for a GPU
    measure: Callable[[Trial], Figures] = final

    def claimed(self, protocol: Protocol) -> tuple[Claim, ...]:
        """The claims that a protocol is judged by: its own, or else the experiment's."""
        return protocol.claims or self.claims

    def protocol(self, size: Size) -> Protocol:
        """The protocol of that size; one that the experiment lacks is a ConvatlasError."""
        found: Protocol | None = getattr(self, size)
        if found is None:
            has = [each for each in ("quick", "standard", "full") if getattr(self, each) is not None]
            raise ConvatlasError(f"{self.title!r} has no {size} protocol; it has {' and '.join(has)}")
        return found


def same(protocol: Protocol, since: Mapping[str, Any]) -> bool:
    """True where `since`, the protocol of a stored result, is this one: a setting that came later counts only where it
    is not its default, and a copy of the images counts as them, `cifar10-jpeg` as `cifar10`; the result names it.
    """
    plain = protocol.plain()
    if plain["images"] and since["images"] and since["images"]["source"].startswith(f"{plain['images']['source']}-"):
        plain["images"] = {**plain["images"], "source": since["images"]["source"]}
    if plain["base"] is not None and since["base"] is not None:
        plain["base"] = _had(plain["base"], Run().model_dump(mode="json"), since["base"])
    return bool(_plain(plain) == since)


def _had(now: Mapping[str, Any], default: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _had(value, default[name], then[name])
            if isinstance(value, dict) and isinstance(default.get(name), dict) and isinstance(then.get(name), dict)
            else value
            for name, value in now.items() if name in then or value != default.get(name)}
