"""Every experiment: its protocols build, its claims and its picture follow from figures. Tested by existing."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from convatlas.experiments import about, experiment, names
from convatlas.experiments.machinery.kept import KEPT, name_of
from convatlas.experiments.machinery.page import RESULTS, current, read
from convatlas.experiments.machinery.pictures import picture_file
from convatlas.experiments.machinery.plan import Claim, Experiment, Protocol, Results
from convatlas.experiments.machinery.reproduce import reproduce
from convatlas.experiments.machinery.trial import Arm
from convatlas.experiments.machinery.verdict import judge
from convatlas.net.model import pair
from convatlas.net.registry import card

SIZES = ("quick", "standard", "full")


class MadeUp(defaultdict[str, float]):
    """Figures of any name, drawn as they are asked for, near one of the levels that are given."""

    def __init__(self, dice: random.Random, levels: Sequence[float] = (20.0,)) -> None:
        self.dice, self.levels = dice, levels

    def __missing__(self, name: str) -> float:
        self[name] = self.dice.choice(self.levels) * self.dice.uniform(0.75, 1.25)
        return self[name]


def protocols(found: Experiment) -> list[Protocol]:
    return [protocol for size in SIZES if (protocol := getattr(found, size)) is not None]


def made_up(protocol: Protocol, seeds: int, epochs: int) -> Results:
    names = tuple(arm.name for arm in protocol.arms)
    rows = [{"epoch": float(epoch), "train_top1": epoch / 9, "val_top1": epoch / 10, "train_loss": 1 / epoch,
             "val_loss": 2 / epoch, "val_iou": epoch / 11, "seconds": 3.0 * epoch} for epoch in range(1, epochs + 1)]
    dice = random.Random(0)
    return Results(names, {seed: {name: MadeUp(dice) for name in names} for seed in range(seeds)},
                   {seed: dict.fromkeys(names, rows) for seed in range(seeds)})


@pytest.mark.parametrize("name", names())
def test_its_protocol_is_whole(name: str) -> None:
    found = experiment(name)
    assert len(about(name)) > 300 and found.title.endswith("?") and found.claims
    for protocol in protocols(found):
        arms = [arm.name for arm in protocol.arms]
        assert len(set(arms)) == len(arms) and protocol.minutes > 0
        assert protocol.seeds >= 5 or not any(claim.by_chance for claim in found.claims) or protocol is found.full
        assert not protocol.rates or protocol.images is not None       # what is tuned on is not what is judged by
        sides = []
        for arm in protocol.arms if protocol.base is not None else ():
            run = protocol.run(arm, 0, "fashion-small")
            assert type(run).from_yaml(run.to_yaml()).to_yaml() == run.to_yaml()
            sides += [pair(card(run.model.name, run.model.fields).spec.image_size)[0]]
        # an arm of another family has that one's usual side, 224 pixels, where the protocol names none
        assert not sides or max(sides) <= 2 * min(sides), dict(zip(arms, sides, strict=True))


@pytest.mark.parametrize("name", names())
def test_its_claims_and_its_picture_follow_from_figures(name: str) -> None:
    found = experiment(name)
    for epochs in (1, 3):
        results = made_up(found.quick, 2, epochs)
        verdicts = judge(found.claims, results.paired)
        assert [verdict.text for verdict in verdicts] == [claim.text for claim in found.claims]
        assert picture_file(found.picture(results), "png").startswith(b"\x89PNG")


@pytest.mark.parametrize("name", [path.stem for path in sorted(KEPT.glob("*.json"))])
def test_committed_results_are_of_this_protocol(name: str) -> None:
    stored = read(KEPT / f"{name}.json")
    found = experiment(stored["experiment"])
    protocol = found.protocol(stored["size"])
    assert name_of(stored) == name and current(stored, found)
    assert [each["text"] for each in stored["verdicts"]] == [claim.text for claim in found.claimed(protocol)]
    assert len(stored["figures"]) >= protocol.seeds
    assert all(set(by_arm) == {arm.name for arm in protocol.arms} for by_arm in stored["figures"].values())


@pytest.mark.parametrize("name", names())
def test_each_claim_is_given_every_verdict(name: str) -> None:
    found = experiment(name)
    arms = list(dict.fromkeys(arm.name for protocol in protocols(found) for arm in protocol.arms))
    for claim in dict.fromkeys([*found.claims, *(each for protocol in protocols(found) for each in protocol.claims)]):
        for_it, against = drawn(claim, arms)
        assert [judge([claim], seeds)[0].word for seeds in ([for_it] * 5, [against] * 5)] == [
            "holds", "does not hold here"], claim.text
        assert judge([claim], [for_it, against] * 2)[0].word == (
            "too small to tell" if claim.by_chance else "does not hold here"), claim.text


def drawn(claim: Claim, arms: list[str]) -> tuple[dict[str, MadeUp], dict[str, MadeUp]]:
    """Figures that speak for a claim, and figures that speak against it, drawn until there are both."""
    dice, found = random.Random(claim.text), dict[bool, dict[str, MadeUp]]()
    for _ in range(2000):
        if len(found) == 2:
            break
        levels = dice.choice([(0.0,), (150.0,), (0.2, 1.0, 20.0, 90.0)])
        figures = {arm: MadeUp(dice, levels) for arm in arms}
        try:
            effect = claim.effect(figures)
        except ZeroDivisionError:       # a ratio to nothing
            continue
        if effect != claim.above or not claim.by_chance:
            found[effect >= claim.above] = figures
    return found[True], found[False]


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_its_smallest_form_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = experiment(name)
    monkeypatch.setattr("convatlas.experiments.machinery.reproduce.experiment",
                        lambda name: replace(found, quick=smallest(found.quick)))
    done = reproduce(name, tmp_path, size="quick", seeds=2, workers=0)
    assert (tmp_path / "report.html").is_file() and (tmp_path / "picture.svg").is_file()
    assert len(done.verdicts) == len(found.claims)
    assert set(read(tmp_path / RESULTS)["figures"]) == {"0", "1"}


def smallest(protocol: Protocol) -> Protocol:
    """One pass over a few images, no rates."""
    if protocol.base is None:
        return protocol
    images = None if protocol.images is None else replace(protocol.images, train=60, test=40)
    return replace(protocol, base=protocol.base.change("train.epochs", 1), images=images, rates=(),
                   arms=tuple(Arm(arm.name, {field: value for field, value in arm.changes.items()
                                             if field != "train.epochs"}) for arm in protocol.arms))


def test_all_of_them_take_a_night_at_most() -> None:
    minutes = [experiment(name).quick.minutes for name in names()]
    assert sum(minutes) <= 600 and sum(minutes) / len(minutes) <= 15
