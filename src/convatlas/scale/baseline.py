"""A baseline found by search, as EfficientNet-B0 was: MnasNet's objective over a space of its rows, on one's own data.

Many networks are trained for one epoch, the best few in full, all on a training part, and judged by a search part that
is held out of it. What is found is then compared with networks that nobody searched for (`baseline_rivals.py`).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from .. import bounded
from ..arch.efficientnet import EfficientNet
from ..files import check_format, put
from ..run import Run
from .baseline_plan import FORMAT, Plan, clock
from .evolution import Tried, proposed, reward
from .ledger import Entry, Point
from .price import Tell, checked, said
from .trial import Work, accuracy, conduct, run_of

PROXY, FULL = "one-epoch", "full"       # a ledger each
CHEAPEST, DEAREST = 0.5, 1.1            # times the target, beyond which nothing is tried
OVER = 0.02                             # share by which what is found may exceed the target


@dataclass(frozen=True)
class Record:
    """The outcome of a trial: the share of the images it is judged by that is right, the price, and the time it took
    (`baseline_plan.clock`).
    """

    accuracy: float
    price: float
    seconds: float


Results = Mapping[int, tuple[EfficientNet, Record]]     # by the numbers of trials, in the order in which they began


@dataclass(frozen=True)
class Searched:
    """A search that has ended."""

    tried: Results          # trained for one epoch
    full: Results           # trained in full
    chosen: int             # of `full`

    @property
    def spec(self) -> EfficientNet:
        """The network that is found."""
        return self.full[self.chosen][0]


def search(plan: Plan, out: Path, workers: int, tell: Tell) -> Searched:
    """Do what is planned, and go on with what has been done; raises KeyboardInterrupt when it is interrupted."""
    folder = out / PROXY
    entries = conduct(Work(folder, partial(coming, plan, folder), partial(_one_epoch, plan, folder)), workers,
                      partial(_told, plan, folder, "after one epoch"), tell)
    tried = _results(plan, folder, entries)
    best = finalists(plan, entries, {number: record for number, (_, record) in tried.items()})
    tell(f"The best {len(best)} are trained in full: " + "; ".join(
        f"number {number}, {plan.price.words(spec)}, {100 * record.accuracy:.1f} % after one epoch"
        for number, (spec, record) in tried.items() if entries[number].point in best) + ".")
    folder = out / FULL
    whole = conduct(Work(folder, partial(given, best), partial(_in_full, plan, folder)), workers,
                    partial(_told, plan, folder, f"after {plan.run.train.epochs}"), tell)
    full = _results(plan, folder, whole)
    chosen = max((entry for entry in whole if entry.point in best), key=lambda entry: (entry.value or 0, -entry.number))
    found = Searched(tried, full, chosen.number)
    checked(plan.price, {"what was found": found.spec}, tell)
    return found


def finalists(plan: Plan, entries: Sequence[Entry], records: Mapping[int, Record]) -> list[Point]:
    """The points that are trained in full: the start, and of the others within the target those with most reward."""
    start = plan.space.decided(plan.start)
    good = [entry for entry in entries if entry.number in records and entry.point != start
            and records[entry.number].price <= plan.target * (1 + OVER)]
    return [start, *(entry.point for entry in sorted(good, key=lambda entry: -(entry.value or 0))[:plan.few - 1])]


def coming(plan: Plan, folder: Path, entries: Sequence[Entry]) -> Iterable[Point]:
    """The next network to be trained for one epoch, as long as there is time, unless one waits already."""
    if any(entry.state == "waiting" for entry in entries) or spent(folder, entries) >= plan.limit:
        return
    least, most = plan.target * CHEAPEST, plan.target * DEAREST
    done = [Tried(entry.number, _decided(entry.point), entry.value) for entry in entries if entry.value is not None]
    found = proposed(plan.space, len(entries), done, [_decided(entry.point) for entry in entries], plan.run.train.seed,
                     lambda decided: least <= plan.price(plan.space.spec(decided)) <= most)
    if found is not None:
        yield found


def given(points: Sequence[Point], entries: Sequence[Entry]) -> Sequence[Point]:
    """These points, whatever there is."""
    return points


def spent(folder: Path, entries: Sequence[Entry]) -> float:
    """Seconds that trials took that are done."""
    return sum(record_of(folder, entry.number).seconds for entry in entries if entry.state == "done")


def _decided(point: Point) -> dict[str, int]:
    return {name: int(value) for name, value in point.items()}


def _one_epoch(plan: Plan, folder: Path, entry: Entry) -> float:
    return _searched(plan, plan.one_epoch, folder, entry)


def _in_full(plan: Plan, folder: Path, entry: Entry) -> float:
    return _searched(plan, plan.run, folder, entry)


def _searched(plan: Plan, run: Run, folder: Path, entry: Entry) -> float:
    """Train a network of the space, judge it by the search part; its reward."""
    spec = plan.space.spec(_decided(entry.point))
    record = recorded(folder, entry, plan.price(spec), lambda where: accuracy(
        run_of(run, spec, run.train.seed, plan.images), where))
    return reward(record.accuracy, record.price, plan.target)


def recorded(folder: Path, entry: Entry, price: float, judged: Callable[[Path], float]) -> Record:
    """Have a trial's run folder judged, and keep what it gives beside the ledger."""
    began = clock()
    found = judged(folder / "runs" / str(entry.number))
    record = Record(found, price, clock() - began)
    put(folder / f"{entry.number}.json", json.dumps({"format": FORMAT, **asdict(record)}))
    return record


def record_of(folder: Path, number: int) -> Record:
    """The outcome of a trial that is done."""
    stored = bounded.read_json(folder / f"{number}.json")
    check_format(stored.pop("format"), FORMAT, str(folder))
    return Record(**stored)


def _results(plan: Plan, folder: Path, entries: Sequence[Entry]) -> dict[int, tuple[EfficientNet, Record]]:
    return {entry.number: (plan.space.spec(_decided(entry.point)), record_of(folder, entry.number))
            for entry in entries}


def _told(plan: Plan, folder: Path, when: str, entries: Sequence[Entry], entry: Entry) -> str:
    record = record_of(folder, entry.number)
    best = max(each.value for each in entries if each.value is not None)
    return (f"number {entry.number}: {said(plan.price.unit, record.price)}, {100 * record.accuracy:.1f} % {when}, "
            f"reward {entry.value:.4f}, best so far {best:.4f}; {spent(folder, entries) / 60:.1f} min")
