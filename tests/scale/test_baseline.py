"""A baseline's search: what it tries, what it keeps, what it chooses, and the files that it leaves."""

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import pytest
import torch

import convatlas
from convatlas.arch.efficientnet import EfficientNet
from convatlas.errors import ConvatlasError
from convatlas.net import registry
from convatlas.run import Model, Run, Schedule, Train
from convatlas.scale import cost
from convatlas.scale.baseline import Record, Searched, coming, finalists, record_of, recorded, spent
from convatlas.scale.baseline_page import front, leave, ordered
from convatlas.scale.baseline_plan import Asked, Plan, planned, shared
from convatlas.scale.baseline_rivals import RULE, START, Compared, Rival, against, rivals
from convatlas.scale.evolution import reward
from convatlas.scale.price import MEASURED, Price, at_latency, fitted, macs, parts, priced, said
from convatlas.scale.space import around
from convatlas.scale.trial import Images, Work, conduct

SMALL = EfficientNet(image_size=28, in_chans=1, num_classes=10, norm_momentum=0.04)
RUN = Run(recipe="modern", model=Model(name="efficientnet_b0", fields={"image_size": 28, "in_chans": 1}),
          train=Train(epochs=10), schedule=Schedule(name="cosine", warmup_epochs=1))


@pytest.fixture
def plan(tmp_path):
    price = Price("macs")
    return Plan(RUN, around(SMALL, 5e6, price).start, price, Images(tmp_path / "images.npz", 800, 200, 300, 10), 5e6,
                each=1.0, few=3, limit=60.0, seeds=2)


def oracle(plan, folder, stop, entry):
    """A trial that knows instead of training: gates at the end, none at the beginning, one second each."""
    if entry.number == stop:
        raise KeyboardInterrupt
    spec = plan.space.spec({name: int(value) for name, value in entry.point.items()})
    known = sum(row.se == (i > 3) for i, row in enumerate(spec.table[1:-1])) / 7
    record = recorded(folder, entry, plan.price(spec), lambda where: known)
    path = folder / f"{entry.number}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 1.0}))
    return reward(record.accuracy, record.price, plan.target)


def tried(plan, folder, stop=-1):
    return conduct(Work(folder, partial(coming, plan, folder), partial(oracle, plan, folder, stop)), 0,
                   lambda entries, entry: f"{entry.number}", lambda text: None)


def test_counts_of_a_table_are_those_of_the_layer_table():
    dice = Random(5)
    for size, wanted in ((28, 5e6), (33, 9e6), (8, 3e6)):
        space = around(replace(SMALL, image_size=size, in_chans=3), wanted, macs)
        spec = space.spec(space.drawn(dice))
        assert macs(spec) == cost.macs(spec)
        net, (_, _, _, blocks, gates) = cost.net(spec), parts(spec)
        assert blocks == sum(len(stage) for stage in net.stages)
        assert gates == sum(name.endswith("excite") for name, _ in net.named_modules())
    assert macs(EfficientNet(width=0.7, depth=0.6, image_size=97)) == cost.macs(
        EfficientNet(width=0.7, depth=0.6, image_size=97))


def test_search_climbs_within_its_time_and_goes_on_with_what_is_there(plan, tmp_path):
    folder = tmp_path / "one-epoch"
    with pytest.raises(KeyboardInterrupt):
        tried(plan, folder, stop=23)
    stopped = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    entries = tried(plan, folder)
    points = [tuple(entry.point.items()) for entry in entries]
    assert len(points) == len(set(points)) == 60 == spent(folder, entries) and 0 < len(stopped) < 60
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.json") if path.name in stopped} == stopped
    assert entries[0].point == plan.space.decided(plan.start)
    assert all(0.5 <= record_of(folder, entry.number).price / plan.target <= 1.1 for entry in entries)
    first, last = ([entry.value for entry in part] for part in (entries[1:21], entries[40:]))
    assert sum(last) / 20 > sum(first) / 20 + 0.15 and max(last) > max(first)


def test_the_few_are_the_start_and_the_best_that_are_not_too_dear(plan, tmp_path):
    entries = tried(replace(plan, limit=25.0), tmp_path)
    records = {entry.number: record_of(tmp_path, entry.number) for entry in entries}
    best = finalists(plan, entries, records)
    others = [entry for entry in entries[1:] if records[entry.number].price <= 1.02 * plan.target]
    assert best[0] == plan.space.decided(plan.start) and len(best) == 3
    assert [*best[1:]] == [entry.point for entry in sorted(others, key=lambda entry: -entry.value)[:2]]


def test_time_is_shared_between_single_epochs_and_full_trainings(plan):
    one = shared(plan, 3, 2)                        # 360 s, and a full training takes 10
    assert one.few == 5 and one.limit == 360 - 50
    assert shared(plan, 1, 1).few == 3
    with pytest.raises(ConvatlasError, match=r"--minutes 0.5 is too few: .* give 1 minutes or more"):
        shared(plan, 0.5, 1)
    assert plan.one_epoch.train.epochs == 1 and plan.one_epoch.schedule.warmup_epochs == 0.1


@pytest.fixture
def searched(plan):
    dice = Random(2)
    specs = [plan.start, *(plan.space.spec(plan.space.drawn(dice)) for _ in range(3))]
    tried = {number: (spec, Record(accuracy, plan.price(spec), 1.0))
             for number, (accuracy, spec) in enumerate(zip((0.5, 0.6, 0.55, 0.4), specs, strict=True))}
    full = {number: (specs[i], Record(accuracy, plan.price(specs[i]), 9.0))
            for number, (accuracy, i) in enumerate(((0.8, 0), (0.85, 2), (0.7, 1)))}
    return Searched(tried, full, 1)


def test_what_is_found_is_left_as_a_file_that_builds_it_at_the_price_it_says(plan, searched, tmp_path):
    compared = Compared((0.8, 0.82), (against("EfficientNet-B0 by the rule", 5e6, (0.8, 0.82), (0.7, 0.74), 1),),
                        {"found": searched.spec}, {"found": cost.Latency(0.00512, 0.005, 0.0053, "native", 1)})
    path = leave(tmp_path, "fashion-small", plan, searched, compared, "convatlas scale baseline …")
    spec = registry.variant(str(path)).spec
    assert spec == searched.spec and registry.variant(str(path)).macs == plan.price(spec)
    said_macs = int(re.search(r"([\d ]+) multiply-adds\.", path.read_text())[1].replace("\u00a0", "").replace(" ", ""))
    assert said_macs == cost.macs(spec)
    model = convatlas.create_model(str(path)).eval()
    assert model(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["chosen"] == 1 and stored["compared"]["rivals"][0]["word"] == "too small to tell"
    page = (tmp_path / "report.html").read_text()
    assert "fashion-small, at most 5.00M multiply-adds" in page and "85.00" in page and "too small to tell" in page
    assert stored["compared"]["latencies"]["found"]["backend"] == "native" and "Measured afterwards" in page
    assert (tmp_path / "picture.svg").read_text().count("million multiply-adds") == 2


def test_front_and_order_of_what_was_tried(searched):
    prices = {number: record.price for number, (_, record) in searched.tried.items()}
    front_ = front(searched.tried)
    accuracies = [searched.tried[number][1].accuracy for number in front_]
    assert accuracies == sorted(accuracies) and sorted(front_, key=prices.get) == front_ and 1 in front_
    assert ordered(searched) == (1, 3)          # 0.5, 0.55, 0.6 after one pass; 0.8, 0.85, 0.7 in full


@pytest.mark.parametrize(("ours", "theirs", "word"), [
    ((0.9, 0.91, 0.92), (0.8, 0.8, 0.82), "better"), ((0.8, 0.81, 0.82), (0.9, 0.91, 0.93), "worse"),
    ((0.9, 0.8, 0.85), (0.85, 0.84, 0.86), "too small to tell"),
    ((0.9, 0.9, 0.9), (0.8, 0.8, 0.8), "too small to tell")])
def test_verdict_on_a_rival_is_by_its_interval(ours, theirs, word):
    found = against("the start", 5e6, ours, theirs, 2)
    alone = against("the start", 5e6, ours, theirs, 1)
    assert isinstance(found, Rival) and found.word == word and word in found.sentence
    assert found.low < alone.low or found.high - found.low < 1e-9       # two intervals share the confidence


def test_latencies_are_fitted_and_told_with_what_they_are_missed_by(monkeypatch):
    """Latencies that are a sum of parts are found again; a target is met by measuring, the start by what is fitted."""
    true, dice = (2e-4, 3e-10, 2e-9, 5e-5, 2e-5), Random(3)

    def seconds(spec):
        return sum(weight * part for weight, part in zip(true, parts(spec), strict=True))

    space = around(SMALL, 5e6, macs)
    measured = [(spec, seconds(spec)) for spec in (space.spec(space.drawn(dice)) for _ in range(MEASURED))]
    price, other = fitted(measured, "native"), space.spec(space.drawn(dice))
    assert price(other) == pytest.approx(seconds(other), rel=0.02) and price.error < 0.02
    start = at_latency(lambda budget: around(SMALL, budget, macs).start, 4e-3, 5e6, seconds)
    assert 0.85 * 4e-3 < seconds(start) <= 1.03 * 4e-3
    with pytest.raises(ConvatlasError, match=r"as fast as 0.01 ms here: the fastest that was measured takes"):
        at_latency(lambda budget: space.start, 1e-5, 5e6, seconds)
    monkeypatch.setattr(cost, "latency", lambda spec, **_: cost.Latency(seconds(spec), 0.0, 1.0, "native", 1))
    told = []
    space, price = priced(SMALL, 4e-3, "latency", told.append)
    assert 0.85 * 4e-3 < price(space.start) <= 4e-3 and price.backend == "native"
    assert "those of native" in told[0] and re.search(r"of 1\d networks, .* by \d\.\d % \(median\)\.", told[1])
    assert said("latency", 0.0051234) == "5.12 ms" and said("macs", 5e6) == "5.00M multiply-adds"


def test_a_folder_with_another_question_is_refused(plan, tmp_path):
    asked = Asked(RUN, None, "macs", 5e6, 30.0, 2)
    (tmp_path / "plan.json").write_text(json.dumps({"format": 1, "asked": asked.plain | {"target": 7e6}, "plan": {}}))
    with pytest.raises(ConvatlasError, match=r"asked otherwise \(target\)"):
        planned(asked, tmp_path, 1, print)
    (tmp_path / "plan.json").write_text('{"format": 1}')
    with pytest.raises(ConvatlasError, match="no plan of a search"):
        planned(asked, tmp_path, 1, print)


@pytest.mark.slow
def test_rivals_cost_what_was_found_costs(tmp_path):
    from convatlas.cli.configuration import configured

    run, choice = configured([("model.name", "efficientnet_b0"), ("data.source", "fashion-small"),
                              ("train.epochs", 2)], recipe=None, config=None, sets=())
    asked = Asked(run, choice, "macs", 5e6, 30.0, 2, images=400)
    plan = planned(asked, tmp_path, 2, print)
    assert plan == planned(asked, tmp_path, 2, print)               # as it is read
    found = plan.space.spec(plan.space.drawn(Random(1)))
    runs = rivals(plan, found, asked, tmp_path, print)
    specs = {name: registry.card(other.model.name, other.model.fields).spec for name, other in runs.items()}
    for name, nearly in ((RULE, 0.02), (START, 0.05)):
        spec = specs[name]
        assert cost.macs(spec) == pytest.approx(plan.price(found), rel=nearly) and spec.num_classes == 10
        assert spec.in_chans == 1 and runs[name].train.epochs == 2
    assert 28 < specs[RULE].image_size < 64 and specs[START].image_size < 36


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_command_killed_and_run_again_does_no_trial_twice_and_loses_none(tmp_path):
    words = [sys.executable, "-m", "convatlas", "scale", "baseline", "digits", "--macs", "800k", "--minutes", "0.3",
             "--epochs", "2", "--seeds", "2", "--images", "200", "--workers", "2", "--out", "search", "--yes"]
    first = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    proxies = tmp_path / "search" / "one-epoch"
    for _ in range(3000):
        if len(list(proxies.glob("*.json"))) >= 2 or first.poll() is not None:
            break
        time.sleep(0.1)
    assert first.poll() is None, first.stdout.read()
    first.kill()
    first.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in proxies.glob("*.json")}
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: (proxies / name).stat().st_mtime_ns for name in kept} == kept
    stored = json.loads((tmp_path / "search" / "results.json").read_text())
    tried = [json.dumps(each["decided"]) for each in stored["one_epoch"]]
    assert len(tried) == len(set(tried)) == len(list(proxies.glob("*.json"))) > 2
    assert len(stored["compared"]["accuracies"]) == 2
    assert "train    convatlas train search/network.yaml digits" in done.stdout
    network = Path(tmp_path, "search", "network.yaml")
    assert registry.variant(str(network)).macs <= 1.02 * 800_000
