"""Statistics of accuracies: confidence intervals, and tests of a difference between two networks. Imports no torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, stdev

EXACT = 25          # disagreements below which McNemar's test counts instead of approximating


def wilson(right: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927): bounds from 0 to 1; (0, 1) where nothing was counted.

    Unlike the usual plus and minus it stays in bounds and holds near 0 and 1. Written out, for every training and
    evaluation ends with it: scipy.stats, which gives the same, takes a second or two to import.
    """
    if not count:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = right / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    low = middle - half if right else 0.0           # exactly, where rounding would leave a trace
    return low, middle + half if right < count else 1.0


def paired(effects: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """The mean of paired differences, and the bounds of its Student t interval (Gosset 1908); one difference, or one
    that is not finite, tells nothing: bounds are infinite.
    """
    from scipy.stats import t

    mean = sum(effects) / len(effects)
    if len(effects) < 2 or not math.isfinite(mean):
        return mean, -math.inf, math.inf
    half = float(t.ppf((1 + confidence) / 2, len(effects) - 1)) * stdev(effects) / math.sqrt(len(effects))
    return mean, mean - half, mean + half


@dataclass(frozen=True)
class McNemar:
    """Two networks on the same images; all but `p` are numbers of images."""

    both: int           # right
    only_a: int
    only_b: int
    neither: int
    p: float            # of a difference at least as large where both are equally good
    exact: bool         # counted by the binomial distribution; else chi-squared with continuity correction


def mcnemar(both: int, only_a: int, only_b: int, neither: int) -> McNemar:
    """McNemar's test (1947), two-sided: only images on which exactly one of two is right can tell them apart."""
    from scipy.stats import binomtest, chi2

    differing, exact = only_a + only_b, only_a + only_b < EXACT
    if exact:
        p = binomtest(only_a, differing).pvalue if differing else 1.0
    else:       # Edwards 1948 takes 1 off the difference
        p = chi2.sf(max(abs(only_a - only_b) - 1, 0) ** 2 / differing, 1)
    return McNemar(both, only_a, only_b, neither, float(p), exact)


@dataclass(frozen=True)
class Behind:
    """The distance of one of several to the best: a mean difference, and the bounds of its interval."""

    mean: float
    low: float
    high: float

    @property
    def tells(self) -> bool:
        """True if it is worse than the best by more than chance."""
        return self.low > 0


def behind(blocks: Mapping[str, Sequence[float]], confidence: float = 0.95) -> dict[str, Behind]:
    """The distance of each to the best by its mean, where all were measured in the same blocks, such as seeds.

    What a block does to all alike drops out, as in `paired`; the rest of the scatter is taken to be the same for all
    (Fisher's randomised blocks), so that few blocks tell more than they would pair by pair. Intervals (Student's t,
    Bonferroni over all pairs, for any may turn out to be of the best) cover the differences together. One block tells
    nothing: bounds are infinite.
    """
    from scipy.stats import t

    count, seeds = len(blocks), len(next(iter(blocks.values())))
    means = {name: sum(values) / seeds for name, values in blocks.items()}
    best = max(means.values())
    if seeds < 2 or count < 2:
        return {name: Behind(best - mean, -math.inf, math.inf) for name, mean in means.items()}
    whole = sum(means.values()) / count
    columns = [sum(values[i] for values in blocks.values()) / count for i in range(seeds)]
    rest = sum((values[i] - means[name] - columns[i] + whole) ** 2
               for name, values in blocks.items() for i in range(seeds))
    free = (count - 1) * (seeds - 1)
    half = float(t.ppf(1 - (1 - confidence) / (count * (count - 1)), free)) * math.sqrt(2 * rest / free / seeds)
    return {name: Behind(best - mean, best - mean - half, best - mean + half) for name, mean in means.items()}
