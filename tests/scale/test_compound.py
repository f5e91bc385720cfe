"""Points of the rule, and the budgets that they reach."""

from dataclasses import replace
from math import isnan, log, prod, sqrt

import pytest

from convatlas import ConvatlasError, arch, scaled
from convatlas.inspect.memory import memory
from convatlas.net import registry
from convatlas.net.meta import blank
from convatlas.net.model import pair
from convatlas.parts import times
from convatlas.scale import cost
from convatlas.scale.compound import (
    ALONE,
    PAPER,
    Coefficients,
    alone,
    growth,
    keep,
    kept,
    point,
    reach,
    reach_latency,
)
from convatlas.scale.cost import Latency
from convatlas.scale.published import published

assert arch
RESNET = registry.variant("resnet20_cifar").spec
SMALL = replace(RESNET, n=1, width=0.5, image_size=16)
UNET = replace(registry.variant("unet").spec, widths=(8, 16), image_size=40)


def units(spec) -> int:
    """A stand-in for multiply-adds that takes no time: blocks · filters² · pixels, with filters in whole numbers."""
    return spec.n * times(64, spec.width) ** 2 * prod(pair(spec.image_size))


def test_the_papers_coefficients():
    assert PAPER.product == pytest.approx(1.2 * 1.1**2 * 1.15**2) == pytest.approx(1.92027)
    assert PAPER.at(0) == (1, 1, 1) and PAPER.at(2) == pytest.approx((1.44, 1.21, 1.3225))
    assert all(each.product == pytest.approx(2) for each in ALONE.values())


@pytest.mark.parametrize(("given", "says"), [((0.9, 1.1, 1.1), "alpha = 0.9"), ((1, 1, 1), "nothing grows"),
                                             ((1.2, float("nan"), 1), "beta = nan"), ((1, 1, float("inf")), "gamma")])
def test_coefficients_that_are_none(given, says):
    with pytest.raises(ConvatlasError, match=says):
        Coefficients(*given)


def test_points_of_the_rule():
    assert point(RESNET, PAPER, 0).spec == RESNET
    wide = replace(RESNET, image_size=(40, 32))
    assert point(wide, PAPER, 0).spec == wide
    found = point(wide, PAPER, 2)
    assert found.spec == replace(RESNET, n=5, width=1.21, image_size=(53, 42)) and found.size == (53, 42)
    assert point(RESNET, PAPER, -2).spec == replace(RESNET, n=3, width=0.826446281, image_size=24)


def test_an_image_is_as_large_as_its_network_takes():
    """A U-Net of two levels without padding takes every second side, one of three every fourth."""
    assert point(UNET, Coefficients(1, 1, 1.15), 1).size == (46, 46)
    deeper = point(UNET, Coefficients(1.5, 1, 1.15), 1)
    assert deeper.spec.widths == (8, 16, 32) and deeper.size in ((44, 44), (48, 48))
    assert blank(deeper.spec.build).accepts(deeper.size)


@pytest.mark.parametrize("factor", [0.2, 0.7, 1, 1.9, 2, 7.3, 100])
def test_a_budget_is_met_where_the_image_size_is_free(factor):
    budget = factor * units(RESNET)
    found = reach(RESNET, budget, units)
    assert abs(found.deviation) <= 0.02 and found.found == units(found.point.spec)
    depth, width, resolution = found.point.multipliers
    assert found.point.spec == replace(scaled(RESNET, depth=depth, width=width), image_size=found.point.spec.image_size)
    assert found.point.size == (round(32 * resolution),) * 2


@pytest.mark.parametrize("within", [0.01, 0.003])
def test_the_image_departs_from_the_rule_only_as_far_as_a_budget_asks(within):
    large = replace(RESNET, image_size=224)
    for factor in (1.5, 2, 3):
        found = reach(large, factor * units(large), units, within=within)
        assert abs(found.deviation) <= within
        if found.point.adjusted:        # then the rule's own size misses
            missed = units(point(large, PAPER, found.point.phi).spec) / found.budget - 1
            assert abs(missed) > within


def test_equal_multiply_adds_by_one_dimension_and_by_all():
    """Of a real network, at twice the cost: width and images come within 2 % of it, blocks as near as they can."""
    budget = 2 * cost.macs(SMALL)
    wide, large = alone(SMALL, "width", budget), alone(replace(SMALL, image_size=64), "resolution", 16 * budget)
    assert wide.point.spec == replace(SMALL, width=wide.point.spec.width) and abs(wide.deviation) < 0.05
    assert large.point.spec == replace(SMALL, image_size=large.point.spec.image_size) and abs(large.deviation) < 0.02
    deep = alone(SMALL, "depth", budget)
    assert deep.point.spec == replace(SMALL, n=deep.point.spec.n)
    nearest = min(range(1, 5), key=lambda n: abs(cost.macs(replace(SMALL, n=n)) - budget))
    assert deep.point.spec.n == nearest


@pytest.mark.parametrize("budget", [0, -1, float("nan"), float("inf")])
def test_no_budget(budget):
    with pytest.raises(ConvatlasError, match=r"a budget of .* is refused"):
        reach(RESNET, budget, units)


def test_a_budget_out_of_reach():
    with pytest.raises(ConvatlasError, match="no φ"):
        alone(RESNET, "resolution", 2 * cost.params(RESNET), cost.params)       # images add no parameters


def test_costs_are_those_of_the_networks_pages():
    assert cost.params(RESNET) == 269_722 and cost.macs(RESNET) == 40_551_040
    assert cost.cost(SMALL, 2).memory == memory(blank(SMALL.build), 2).inference
    assert cost.memory(replace(SMALL, image_size=64)) > cost.memory(SMALL)
    with pytest.raises(ConvatlasError, match="too small"):
        cost.macs(replace(registry.variant("vgg11").spec, image_size=8))


def test_growth_is_split_by_dimension():
    at = point(SMALL, Coefficients(1.5, 1.5, 1.5), 1)
    found, base = growth(SMALL, at), cost.macs(SMALL)
    assert found.depth == (1.5, cost.macs(replace(SMALL, n=2)) / base)
    assert found.width[0] == 2.25 and found.resolution[0] == 2.25
    assert found.together == (1.5 * 2.25 * 2.25, cost.macs(at.spec) / base)
    assert found.deviation == pytest.approx(found.together[1] / found.together[0] - 1)


# -- latency -----------------------------------------------------------------------------------------------------------


def clock(step=1.0, noise=0.01):
    """An oracle: a nanosecond for each unit, in whole steps, within one per cent; and what it was asked."""
    asked = []

    def timed(spec) -> Latency:
        asked.append(spec)
        seconds = max(1, round(1e-9 * units(spec) / step)) * step
        return Latency(seconds, seconds * (1 - noise), seconds * (1 + noise), "eager", 1)
    return timed, asked


@pytest.mark.parametrize("factor", [0.1, 0.9, 1, 1.004, 3, 40])
def test_a_latency_is_met_within_its_interval(factor):
    timed, asked = clock(step=1e-9)
    large = replace(RESNET, image_size=224)
    budget = factor * 1e-9 * units(large)
    found, took = reach_latency(large, budget, timed)
    assert took.meets(budget) and found.found == took.seconds and took == timed(found.point.spec)
    assert len(asked) <= 8 + 3 + 1


def test_a_latency_that_no_network_has():
    """Where latency rises in steps the nearest is given, and it is seen that it misses."""
    base = 1e-9 * units(RESNET)
    timed, asked = clock(step=base)
    found, took = reach_latency(RESNET, 2.4 * base, timed)
    assert not took.meets(2.4 * base) and took.seconds == pytest.approx(2 * base)
    assert found.deviation == pytest.approx(2 / 2.4 - 1) and len(asked) <= 8 + 3


def test_an_interval_too_wide_meets_nothing():
    assert Latency(0.02, 0.019, 0.021, "eager", 1).meets(0.0195)
    assert not Latency(0.02, 0.01, 0.03, "eager", 1).meets(0.02)
    timed, asked = clock(step=1e-9, noise=0.3)
    found, took = reach_latency(RESNET, 1e-9 * units(RESNET), timed)
    assert len(asked) > 1 and not took.meets(found.budget)


@pytest.mark.slow
def test_latency_is_measured_as_deployed():
    took = cost.latency(SMALL, 2, "eager", rounds=3, seconds=0.05)
    assert 0 < took.low <= took.seconds <= took.high and took.backend == "eager"
    assert cost.latency(SMALL, rounds=1, seconds=0.05).backend in cost.BACKENDS


# -- files and tables --------------------------------------------------------------------------------------------------


def test_found_coefficients_are_kept(tmp_path):
    keep(tmp_path, Coefficients(1.3, 1.05, 1.2))
    assert kept(tmp_path) == Coefficients(1.3, 1.05, 1.2)


@pytest.mark.parametrize(("text", "says"), [
    (None, "has no coefficients.json"), ("[]", "holds no coefficients"), ('{"alpha": 1}', "holds no coefficients"),
    ('{"format": 99, "alpha": 1.2, "beta": 1.1, "gamma": 1.15}', "99"),
    ('{"alpha": 0.5, "beta": 1.1, "gamma": 1.15}', "alpha = 0.5 is refused")])
def test_coefficients_that_are_not_there(tmp_path, text, says):
    if text is not None:
        (tmp_path / "coefficients.json").write_text(text)
    with pytest.raises(ConvatlasError, match=says):
        kept(tmp_path)


def test_the_published_table_follows_no_common_phi():
    table = {each.name: each for each in published()}
    b1, b4, b7 = (table[f"efficientnet_b{number}"] for number in (1, 4, 7))
    assert b1.spec.image_size == 240 != point(registry.variant("efficientnet_b0").spec, PAPER, 1).spec.image_size == 258
    assert isnan(published(Coefficients(1, 1.5, 1))[0].phis[0])
    assert b1.phis == pytest.approx((log(1.1) / log(1.2), 0, log(240 / 224) / log(1.15)))
    assert b4.spec.image_size == 380 and b4.phis == pytest.approx((3.224, 3.530, 3.781), abs=1e-3)
    assert max(b7.phis) - min(b7.phis) > 1 and b7.phis[0] < b7.phi < b7.phis[1]
    assert b7.rule.multipliers[0] == pytest.approx(1.2**b7.phi) and sqrt(b7.rule.spec.width) > 1
