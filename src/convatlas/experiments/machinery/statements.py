"""Statements of the lecture, slide by slide, and what answers each: facts, commands, results of experiments, reasons.

`claims.yaml` has them in our words; benchmarks/claims_page.py makes a page of them, and the atlas its chapters' lists.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from ...draw.numbers import VERDICTS, figure
from ...facts import Verdict
from ...run import read_yaml
from ...zoo import list_models
from .kept import kept

ROOM = Path(__file__).parents[1]
OPENING = "Opening"


@dataclass(frozen=True)
class Statement:
    """One statement, and what answers it; the keys of claims.yaml."""

    number: str                 # slide.statement
    section: str
    slide: str
    says: str
    exact: Sequence[str] = ()
    shown: Sequence[str] = ()
    reproduce: Sequence[str] = ()
    printed: Sequence[str] = ()
    because: str = ""
    note: str = ""
    wrong: str = ""


@cache
def statements() -> tuple[Statement, ...]:
    """Every statement, in order."""
    return tuple(_statements(read_yaml((ROOM / "claims.yaml").read_text(encoding="utf-8"))))


def _statements(sections: Sequence[Mapping[str, Any]]) -> Iterator[Statement]:
    slides = [(part["section"], slide) for part in sections for slide in part["slides"]]
    for i, (section, slide) in enumerate(slides, start=1):
        for j, claim in enumerate(slide["claims"], start=1):
            yield Statement(f"{i}.{j}", section, slide["slide"], **claim)


def results() -> dict[str, list[dict[str, Any]]]:
    """The kept results of each experiment, by its name."""
    found: dict[str, list[dict[str, Any]]] = {}
    for stored in kept().values():
        found.setdefault(stored["experiment"], []).append(stored)
    return found


def networks() -> list[str]:
    """The networks that the statements' facts speak of."""
    patterns = {fact.partition(": ")[0] for claim in statements() for fact in (*claim.exact, *claim.printed)}
    return [name for name in list_models() if any(fnmatchcase(name, pattern) for pattern in patterns)]


def chosen(fact: str, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts that a fact of claims.yaml names."""
    pattern, _, value = fact.partition(" = ")
    return [verdict for verdict in verdicts if fnmatchcase(f"{verdict.name}: {verdict.fact}", pattern)
            and (not value or json.dumps(verdict.published) == value)]



def answers(claim: Statement, verdicts: Sequence[Verdict],
            found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[tuple[str, str]]:
    """The answers to a statement, each with its kind. An experiment's results stand with its first statement behind the
    opening.
    """
    here = []
    if claim.exact:
        here.append(("exact", "; ".join(_checked(fact, chosen(fact, verdicts)) for fact in claim.exact)))
    if claim.shown:
        here.append(("shown", ", ".join(map(_shown, claim.shown))))
    for name in claim.reproduce:
        place = next(each.number for each in statements() if name in each.reproduce and each.section != OPENING)
        if place != claim.number:
            here.append(("put to the test" if name in found else "not run yet", f"`{name}`, see {place}"))
        elif name in found:
            here += [("put to the test", _reproduced(stored)) for stored in found[name]]
        else:
            here.append(("not run yet", _planned(name)))
    if claim.printed:
        here.append(("as published", "; ".join(_printed(fact, chosen(fact, verdicts)) for fact in claim.printed)))
    if claim.because:
        here.append(("not reproduced here", claim.because))
    if claim.note:
        here.append(("note", claim.note))
    if claim.wrong:
        here.append(("wrong in the lecture", claim.wrong))
    return here


def _checked(fact: str, those: Sequence[Verdict]) -> str:
    """A fact's figures as they are computed, or their number where they are many, with the marks of `convatlas facts`.
    """
    marks = Counter(VERDICTS[verdict.verdict][0] for verdict in those)
    figures = list(dict.fromkeys(figure(verdict.computed) for verdict in those))
    told = figures[0] if len(figures) == 1 else f"{len({(v.name, v.fact) for v in those})} figures"
    reasons = dict.fromkeys(f"{figure(verdict.published)} is printed ({verdict.source}): {verdict.note}"
                            for verdict in those if verdict.verdict == "explained")
    return (f"`{fact.partition(' = ')[0]}` {told} " + " ".join(f"{mark}{count if count > 1 else ''}"
                                                              for mark, count in marks.items())
            + "".join(f" ({reason})" for reason in list(reasons)[:2])
            + (f" (and {len(reasons) - 2} more)" if len(reasons) > 2 else ""))


def _printed(fact: str, those: Sequence[Verdict]) -> str:
    figures = dict.fromkeys(figure(verdict.published) for verdict in those)
    return f"`{fact.partition(' = ')[0]}` " + " / ".join(figures) + f" ({those[0].source})"


def _shown(what: str) -> str:
    return f"[{Path(what).stem}]({what.removeprefix('docs/')})" if what.startswith("docs/") else f"`{what}`"


def _planned(name: str) -> str:
    written = (ROOM / f"{name.replace('-', '_')}.py").exists()
    return f"`convatlas reproduce {name}`, protocol " + ("written" if written else "to be written")


def _reproduced(stored: Mapping[str, Any]) -> str:
    """The verdicts of one run of an experiment: figure, interval, seeds, and the command."""
    images = stored["protocol"]["images"]
    source = Path(images["source"]).name if images else ""
    flag = "" if stored["size"] == "standard" else f" --{stored['size']}"
    data = f" on {source}" + (", a JPEG copy" if "cifar" in source.lower() else "") if source else ""
    return (f"`convatlas reproduce {stored['experiment']}{flag}`{data}: "
            + "; ".join(f"*{verdict['word']}*: {verdict['text']} ({_interval(verdict)})"
                        for verdict in stored["verdicts"]))


def _interval(verdict: Mapping[str, Any]) -> str:
    """`2.31 [1.9, 2.72] points of test error; 5 seeds`."""
    if len(verdict["effects"]) == 1 or verdict["low"] == verdict["high"]:
        return f"{verdict['effect']:.4g} {verdict['unit']}"
    return (f"{verdict['effect']:.3g} [{verdict['low']:.3g}, {verdict['high']:.3g}] {verdict['unit']}; "
            f"{len(verdict['effects'])} seeds")
