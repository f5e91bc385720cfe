"""docs/claims.md: no number of the lecture is missing, and all that it names is there."""

import runpy
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from lecture_numbers import STORED, numbers

from convatlas import facts, list_models
from convatlas.experiments.machinery import statements
from convatlas.facts.verdicts import COMPUTE, TRAINED
from lines import COMMANDS, words_of

ROOT = Path(__file__).parents[2]
written = SimpleNamespace(**runpy.run_path(str(ROOT / "benchmarks" / "claims_page.py")))
CLAIMS = statements.statements()
PAGE = written.PAGE.read_text(encoding="utf-8")
LABELS = [(f"{fact.variant}: {fact.label}", fact.fact, fact.value) for fact in facts.published()] + [
    (f"{name}: {own}", own, None) for name in list_models() for own in ("params", "macs")]      # its register line's
# experiments that are still to be written; a name leaves with its file
TO_COME = set[str]()


def test_every_number_on_the_slides_is_in_a_statement():
    stored = yaml.safe_load(STORED.read_text(encoding="utf-8"))
    assert list(stored) == list(dict.fromkeys(claim.section for claim in CLAIMS))
    for section, those in stored.items():
        said = " ".join(f"{claim.slide} {claim.says}" for claim in CLAIMS if claim.section == section)
        assert set(those) - numbers(said) == set(), section


@pytest.mark.parametrize(("kind", "kinds"), [("exact", COMPUTE), ("printed", TRAINED)])
def test_every_fact_is_there_and_of_the_kind_that_the_page_says(kind, kinds):
    for claim in CLAIMS:
        for named in getattr(claim, kind):
            pattern, _, value = named.partition(" = ")
            those = [fact for label, fact, printed in LABELS
                     if fnmatchcase(label, pattern) and (not value or yaml.safe_load(value) == printed)]
            assert those and set(those) <= set(kinds), f"{claim.number}: {named}"


def test_every_command_and_picture_is_there():
    for what in {each for claim in CLAIMS for each in claim.shown}:
        if what.startswith("docs/"):
            assert (ROOT / what).is_file(), what
            continue
        words = words_of(what)
        given = [each for each in words if not each.startswith("--") and not each.isdigit()]
        assert set(given) <= set(list_models()), what


def test_every_experiment_is_named_and_there():
    named = {name for claim in CLAIMS for name in claim.reproduce}
    there = {path.stem.replace("_", "-") for path in statements.ROOM.glob("[!_]*.py")}
    assert there <= named, "a statement of claims.yaml belongs to it"
    assert named <= there | TO_COME
    assert not there or "reproduce" in COMMANDS.commands


def test_every_statement_has_an_answer_and_stands_on_the_page():
    """It drifts unless somebody runs benchmarks/claims_page.py."""
    for claim in CLAIMS:
        assert any((claim.exact, claim.shown, claim.reproduce, claim.printed, claim.because, claim.wrong)), claim.number
        assert f"| {claim.number} | {claim.says} | " in PAGE
        for text in (claim.because, claim.note, claim.wrong):
            assert text in PAGE
    assert f"{len(CLAIMS)} statements in all" in PAGE


def test_the_page_gives_every_result_that_is_there():
    for those in statements.results().values():
        for stored in those:
            for verdict in stored["verdicts"]:
                assert f"*{verdict['word']}*: {verdict['text']} (" in PAGE, "uv run python benchmarks/claims_page.py"


def stored(word: str, low: float, high: float) -> Mapping[str, Any]:
    return {"experiment": "degradation", "size": "quick", "protocol": {"images": {"source": "fashion-small"}},
            "verdicts": [{"text": "the deeper is worse", "word": word, "effect": 2.0, "low": low, "high": high,
                          "unit": "points", "effects": [1.0, 2.0, 3.0]}]}


@pytest.mark.parametrize("word", ["holds", "does not hold here", "too small to tell"])
def test_a_result_is_told_whatever_it_is(word):
    claim = next(claim for claim in CLAIMS if claim.reproduce == ["degradation"] and claim.section != "Opening")
    told = statements.answers(claim, [], {"degradation": [stored(word, 1.25, 2.75)]})
    assert told == [("put to the test", f"`convatlas reproduce degradation --quick` on fashion-small: *{word}*: the "
                                        "deeper is worse (2 [1.25, 2.75] points; 3 seeds)")]
    assert [kind for kind, _ in statements.answers(claim, [], {})] == ["not run yet"]


def test_a_figure_that_differs_is_told_with_its_reason():
    verdict = facts.Verdict("vgg16", "macs", 15.3e9, 15_470_264_320, "a paper", "explained", "rounded")
    claim = statements.Statement("1.1", "VGG", "a slide", "", exact=["vgg16: macs"])
    told = dict(statements.answers(claim, [verdict], {}))
    assert "≈" in told["exact"] and "rounded" in told["exact"] and "15 470 264 320" in told["exact"]


@pytest.mark.slow
def test_the_page_is_what_the_command_writes():
    assert written.page(facts.check(statements.networks()), statements.results()) == PAGE
