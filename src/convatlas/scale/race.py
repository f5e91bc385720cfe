"""Race of candidates over rounds of seeds: who is stopped, who is wanted next, who is how far behind the best."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..evaluation.statistics import Behind, behind
from .ledger import Point

CONFIDENCE = 0.95       # that the intervals of one table cover what they are of, together
SEARCH = "search"       # the part that a race is judged by


class Race(NamedTuple):
    """The state of a race of candidates."""

    points: list[Point]             # that are wanted so far, done or not
    racing: list[str]               # candidates that have not been stopped
    stopped: dict[str, int]         # others, and the number of seeds after which they were
    over: bool


def race(names: Sequence[str], accuracies: Mapping[tuple[str, int], float], seeds: int) -> Race:
    """Round after round of seeds over the candidates that are left; after each but the first and the last, those that
    are behind the best by more than chance are stopped.

    It follows from the accuracies alone, so that every process comes to the same, however many there are.
    """
    points: list[Point] = []
    racing, stopped = list(names), dict[str, int]()
    for seed in range(seeds):
        points += [{"part": SEARCH, "network": name, "seed": seed} for name in racing]
        if any((name, seed) not in accuracies for name in racing):
            return Race(points, racing, stopped, False)
        if 1 <= seed < seeds - 1:
            gaps = behind({name: [accuracies[name, each] for each in range(seed + 1)] for name in racing}, CONFIDENCE)
            stopped |= {name: seed + 1 for name in racing if gaps[name].tells}
            racing = [name for name in racing if not gaps[name].tells]
    return Race(points, racing, stopped, True)


class Rank(NamedTuple):
    """A candidate's place: its accuracies from each seed, and how far it is behind the best; None: it was stopped."""

    name: str
    accuracies: tuple[float, ...]
    behind: Behind | None

    @property
    def mean(self) -> float:
        """Of the accuracies."""
        return sum(self.accuracies) / len(self.accuracies)


def ranking(names: Sequence[str], accuracies: Mapping[tuple[str, int], float], seeds: int) -> list[Rank]:
    """The candidates, best first; those that were stopped count as worse than all others."""
    result = race(names, accuracies, seeds)
    whole = {name: [accuracies[name, seed] for seed in range(seeds)] for name in result.racing}
    gaps = behind(whole, CONFIDENCE)
    found = [Rank(name, tuple(values), gaps[name]) for name, values in whole.items()]
    found += [Rank(name, tuple(accuracies[name, seed] for seed in range(count)), None)
              for name, count in result.stopped.items()]
    return sorted(found, key=lambda rank: (rank.behind is None, -rank.mean))
