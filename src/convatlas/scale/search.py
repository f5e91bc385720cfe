"""Search for the ratio in which depth, width and resolution grow together, on one's own data.

Candidates of equal cost are trained from several seeds and ranked by the search part. After each round of seeds from
the second on, those that are behind the best by more than chance are stopped, and count as worse. Then the best few,
the networks with one dimension scaled alone and the network as it is are trained from other seeds, and see the test
part.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from ..errors import ConvatlasError
from ..run import Run
from ..tasks.fit import Choice
from ..trials import fitted, processes
from .candidates import DIMENSIONS, EQUAL, Equal, candidates, equally, rivals
from .compound import Coefficients, keep
from .ledger import Entry, Point
from .plan import (
    BASE,
    TOGETHER,
    Plan,
    Result,
    agreed,
    base_of,
    begun,
    done,
    known,
    network,
    of_part,
    on_test,
    scaled_network,
    side_of,
    tell_apart,
    tested,
    told,
    versus,
)
from .race import SEARCH, race, ranking
from .report import leave
from .trial import Tell, Work, conduct, packed


@dataclass(frozen=True)
class Question:
    """The question of a search, and how thoroughly it is answered."""

    phi: float = 1.0            # candidates cost 2^φ times as much as the network
    equal: Equal = "macs"       # what that cost is
    trials: int = 12            # candidates
    seeds: int = 3              # of each, to be ranked
    best: int = 3               # candidates that see the test part
    finals: int = 5             # seeds of these, of their rivals and of the network as it is, other ones
    images: int | None = None   # of the training part that are taken; None: all

    def __post_init__(self) -> None:
        for name, value, least in (("trials", self.trials, 2), ("seeds", self.seeds, 1), ("finals", self.finals, 2),
                                   ("best", self.best, 1)):
            if value < least:
                raise ConvatlasError(f"--{name} {value} is too few: at least {least} are needed")
        if not 0 < self.phi <= 16:
            raise ConvatlasError(f"--phi {self.phi:g} is refused: candidates are larger than the network, so it is "
                                 "more than 0, and at most 16")


def search(run: Run, choice: Choice | None, folder: Path, question: Question, *, workers: int | None = None,
           ray: str | None = None, command: str = "", agree: Callable[[str], bool] = lambda text: True,
           tell: Tell = lambda text: None) -> Result:
    """Search for the coefficients of `run`'s network, and leave in `folder` the ledger, a run folder per trial,
    coefficients.json, results.json and report.html.

    `agree` is asked, with a sentence on what it will cost, before anything is trained; the same call goes on with a
    search that was interrupted.
    """
    folder = folder.resolve() if ray else folder        # other machines' working folders are others
    asked = json.loads(json.dumps({**asdict(question), "run": run.model_dump(mode="json")}))
    workers = processes() if workers is None else workers
    plan = begun(folder, asked)
    if plan is None:
        plan = _planned(run, choice, folder, asked, tell)
        agreed(plan, _works(plan), workers, agree)
    entries = conduct(Work(folder, partial(wanted, folder), partial(done, folder)), workers, told, tell, ray=ray)
    ranks = ranking(plan.of(TOGETHER), of_part(SEARCH, entries), question.seeds)
    chosen = ranks[0].name
    outcome = tested(plan, entries, question.finals)
    result = Result(plan, chosen, ranks, outcome,
                    versus([(chosen, name) for name in plan.of(*DIMENSIONS)], outcome))
    rule = plan.networks[chosen].coefficients
    assert rule is not None
    keep(folder, Coefficients(*rule))
    leave(result, command)
    return result


def _planned(run: Run, choice: Choice | None, folder: Path, asked: Mapping[str, Any], tell: Tell) -> Plan:
    run = fitted(run, choice, tell)
    spec, phi, equal = base_of(run), asked["phi"], asked["equal"]
    at = equally(spec, phi, equal)
    networks = [network(BASE, BASE, 0.0, None, run, spec, 0.0)]
    alone = rivals(at)
    for name, rival in alone.items():
        networks.append(scaled_network(name, name, phi, rival.coefficients, run, rival.reached, equal))
    for each in candidates(asked["trials"], at, tell, EQUAL if equal == "macs" else inf,
                           beside=[spec, *(rival.spec for rival in alone.values())]):
        networks.append(scaled_network(each.name, TOGETHER, phi, each.coefficients, run, each.reached, equal))
    count = len(networks) - 1 - len(DIMENSIONS)
    if count < asked["trials"]:
        tell(f"Only {count} candidates are different networks: rounding makes the others equal to one "
             "another, or to one dimension alone.")
    tell_apart(networks, tell)
    images = packed(run.data, folder, side=side_of(run, networks), most=asked["images"], tell=tell)
    return Plan(folder, asked, run, images, {each.name: each for each in networks})


def _works(plan: Plan) -> list[str]:
    """The network of each training that a search may take, where none is stopped."""
    asked = plan.asked
    together, seeds, finals, best = plan.of(TOGETHER), int(asked["seeds"]), int(asked["finals"]), int(asked["best"])
    return together * seeds + (plan.of(BASE, *DIMENSIONS) + together[:best]) * finals


def wanted(folder: Path, entries: Sequence[Entry]) -> Iterator[Point]:
    """The trials of a search, given what is done: the race, and once it is over what sees the test part."""
    plan = known(folder)
    seeds, names = plan.asked["seeds"], plan.of(TOGETHER)
    found = of_part(SEARCH, entries)
    state = race(names, found, seeds)
    yield from state.points
    if state.over:
        best = [rank.name for rank in ranking(names, found, seeds) if rank.behind is not None][: plan.asked["best"]]
        yield from on_test([*plan.of(BASE, *DIMENSIONS), *best], plan.asked["finals"])
