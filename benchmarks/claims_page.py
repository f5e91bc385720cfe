"""Write docs/claims.md: the lecture's statements, from claims.yaml, the facts and the results of experiments.

uv run python benchmarks/claims_page.py        (a minute: every network that a statement speaks of is counted anew)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from convatlas import facts
from convatlas.experiments.machinery.kept import MARKS
from convatlas.experiments.machinery.statements import answers, networks, results, statements
from convatlas.facts import Verdict

PAGE = Path(__file__).parents[1] / "docs" / "claims.md"

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

def page(verdicts: Sequence[Verdict], found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The page, whole."""
    answered = [(claim, answers(claim, verdicts, found)) for claim in statements()]
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
            + ", ".join(f"*{word}* {words[word]}" for word in MARKS) + ".")


if __name__ == "__main__":
    PAGE.write_text(page(facts.check(networks()), results()), encoding="utf-8")
    print(f"{PAGE}: {len(statements())} statements")
