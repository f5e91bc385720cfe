"""Write docs/claims.md: the lecture's statements, from claims.yaml, the facts and the results
of experiments.

uv run python benchmarks/claims_page.py        (a minute: every network that a statement speaks of is counted anew)
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from convatlas import facts, list_models
from convatlas.cli.facts import MARKS, figure
from convatlas.experiments.machinery.kept import kept
from convatlas.facts import Verdict
from convatlas.run import read_yaml

ROOT = Path(__file__).parents[1]
ROOM = ROOT / "src" / "convatlas" / "experiments"
PAGE = ROOT / "docs" / "claims.md"

HEAD = """# The lecture, statement by statement

Written by `benchmarks/claims_page.py` from `src/convatlas/experiments/claims.yaml`, from the facts
(`src/convatlas/facts`) and from the results in `src/convatlas/experiments/results`.

This library grew around a lecture, *Convolutional Architectures* (Tripp, Deep Learning, fall 2023): twelve families of
networks, from LeNet to SLaK. Here is everything that it states, in our words and in its order, with
what became of it. The slides bear no numbers, so these are ours; headings of its parts repeat the summary, and are not
listed again. A statement may have several answers:

| answer | what it means | statements |
|---|---|---|
"""
MEANT = {
    "exact": "a published figure is computed anew from the network that is built here (`convatlas facts NETWORK`); "
             "✓ the same, ≈ it differs and the reason is known; a number behind the mark counts publications",
    "shown": "a command or a picture shows it",
    "put to the test": "an experiment was run and its verdicts are given, whatever they are",
    "not run yet": "the experiment's protocol is written, or still to be written; nothing was measured",
    "as published": "a figure that only training at full size could check; it is quoted, not checked",
    "not reproduced here": "and why",
    "note": "what else to know of it",
    "wrong in the lecture": "politely: it differs from its source, or the source from itself",
}
OPENING = "Opening"
WORDS = ("holds", "does not hold here", "too small to tell")


@dataclass(frozen=True)
class Claim:
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
def claims() -> tuple[Claim, ...]:
    """Every statement, in order."""
    return tuple(_claims(read_yaml((ROOM / "claims.yaml").read_text(encoding="utf-8"))))


def _claims(sections: Sequence[Mapping[str, Any]]) -> Iterator[Claim]:
    slides = [(part["section"], slide) for part in sections for slide in part["slides"]]
    for i, (section, slide) in enumerate(slides, start=1):
        for j, claim in enumerate(slide["claims"], start=1):
            yield Claim(f"{i}.{j}", section, slide["slide"], **claim)


def results() -> dict[str, list[dict[str, Any]]]:
    """What experiments found: the stored results of each, by its name."""
    found: dict[str, list[dict[str, Any]]] = {}
    for stored in kept().values():
        found.setdefault(stored["experiment"], []).append(stored)
    return found


def networks(found: Sequence[Claim]) -> list[str]:
    """The networks that the statements' facts speak of."""
    patterns = {fact.partition(": ")[0] for claim in found for fact in (*claim.exact, *claim.printed)}
    return [name for name in list_models() if any(fnmatchcase(name, pattern) for pattern in patterns)]


def chosen(fact: str, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts that a fact of claims.yaml names."""
    pattern, _, value = fact.partition(" = ")
    return [verdict for verdict in verdicts if fnmatchcase(f"{verdict.name}: {verdict.fact}", pattern)
            and (not value or json.dumps(verdict.published) == value)]


def page(verdicts: Sequence[Verdict], found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The page, whole."""
    answered = [(claim, answers(claim, verdicts, found)) for claim in claims()]
    counts = Counter(kind for _, those in answered for kind in dict.fromkeys(kind for kind, _ in those))
    lines = [HEAD + "".join(f"| **{kind}** | {meant} | {counts[kind]} |\n" for kind, meant in MEANT.items()),
             f"{len(answered)} statements in all. " + _told(found), ""]
    for section, slides in groupby(answered, lambda each: each[0].section):
        lines += [f"## {section}", ""]
        for slide, those in groupby(slides, lambda each: (each[0].number.partition(".")[0], each[0].slide)):
            lines += [f"### {slide[0]}. {slide[1]}", "", "| | the lecture | here |", "|---|---|---|",
                      *(f"| {claim.number} | {claim.says} | {_cell(here)} |" for claim, here in those), ""]
    return "\n".join(lines)


def _cell(here: Sequence[tuple[str, str]]) -> str:
    return "<br>".join(f"**{kind}**: {text}" for kind, text in here)


def _told(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    words = Counter(verdict["word"] for those in found.values() for stored in those for verdict in stored["verdicts"])
    if not words:
        return "No experiment has been run yet."
    return (f"{len(found)} experiments have been run; verdicts on their {sum(words.values())} claims: "
            + ", ".join(f"*{word}* {words[word]}" for word in WORDS) + ".")


def answers(claim: Claim, verdicts: Sequence[Verdict],
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
        place = next(each.number for each in claims() if name in each.reproduce and each.section != OPENING)
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
    marks = Counter(MARKS[verdict.verdict][0] for verdict in those)
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
            + "; ".join(f"*{verdict['word']}*: {verdict['text']} ({_interval(verdict)})" for verdict in stored["verdicts"]))


def _interval(verdict: Mapping[str, Any]) -> str:
    """`2.31 [1.9, 2.72] points of test error; 5 seeds`."""
    if len(verdict["effects"]) == 1 or verdict["low"] == verdict["high"]:
        return f"{verdict['effect']:.4g} {verdict['unit']}"
    return (f"{verdict['effect']:.3g} [{verdict['low']:.3g}, {verdict['high']:.3g}] {verdict['unit']}; "
            f"{len(verdict['effects'])} seeds")


if __name__ == "__main__":
    PAGE.write_text(page(facts.check(networks(claims())), results()), encoding="utf-8")
    print(f"{PAGE}: {len(claims())} statements")
