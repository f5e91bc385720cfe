"""Verdicts: whether a claim holds, by the interval of its paired effects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...evaluation.statistics import paired
from .plan import BySeed, Claim

Word = Literal["holds", "does not hold here", "too small to tell"]
CONFIDENCE = 0.95       # that all intervals of an experiment cover their effects (Bonferroni)
LEAST = 2               # seeds without which there is no interval


@dataclass(frozen=True)
class Verdict:
    """A claim beside what was found: the mean effect, its interval, and the word for it."""

    text: str
    word: Word
    effect: float
    low: float
    high: float
    unit: str
    above: float
    effects: tuple[float, ...]      # of each seed
    comparisons: int                # that share the confidence

    @property
    def sentence(self) -> str:
        """`2.31 [1.90, 2.72] points of test error; 5 seeds`."""
        if len(self.effects) == 1 or self.low == self.high:
            return f"{self.effect:.4g} {self.unit}"
        return f"{self.effect:.3g} [{self.low:.3g}, {self.high:.3g}] {self.unit}; {len(self.effects)} seeds"


def judge(claims: Sequence[Claim], seeds: Sequence[BySeed]) -> tuple[Verdict, ...]:
    """The verdict on each claim from the figures of each seed; claims that chance touches share the confidence."""
    count = sum(claim.by_chance for claim in claims)
    return tuple(_judged(claim, seeds, count if claim.by_chance else 0) for claim in claims)


def _judged(claim: Claim, seeds: Sequence[BySeed], count: int) -> Verdict:
    effects = tuple(float(claim.effect(figures)) for figures in seeds)
    if claim.by_chance:
        mean, low, high = paired(effects, 1 - (1 - CONFIDENCE) / count)
    else:
        mean, low, high = sum(effects) / len(effects), min(effects), max(effects)
    word: Word = ("holds" if low > claim.above else "does not hold here" if high < claim.above else
                  "too small to tell")
    if not claim.by_chance:
        word = "holds" if low >= claim.above else "does not hold here"
    return Verdict(claim.text, word, mean, low, high, claim.unit, claim.above, effects, count)
