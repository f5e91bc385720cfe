"""The search for coefficients: candidates of equal cost, a race that finds a known optimum, files that it leaves."""

import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_trial import archive

from convatlas.errors import ConvatlasError
from convatlas.evaluation.statistics import behind, paired
from convatlas.net.registry import change, variant
from convatlas.run import Data, Model, Optim, Run, Train
from convatlas.scale import cost
from convatlas.scale.apply import apply, verdict
from convatlas.scale.candidates import EQUAL, At, candidates, coefficients, equally, rivals, shares, shares_of
from convatlas.scale.cluster import on_ray
from convatlas.scale.compound import Coefficients, Reached, kept, reach
from convatlas.scale.compound import Point as Scaled
from convatlas.scale.ledger import Entry, Ledger, Point
from convatlas.scale.plan import TOGETHER, Plan, Result, read, scaled_network, tell_apart
from convatlas.scale.race import race, ranking
from convatlas.scale.search import Question, search
from convatlas.scale.trial import Images, Work, conduct

RESNET = change(variant("resnet20_cifar").spec, {"n": 6, "width": 2.0, "image_size": 224})


def counted(spec: Any) -> float:
    """Multiply-adds of a ResNet, nearly."""
    return float(spec.n * spec.width ** 2 * (spec.image_size if isinstance(spec.image_size, int) else 0) ** 2)


def at(spec: Any) -> At:
    """Twice that."""
    return partial(reach, spec, 2 * counted(spec), counted, within=0.01)


# -- candidates ------------------------------------------------------------------------------------------------------

def test_coefficients_lie_on_the_papers_constraint() -> None:
    for steps in (3, 4, 7):
        for share in shares(steps):
            rule = coefficients(share)
            assert rule.product == pytest.approx(2) and min(rule.alpha, rule.beta, rule.gamma) >= 1
            assert shares_of(rule) == pytest.approx(share)
    assert shares(3)[0] == (1 / 3, 1 / 3, 1 / 3) and len(shares(4)) == 12


def test_candidates_are_different_networks_of_equal_cost() -> None:
    found = candidates(12, at(RESNET))
    assert len({each.spec for each in found}) == len({each.name for each in found}) == 12
    for each in [*found, *rivals(at(RESNET)).values()]:
        assert counted(each.spec) == pytest.approx(2 * counted(RESNET), rel=0.01)
        assert each.reached.deviation == pytest.approx(counted(each.spec) / counted(RESNET) / 2 - 1)


def test_no_image_is_made_smaller_for_the_last_per_cent_of_cost() -> None:
    """Once it read 13 pixels in place of 16, whose cost was nearer by 2 %."""
    spec = change(RESNET, {"n": 4, "width": 0.375, "image_size": 16})
    reached = equally(spec, 1)(Coefficients(1.32, 1.231, 1.0))
    assert abs(reached.deviation) < 0.03 and reached.point.departure == 0


def test_networks_that_rounding_makes_equal_count_once() -> None:
    tiny = change(RESNET, {"n": 1, "width": 0.25, "image_size": 8})
    found = candidates(60, at(tiny))
    assert len({each.spec for each in found}) == len(found) < 60


def test_specifications_of_one_network_are_one_candidate_and_a_rivals_is_none() -> None:
    widths = iter((0.53, 0.5302, 0.5304, 0.7, 0.701))     # 8 and 11 filters in the first stage, whatever the last digit

    def at(rule: Coefficients) -> Reached:
        spec = change(RESNET, {"n": 1, "width": next(widths, 0.701), "image_size": 8})
        return Reached(Scaled(rule, 1.0, spec, (8, 8)), 1.0, 1.0)

    rival = change(RESNET, {"n": 1, "width": 0.702, "image_size": 8})
    assert [each.spec.width for each in candidates(3, at, beside=[rival])] == [0.53]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fields"), [("mobilenet_v2", {}), ("resnet50", {}), ("efficientnet_b0", {})])
def test_candidates_have_equal_multiply_adds_to_one_per_cent(name: str, fields: dict[str, Any]) -> None:
    spec = change(variant(name).spec, fields)
    for each in candidates(12, equally(spec, 1), within=EQUAL):
        assert cost.macs(each.spec) == pytest.approx(2 * cost.macs(spec), rel=0.01), each.name


def test_candidates_whose_images_depart_come_last_and_are_told() -> None:
    def apart(rule: Coefficients) -> Reached:
        reached = at(RESNET)(rule)
        return replace(reached, point=replace(reached.point, size=(12, 12))) if rule.alpha > 1 else reached

    found = candidates(12, apart, within=0.02)
    off = [abs(each.reached.point.departure) > 0.05 for each in found]
    assert off == sorted(off) and off[-1] and not off[3]
    networks = [scaled_network(each.name, TOGETHER, 1.0, each.coefficients, Run(model=Model(name="resnet20_cifar")),
                               each.reached, "macs") for each in found]
    said: list[str] = []
    tell_apart(networks, said.append)
    assert len(said) == 1 and f"{networks[-1].name} {100 * networks[-1].departure:+.0f} %" in said[0]
    assert "With sides of images that depart from the rule's" in said[0]


def test_candidates_that_miss_the_cost_come_last() -> None:
    def missing(rule: Coefficients) -> Reached:
        reached = at(RESNET)(rule)
        return replace(reached, found=1.1 * reached.budget) if rule.alpha > 1.2 else reached

    found = candidates(12, missing, within=0.02)
    off = [abs(each.reached.deviation) > 0.02 for each in found]
    assert len(found) == 12 and off == sorted(off) and not off[3]


@pytest.mark.slow
def test_candidates_of_equal_latency_are_measured() -> None:
    spec = change(RESNET, {"n": 1, "image_size": 64, "num_classes": 10})
    found = candidates(2, equally(spec, 1, "latency"))
    assert len(found) == 2
    for each in found:
        assert each.reached.found == pytest.approx(each.reached.budget * (1 + each.reached.deviation))
        assert cost.macs(each.spec) > 1.2 * cost.macs(spec)


# -- the race --------------------------------------------------------------------------------------------------------

def table(noise: float, seeds: int, names: Iterable[str], best: str) -> dict[tuple[str, int], float]:
    """Accuracies with a known best, seeds that differ, and noise."""
    dice = random.Random(1)
    easy = [dice.gauss(0, 0.05) for _ in range(seeds)]
    return {(name, seed): (0.8 if name == best else 0.7) + easy[seed] + dice.gauss(0, noise)
            for name in names for seed in range(seeds)}


def test_those_far_behind_are_stopped_and_count_as_worse() -> None:
    names = list("abcdef")
    found = table(0.002, 4, names, "d")
    first = race(names, {}, 4)
    assert [point["network"] for point in first.points] == names and not first.over
    whole = race(names, found, 4)
    assert whole.over and whole.racing == ["d"] and set(whole.stopped.values()) == {2}
    assert len(whole.points) == 6 * 2 + 1 * 2
    ranks = ranking(names, found, 4)
    assert ranks[0].name == "d" and all(rank.behind is None and len(rank.accuracies) == 2 for rank in ranks[1:])


def test_chance_alone_stops_nobody_but_in_one_search_of_twenty() -> None:
    names, dice = [str(i) for i in range(12)], random.Random(0)
    wrong = 0
    for _ in range(200):
        easy = [dice.gauss(0, 1) for _ in range(3)]
        found = {(name, seed): easy[seed] + dice.gauss(0, 1) for name in names for seed in range(3)}
        wrong += bool(race(names, found, 3).stopped)
    assert 0 < wrong <= 10
    gaps = [rank.behind for rank in ranking(names, found, 3)]
    assert gaps[0] is not None and gaps[0].mean == 0 and not gaps[0].tells


def test_one_seed_tells_nothing() -> None:
    gap = behind({"a": [0.9], "b": [0.1]})["b"]
    assert gap.mean == pytest.approx(0.8) and gap.low == -math.inf and not gap.tells


def test_distances_in_blocks_of_two_are_the_paired_ones() -> None:
    a, b = [0.9, 0.7, 0.8, 0.85], [0.85, 0.6, 0.78, 0.8]
    gap = behind({"a": a, "b": b})["b"]
    assert (gap.mean, gap.low, gap.high) == pytest.approx(paired([x - y for x, y in zip(a, b, strict=True)]))


def test_shared_scatter_tells_more_than_pairs() -> None:
    dice = np.random.default_rng(3)
    values = {f"{i}": (0.8 - 0.01 * i + dice.normal(0, 0.006, 3)).tolist() for i in range(8)}
    worst, best = values["7"], values["0"]
    alone = paired([x - y for x, y in zip(best, worst, strict=True)], 1 - 0.05 / 28)
    assert behind(values)["7"].tells and alone[1] < 0


def oracle(best: tuple[float, float, float], noise: float, entry: Entry) -> float:
    """Accuracy that falls with the distance of a candidate's shares from the best ones."""
    alpha, beta, gamma = (float(word) for word in str(entry.point["network"]).split())
    gap = sum((a - b) ** 2 for a, b in zip(shares_of(Coefficients(alpha, beta, gamma)), best, strict=True))
    return 0.9 - 0.2 * gap + random.Random(f"{entry.point}").gauss(0, noise)


def rounds(names: Sequence[str], entries: Sequence[Entry]) -> list[Point]:
    found = {(str(each.point["network"]), int(each.point["seed"])): each.value
             for each in entries if each.value is not None}
    return race(names, found, 3).points


def test_a_known_optimum_is_found(tmp_path: Path) -> None:
    found = candidates(12, at(RESNET))
    for number, want in enumerate((found[3], found[7])):
        folder = tmp_path / str(number)
        work = Work(folder, partial(rounds, [each.name for each in found]),
                    partial(oracle, shares_of(want.coefficients), 0.001))
        entries = conduct(work, 0, lambda entries, entry: "", lambda text: None)
        accuracies = {(str(each.point["network"]), int(each.point["seed"])): float(each.value or 0)
                      for each in entries}
        ranks = ranking([each.name for each in found], accuracies, 3)
        assert ranks[0].name == want.name
        assert len(entries) < 36        # hopeless ones were stopped
        assert len(Ledger(folder).entries()) == len(entries)


# -- a search --------------------------------------------------------------------------------------------------------

BASE = Run(model=Model(name="resnet20_cifar", fields={"n": 1, "width": 0.5, "in_chans": 1, "image_size": 12}),
           data=Data(batch_size=16), optim=Optim(name="sgd", lr=0.05, momentum=0.9), train=Train(epochs=1))


@pytest.mark.parametrize(("right", "said"), [
    ((0.11, 0.09, 0.12), "No candidate has learned anything: the best is right about 10.67 % of the"),
    ((0.51, 0.49, 0.52), "1 other candidate is inside the noise"),
])
def test_a_search_that_learned_nothing_says_so(right: tuple[float, ...], said: str) -> None:
    known = {(name, seed): value for name in ("a", "b") for seed, value in enumerate(right)}
    plan = Plan(Path(), {}, BASE, Images(Path(), learnt=1000, searched=200, tested=200, classes=10), {})
    assert Result(plan, "a", ranking(("a", "b"), known, 3), {}, ()).noise.startswith(said)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_ray_cluster_finds_what_this_process_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is an extra")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "180")
    monkeypatch.chdir(tmp_path)
    run = BASE.change("data.source", str(archive(tmp_path, train=80, test=24)))
    question = Question(trials=2, seeds=2, finals=2, best=1)
    here = search(run, None, Path("here"), question, workers=0)
    cluster = search(run, None, Path("cluster"), question, workers=2, ray="local")
    assert (cluster.chosen, cluster.ranks, cluster.tested) == (here.chosen, here.ranks, here.tested)


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConvatlasError, match=r"--ray needs Ray, which is not installed: .*\[ray\]"), on_ray("auto"):
        pass


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_and_what_is_made_of_it(tmp_path: Path) -> None:
    run = BASE.change("data.source", str(archive(tmp_path, train=80, test=24)))
    asked: list[str] = []

    def agree(sentence: str) -> bool:
        asked.append(sentence)
        return True

    lines: list[str] = []
    question = Question(trials=3, seeds=2, finals=2, best=1)
    with pytest.raises(KeyboardInterrupt):
        search(run, None, tmp_path / "out", question, workers=0, agree=lambda sentence: False)
    assert not (tmp_path / "out" / "plan.json").exists()
    found = search(run, None, tmp_path / "out", question, workers=0, agree=agree, tell=lines.append)
    assert len(asked) == 1 and "At most 16 trainings of 1 epochs on 64 images" in asked[0]
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert stored["chosen"] == found.chosen and len(stored["ranking"]) == 3
    for name, network in found.plan.networks.items():
        assert network.macs == stored["networks"][name]["macs"] == cost.macs(found.plan.spec(name))
        assert network.params == cost.params(found.plan.spec(name))
    rule = kept(tmp_path / "out")
    assert (rule.alpha, rule.beta, rule.gamma) == found.plan.networks[found.chosen].coefficients
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page and "inside the noise" in page and found.chosen in page
    folders = {path.name.split("-seed")[0] for path in (tmp_path / "out" / "trials").iterdir()}
    assert {"test-as-it-is", "test-depth", "test-width", "test-resolution"} < folders
    again = search(run, None, tmp_path / "out", question, workers=0, agree=agree)
    assert again == found and len(asked) == 1       # nothing is asked, and nothing done, twice
    with pytest.raises(ConvatlasError, match="holds another search: trials is 3 there"):
        search(run, None, tmp_path / "out", replace(question, trials=4))
    larger = apply(tmp_path / "out", [2.0], seeds=2, workers=0)
    assert set(larger.tested) == {"as it is", "together φ=2", "depth φ=2", "width φ=2", "resolution φ=2"}
    assert [each.rival for each in larger.versus] == ["depth φ=2", "width φ=2", "resolution φ=2"]
    assert verdict(larger, 2).startswith("φ = 2: ")
    drawn = [(tmp_path / "out" / name / "picture.svg").read_text(encoding="utf-8").count("<use")
             for name in ("", "apply-2")]
    assert drawn[1] == drawn[0] + 4         # each line goes on from the search's networks
    page = (tmp_path / "out" / "apply-2" / "report.html").read_text(encoding="utf-8")
    assert verdict(larger, 2) in page and f"α = {rule.alpha:.3f}" in page
    assert read(tmp_path / "out").run == found.plan.run


def test_what_cannot_be_searched_is_said(tmp_path: Path) -> None:
    run = BASE.change("data.source", str(archive(tmp_path, train=80, test=24)))
    with pytest.raises(ConvatlasError, match="--trials 1 is too few"):
        Question(trials=1)
    with pytest.raises(ConvatlasError, match="--phi -1 is refused"):
        Question(phi=-1)
    with pytest.raises(ConvatlasError, match="scores pixels"):
        search(run.change("model", Model(name="unet_same")), None, tmp_path / "out", Question())
    with pytest.raises(ConvatlasError, match="no rule by which it is scaled"):
        search(run.change("model", Model(name="lenet5_modern")), None, tmp_path / "out", Question())
    with pytest.raises(ConvatlasError, match="is no search"):
        apply(tmp_path, [2.0])
    (tmp_path / "plan.json").write_text('{"format": 1, "networks": 3}')
    with pytest.raises(ConvatlasError, match="cannot be read as a search's plan"):
        read(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_asks_before_it_begins(tmp_path: Path) -> None:
    words = ["scale", "search", "resnet20_cifar", str(archive(tmp_path, train=80, test=24)), "--epochs", "1",
             "--trials", "2", "--seeds", "1", "--finals", "2", "--best", "1", "--workers", "1", "--out",
             str(tmp_path / "out"), "--set", "model.fields.n=1", "--set", "model.fields.width=0.5", "--set",
             "model.fields.image_size=12"]

    def called(*more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, "-m", "convatlas", *words, *more], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, check=False, env={**os.environ, "NO_COLOR": "1"})

    asked = called()
    assert asked.returncode == 2 and "--yes" in asked.stderr and "At most 12 trainings" in asked.stdout
    done = called("--yes")
    assert done.returncode == 0, done.stderr
    assert "α = " in done.stdout and "too small to tell" in done.stdout and "report " in done.stdout
