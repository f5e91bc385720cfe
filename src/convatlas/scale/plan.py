"""Plan of a search: which networks are trained on which images, written down so that every process goes by the same.

Also what came of it on the test part, which a search and what is made of it end with.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from .. import bounded
from ..data.source import open_data
from ..draw.markup import counted
from ..draw.numbers import duration, percent
from ..errors import ConvatlasError
from ..evaluation.statistics import paired
from ..files import check_format, put
from ..net import registry
from ..net.card import Card, adapter
from ..net.model import Spec, pair
from ..run import Run
from ..tasks import CLASSES, task_of
from . import cost
from .candidates import Equal
from .compound import CLOSE, Coefficients, Reached
from .ledger import Entry, Point
from .race import CONFIDENCE, SEARCH, Rank
from .trial import ARCHIVE, FINAL, Images, Tell, accuracy, judged, run_of, seconds

FORMAT = 1
PLAN = "plan.json"              # of a search folder: all that its trials follow from
FIXED = 2.0                     # seconds that a training takes besides its steps: its checkpoints and its report
TEST = "test"                   # the part that what was chosen is judged by
Way = Literal["as it is", "depth", "width", "resolution", "together"]
BASE: Way = "as it is"
TOGETHER: Way = "together"
Word = Literal["better", "worse", "too small to tell"]


# -- the plan --------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Network:
    """One network of a search: how it is scaled, and what it costs."""

    name: str
    way: Way
    phi: float                              # the factor of the cost that it stands for, as a power of 2
    coefficients: tuple[float, float, float] | None     # None: it is not scaled
    fields: Mapping[str, Any]               # changed ones of its specification
    macs: int
    params: int
    memory: int                             # bytes at the peak of predicting one image
    deviation: float                        # of the cost from the one it stands for, as a share
    latency: float | None = None            # seconds, where networks are of equal latency
    departure: float = 0.0                  # of the image's side from the one that γ asks for, as a share


@dataclass(frozen=True)
class Plan:
    """The plan of what is trained below a folder, and on which images; written there, for every process to go by."""

    folder: Path
    asked: Mapping[str, Any]                # the question: another one in the same folder is refused
    run: Run                                # of the network as it is
    images: Images
    networks: Mapping[str, Network]

    def of(self, *ways: Way) -> list[str]:
        """The names of the networks that are scaled so."""
        return [name for name, network in self.networks.items() if network.way in ways]

    def run_of(self, name: str, seed: int) -> Run:
        """The run of a network from a seed."""
        return run_of(self.run, self.spec(name), seed, self.images)

    def spec(self, name: str) -> Spec:
        """The specification of a network."""
        found = registry.variant(self.run.model.name)
        return registry.change(found.spec, self.networks[name].fields, found.name)

    def write(self) -> None:
        """Keep it in its folder."""
        plain = {"format": FORMAT, "asked": self.asked, "run": self.run.model_dump(mode="json"),
                 "images": {**asdict(self.images), "path": self.images.path.name},
                 "networks": [asdict(network) for network in self.networks.values()]}
        put(self.folder / PLAN, json.dumps(plain, indent=1) + "\n", "name another folder with --out", parents=True)


def read(folder: Path) -> Plan:
    """The plan in a folder; ConvatlasError where there is none, or it cannot be read."""
    path = folder / PLAN
    try:
        plain = bounded.read_json(path)
        check_format(plain.get("format"), FORMAT, str(path))
        images = replace(adapter(Images).validate_python(plain["images"]), path=folder / ARCHIVE)
        networks = [adapter(Network).validate_python(each) for each in plain["networks"]]
        return Plan(folder, plain["asked"], Run.model_validate(plain["run"]), images,
                    {network.name: network for network in networks})
    except FileNotFoundError:
        raise ConvatlasError(f"{str(folder)!r} is no search: it has no {PLAN}; `convatlas scale search` begins one"
                             ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = " ".join(str(error).split())
        raise ConvatlasError(f"{str(path)!r} cannot be read as a search's plan: {why}") from error


def begun(folder: Path, asked: Mapping[str, Any]) -> Plan | None:
    """The plan that a folder holds, if it is this question's; another question is a ConvatlasError."""
    if not (folder / PLAN).exists():
        return None
    plan = read(folder)
    for name, value in asked.items():
        if plan.asked.get(name) != value:
            raise ConvatlasError(f"{str(folder)!r} holds another search: {name} is {plan.asked.get(name)!r} there, not "
                                 f"{value!r}; go on as it was begun, or name another folder with --out")
    return plan


def network(name: str, way: Way, phi: float, coefficients: Coefficients | None, run: Run, spec: Spec,
            deviation: float) -> Network:
    """A network of a plan, with what follows from its specification."""
    found = registry.variant(run.model.name)
    growth = None if coefficients is None else (coefficients.alpha, coefficients.beta, coefficients.gamma)
    costs = cost.cost(spec)
    return Network(name, way, phi, growth, Card(found.name, spec, found.spec).fields, macs=costs.macs,
                   params=costs.params, memory=costs.memory, deviation=deviation)


def scaled_network(name: str, way: Way, phi: float, coefficients: Coefficients, run: Run, at: Reached,
                   equal: Equal) -> Network:
    """A network that was scaled to a cost."""
    found = network(name, way, phi, coefficients, run, at.point.spec, at.deviation)
    return replace(found, departure=at.point.departure, latency=None if equal == "macs" else at.found)


def tell_apart(networks: Iterable[Network], tell: Tell) -> None:
    """Say which networks are not of equal cost, or read other images than their coefficients ask for."""
    networks = list(networks)
    for title, shares in (("Not of equal cost, as near as can be built", [each.deviation for each in networks]),
                          ("With sides of images that depart from the rule's, for the cost's sake",
                           [each.departure for each in networks])):
        if apart := [f"{each.name} {100 * share:+.0f} %" for each, share in zip(networks, shares, strict=True)
                     if abs(share) > CLOSE]:
            tell(f"{title}: {', '.join(apart)}. A larger network or larger images can be scaled more finely.")


def base_of(run: Run) -> Spec:
    """The specification that is scaled, with as many scores as the data has classes; a ConvatlasError for a network
    that does not classify.
    """
    if task_of(run.model.name) is not CLASSES:
        raise ConvatlasError(f"{run.model.name} scores pixels, and a search ranks networks by the images that they "
                             "classify: name a network that does")
    classes = len(open_data(run.data).classes)
    found = registry.variant(run.model.name)
    return registry.change(found.spec, {**run.model.fields, "num_classes": classes}, found.name)


def side_of(run: Run, networks: Iterable[Network]) -> int:
    """The pixels at which images of several sizes are kept: enough for the largest input."""
    sizes = [registry.card(run.model.name, each.fields).spec.image_size for each in networks]
    return math.ceil(max(max(pair(size)) for size in sizes) / min(run.preprocess.crop_pct, 1.0))


def agreed(plan: Plan, names: Sequence[str], workers: int, agree: Callable[[str], bool]) -> None:
    """Ask whether to train these networks, with how long that takes: some steps of one are measured here, the others
    are in proportion to their multiply-adds. The plan is written, or KeyboardInterrupt raised.
    """
    first = plan.networks[names[0]]
    each = seconds(plan.run_of(first.name, 0), plan.images) / first.macs
    whole = each * sum(plan.networks[name].macs for name in names) + FIXED * len(names)
    if not agree(f"At most {len(names)} trainings of {plan.run.train.epochs} epochs on {plan.images.learnt:,} images: "
                 f"about {duration(whole / max(workers, 1))} with {max(workers, 1)} at a time"):
        raise KeyboardInterrupt
    plan.write()


# -- trials ----------------------------------------------------------------------------------------------------------

def of_part(part: str, entries: Sequence[Entry]) -> dict[tuple[str, int], float]:
    """The results of the trials that a part judges: (network, seed) → accuracy."""
    return {(str(entry.point["network"]), int(entry.point["seed"])): entry.value
            for entry in entries if entry.point["part"] == part and entry.value is not None}


def on_test(names: Iterable[str], seeds: int) -> list[Point]:
    """Trials that see the test part, from seeds that no search has used."""
    return [{"part": TEST, "network": name, "seed": FINAL + seed} for seed in range(seeds) for name in names]


def done(folder: Path, entry: Entry) -> float:
    """Do a trial: the accuracy of its network on the part that it is for."""
    plan, name, seed = known(folder), str(entry.point["network"]), int(entry.point["seed"])
    where = folder / "trials" / f"{entry.point['part']}-{name.replace(' ', '-')}-seed-{seed}"
    return (accuracy if entry.point["part"] == SEARCH else judged)(plan.run_of(name, seed), where)


def told(entries: Sequence[Entry], entry: Entry) -> str:
    """A line on a trial that is done."""
    finished = sum(each.state == "done" for each in entries)
    part = "search part" if entry.point["part"] == SEARCH else "test part"
    return (f"{finished} of {len(entries)}: {entry.point['network']}, seed {entry.point['seed']}: "
            f"{percent(entry.value or 0.0)} of the {part}")


@lru_cache(maxsize=2)
def known(folder: Path) -> Plan:
    """The plan in a folder, read once: while trials go by it, it does not change."""
    return read(folder)


# -- what came of it -------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Versus:
    """One network against another of the same cost, on the test part, paired by seed: points of accuracy."""

    name: str
    rival: str
    difference: float
    low: float
    high: float

    @property
    def word(self) -> Word:
        """The verdict: the whole interval on one side of nothing, or not."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "too small to tell"

    def __str__(self) -> str:
        return (f"{self.name} against {self.rival}: {self.difference:+.2f} [{self.low:+.2f}, {self.high:+.2f}] points: "
                f"{self.word}")


@dataclass(frozen=True)
class Result:
    """The outcome of a search, or of what was trained by its coefficients."""

    plan: Plan
    chosen: str                                 # the network's name
    ranks: Sequence[Rank]                       # by the search part; none where nothing was searched
    tested: Mapping[str, Sequence[float]]       # of each network its accuracies on the test part
    versus: Sequence[Versus]                    # of the chosen ones against their rivals

    @property
    def noise(self) -> str:
        """A sentence on the candidates that chance might have put behind the chosen one, and on those stopped; another
        one where none has learned anything.
        """
        guessing, images = 1 / self.plan.images.classes, self.plan.images.searched
        best = max((rank.mean for rank in self.ranks), default=1.0)
        if best <= guessing + 2 * math.sqrt(guessing * (1 - guessing) / images):
            return (f"No candidate has learned anything: the best is right about {percent(best)} of the search part, "
                    f"guessing about {percent(guessing)}, so this ranks nothing; train longer (--epochs) or at "
                    "another rate (--set optim.lr=…).")
        tied = sum(rank.behind is not None and not rank.behind.tells for rank in self.ranks) - 1
        stopped = sum(rank.behind is None for rank in self.ranks)
        others = "1 other candidate is" if tied == 1 else f"{tied} other candidates are"
        told = ("No other candidate is so near that chance might explain the difference." if not tied else
                f"{others} inside the noise: by these seeds any of them might be the better choice.")
        return told + (f" {counted(stopped, 'candidate')} fell behind by more than chance, stopped early and counted "
                       "as worse." if stopped else "")


def versus(pairs: Sequence[tuple[str, str]], tested: Mapping[str, Sequence[float]]) -> list[Versus]:
    """Each pair's difference on the test part, with intervals that cover all of them together (Bonferroni)."""
    found = []
    for name, rival in pairs:
        effects = [100 * (ours - theirs) for ours, theirs in zip(tested[name], tested[rival], strict=True)]
        found.append(Versus(name, rival, *paired(effects, 1 - (1 - CONFIDENCE) / len(pairs))))
    return found


def tested(plan: Plan, entries: Sequence[Entry], seeds: int) -> dict[str, list[float]]:
    """Of each network that saw the test part its accuracies, in the order of the seeds."""
    found = of_part("test", entries)
    return {name: [found[name, FINAL + seed] for seed in range(seeds)] for name in plan.networks
            if all((name, FINAL + seed) in found for seed in range(seeds))}
