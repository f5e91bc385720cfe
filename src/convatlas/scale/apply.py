"""Application of what a search has found: its ratio at larger φ, beside one dimension alone at the same cost."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from ..errors import ConvatlasError
from ..trials import processes
from .candidates import DIMENSIONS, Equal, equally
from .compound import ALONE, Coefficients, kept
from .ledger import Entry, Point
from .plan import (
    BASE,
    TOGETHER,
    Network,
    Plan,
    Result,
    Way,
    agreed,
    begun,
    done,
    known,
    on_test,
    read,
    scaled_network,
    side_of,
    tell_apart,
    tested,
    told,
    versus,
)
from .report import leave
from .trial import Tell, Work, conduct, packed


def apply(found: Path, phis: Sequence[float], *, seeds: int = 5, workers: int | None = None, ray: str | None = None,
          command: str = "", agree: Callable[[str], bool] = lambda text: True,
          tell: Tell = lambda text: None) -> Result:
    """Train the networks that a search's coefficients give at these φ, and at each the networks of equal cost with one
    dimension scaled alone, from `seeds` seeds; leaves results.json and report.html in a folder inside the search's.

    Recipe, epochs and images are the search's. The same call goes on with one that was interrupted.
    """
    search, rule = read(found), kept(found)
    if seeds < 2:
        raise ConvatlasError(f"--seeds {seeds} is too few: without 2 there is no interval")
    asked = {"phi": [float(phi) for phi in phis], "seeds": seeds, "coefficients": [rule.alpha, rule.beta, rule.gamma]}
    folder = (found.resolve() if ray else found) / ("apply-" + "-".join(f"{phi:g}" for phi in phis))
    workers = processes() if workers is None else workers
    plan = begun(folder, asked)
    if plan is None:
        networks = [search.networks[BASE], *(each for phi in phis for each in at(search, rule, phi))]
        tell_apart(networks, tell)
        side, most = side_of(search.run, networks), search.asked["images"]
        images = packed(search.run.data, folder, side=side, most=most, tell=tell)
        plan = Plan(folder, asked, search.run, images, {each.name: each for each in networks})
        agreed(plan, [name for name in plan.networks for _ in range(seeds)], workers, agree)
    entries = conduct(Work(folder, partial(wanted, folder), partial(done, folder)), workers, told, tell, ray=ray)
    outcome = tested(plan, entries, seeds)
    pairs = [(named(TOGETHER, phi), named(way, phi)) for phi in phis for way in DIMENSIONS]
    result = Result(plan, "", (), outcome, versus(pairs, outcome))
    leave(result, command, [verdict(result, phi) for phi in phis], before=found)
    return result


def at(search: Plan, rule: Coefficients, phi: float) -> list[Network]:
    """The networks at φ: all three dimensions by the rule, and each alone, at 2^φ times the cost."""
    equal: Equal = search.asked["equal"]
    reached = equally(search.spec(BASE), phi, equal)
    ways: list[tuple[Way, Coefficients]] = [(TOGETHER, rule), *((way, ALONE[way]) for way in DIMENSIONS)]
    return [scaled_network(named(way, phi), way, phi, each, search.run, reached(each), equal) for way, each in ways]


def named(way: Way, phi: float) -> str:
    """`together φ=2`."""
    return f"{way} φ={phi:g}"


def verdict(result: Result, phi: float) -> str:
    """A sentence on whether the rule held at φ: where it is better than each rival; not where it is worse than one."""
    words = {each.word for each in result.versus if each.name == named(TOGETHER, phi)}
    if words == {"better"}:
        return f"φ = {phi:g}: the rule held, better than depth, width and resolution alone"
    if "worse" in words:
        return f"φ = {phi:g}: the rule did not hold, for one dimension alone is better"
    return f"φ = {phi:g}: too small to tell whether the rule held; more seeds may"


def wanted(folder: Path, entries: Sequence[Entry]) -> Iterator[Point]:
    """Every network from every seed."""
    plan = known(folder)
    yield from on_test(plan.networks, plan.asked["seeds"])
