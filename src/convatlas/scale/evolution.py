"""Regularised evolution — Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019: the
oldest dies, not the worst, so that nobody stays for having been lucky once.

Pure functions of what has been tried, so that a search that was killed goes on from there.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from random import Random

from .space import Decisions, Space

W = -0.07                       # MnasNet's, where twice the cost is worth about 5 % of accuracy (section 3)
POPULATION, SAMPLE = 20, 5      # Real et al. have 100 and 25 for 20 000 trials
DRAWS, NEAR = 300, 30           # children that are looked at for one that may be tried; of these one mutation away

Allowed = Callable[[Decisions], bool]


@dataclass(frozen=True)
class Tried:
    """A network that was tried, in the order in which it began."""

    number: int
    decided: Decisions
    reward: float


def reward(accuracy: float, cost: float, target: float, w: float = W) -> float:
    """MnasNet's objective, accuracy · (cost / target)^w (eq. 2, its soft form on both sides of the target)."""
    return float(accuracy * (cost / target) ** w)


def proposed(space: Space, number: int, done: Sequence[Tried], begun: Collection[Decisions], seed: int,
             allowed: Allowed = lambda decided: True) -> dict[str, int] | None:
    """The network that is tried as that number (from 0): the start, then random ones until a population is there, then
    the child of the best of a sample of the youngest.

    None that has `begun` is proposed again, and none that is not `allowed` (what costs far too much or too little). It
    depends on `seed`, `number` and what is `done` alone. None where many draws find nothing that may be tried.
    """
    dice = Random(f"{seed}/{number}")
    known = [dict(each) for each in begun]
    if not number and (start := space.decided(space.start)) not in known:
        return start
    young = sorted(done, key=lambda each: each.number)[-POPULATION:]
    parent = (max(dice.sample(young, min(SAMPLE, len(young))), key=lambda each: each.reward).decided
              if len(young) == POPULATION else None)
    for draw in range(DRAWS):
        # further off where all that is near has been tried
        child = space.drawn(dice) if parent is None else _descendant(space, parent, 1 + draw // NEAR, dice)
        if child not in known and allowed(child):
            return child
    return None


def _descendant(space: Space, parent: Decisions, mutations: int, dice: Random) -> dict[str, int]:
    child = dict(parent)
    for _ in range(mutations):
        child = space.mutated(child, dice)
    return child
