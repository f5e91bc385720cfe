"""The published figures: complete, well formed, and checked by something that can fail."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict

import pytest

from convatlas import arch, facts, known
from convatlas.facts import verdicts as checker
from convatlas.facts.published import Fact, published
from convatlas.net import registry

assert arch     # registers the networks


def plain(verdicts) -> list[dict]:
    return json.loads(json.dumps([asdict(verdict) for verdict in verdicts]))


def settled(verdicts: list[dict]) -> None:
    """Nothing built disagrees, and what is explained is contested and does differ."""
    kinds = {kind: [v for v in verdicts if v["verdict"] == kind] for kind in ("match", "explained", "mismatch")}
    assert kinds["mismatch"] == []
    assert {v["name"] for v in kinds["match"]} == set(registry.VARIANTS)
    assert len(kinds["match"]) > 120
    assert all(v["note"] and v["published"] != v["computed"] for v in kinds["explained"])
    assert {(f.variant, str(f.value)) for f in published()
            if f.contested} == {(v["name"], str(v["published"])) for v in kinds["explained"]}


def test_everything_published_agrees_or_is_explained():
    """As computed when today's sources were: tests/test_known.py holds the stored verdicts to these, and computes those
    of one network of each family anew. Of every network there are all figures, its own counts among them.
    """
    assert known.stale() == []
    verdicts = [verdict for name in registry.VARIANTS for verdict in known.account(name)["facts"]]
    settled(verdicts)
    assert (Counter((v["name"], v["fact"]) for v in verdicts)
            == Counter([*((f.variant, f.label) for f in published() if f.variant in registry.VARIANTS),
                        *((name, own) for name in registry.VARIANTS for own in ("params", "macs"))]))


@pytest.mark.slow       # a minute
def test_everything_published_agrees_or_is_explained_computed_anew():
    verdicts = facts.check()
    assert plain(v for v in verdicts if v.verdict != "not built here") == [
        verdict for name in registry.VARIANTS for verdict in known.account(name)["facts"]]
    settled(plain(verdicts))


def test_figures_of_networks_that_are_not_built_here_are_told(monkeypatch):
    monkeypatch.setattr(checker, "VARIANTS", {"lenet1": registry.VARIANTS["lenet1"]})
    absent = {v.name for v in facts.check() if v.verdict == "not built here"}
    assert absent == {f.variant for f in published()} - {"lenet1"}


@pytest.mark.parametrize("fact", [f for f in published() if f.variant in ("lenet5", "lecun1989_zipcode")
                                  and f.fact in checker.COMPUTE], ids=lambda f: f"{f.variant}-{f.fact}-{f.layer}")
def test_a_wrong_figure_is_found(fact: Fact, monkeypatch):
    wrong = [x + 1 for x in fact.value] if isinstance(fact.value, list) else fact.value + 1
    monkeypatch.setattr(checker, "published", lambda: (fact.model_copy(update={"value": wrong}),))
    assert [v.verdict for v in facts.check([fact.variant]) if v.published == wrong] == ["mismatch"]


def test_a_wrong_figure_of_any_kind_of_idea_is_found(monkeypatch):
    """One network for several kinds, for each has to be built: all are changed at once, and all are found."""
    kinds = {"mobilenet_v1": ("filter", "stride", "separable_saving"), "vgg11": ("seen_by_stack", "stack_share"),
             "efficientnet_b0": ("largest_kernel", "blocks", "scaling_product", "macs_ratio", "width", "depth",
                                 "drop_rate"),
             "densenet_40_12_cifar": ("channels_read",), "se_resnet50": ("reductions",), "vgg16": ("kernel_sizes",)}
    chosen = [next(f for f in published() if (f.variant, f.fact) == (name, kind) and not f.contested)
              for name, those in kinds.items() for kind in those]
    slips = tuple(fact.model_copy(update={"value": [*fact.value, 1] if isinstance(fact.value, list) else "1"
                                          if isinstance(fact.value, str) else 1.1 * fact.value + 1}) for fact in chosen)
    monkeypatch.setattr(checker, "published", lambda: slips)
    verdicts = [v for v in facts.check([*kinds]) if v.source != "the architecture file's register line"]
    assert [v.verdict for v in verdicts] == ["mismatch"] * len(chosen)


def test_an_unknown_kind_of_figure_is_no_silent_pass(monkeypatch):
    monkeypatch.setattr(checker, "published", lambda: (Fact(variant="lenet5", fact="parms", value=1, source="a slip"),))
    with pytest.raises(KeyError):
        facts.check(["lenet5"])


def test_an_unknown_layer_is_no_silent_pass(monkeypatch):
    monkeypatch.setattr(checker, "published",
                        lambda: (Fact(variant="lenet5", fact="params", layer="c4", value=1, source="a slip"),))
    with pytest.raises(LookupError, match="c4"):
        facts.check(["lenet5"])


@pytest.mark.parametrize(("printed", "computed", "digits", "agree"), [
    (60_000_000, 60_965_224, 1, True), (60_000_000, 60_965_224, 2, False),
    (1.8e9, 1_849_000_000, 2, True), (1.8e9, 1_851_000_000, 2, False),
    (7, 7, None, True), (7, 8, None, False), (0.57, 0.5749, 2, True),
])
def test_rounding_is_to_the_digits_printed(printed, computed, digits, agree):
    assert checker._agree(printed, computed, digits) is agree


def test_training_figures_are_named_as_such():
    found = {v.fact for v in facts.check(["lenet5"]) if v.verdict == "not reproduced here"}
    assert found == {"test_error_pct"}


def test_facts_know_the_networks_by_themselves():
    """In a process that has imported nothing else; without them every figure would be one of a network not built."""
    code = "from convatlas import facts; print({v.verdict for v in facts.check(['lenet1']) if v.computed is not None})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'match'}"
