"""The space of a baseline's search, and regularised evolution in it: pure functions of what was tried."""

from itertools import pairwise
from random import Random

import pytest
import torch

from convatlas.arch.efficientnet import EfficientNet
from convatlas.errors import ConvatlasError
from convatlas.net.meta import blank
from convatlas.scale.evolution import POPULATION, Tried, proposed, reward
from convatlas.scale.price import macs
from convatlas.scale.space import Space, around, flat, most_halvings, rows_for

SMALL = EfficientNet(image_size=28, in_chans=1, num_classes=10)


def weights(spec):
    """A stand-in for a cost that takes no time: the weights of the projections, whatever else there is."""
    rows = flat(spec).table
    return sum(row.layers * max(row.expand, 1) * row.channels ** 2 for row in rows)


@pytest.mark.parametrize(("side", "most", "halvings", "maps"), [
    (224, 5, 5, [112, 112, 56, 28, 14, 14, 7, 7]), (97, 5, 5, [49, 49, 25, 13, 7, 7, 4, 4]),
    (28, 4, 4, [28, 28, 14, 7, 4, 4, 2, 2]), (28, 4, 2, [28, 28, 28, 28, 14, 14, 7, 7]),
    (8, 2, 2, [8, 8, 8, 8, 4, 4, 2, 2]), (1, 0, 0, [1] * 8),
])
def test_maps_suit_the_picture(side, most, halvings, maps):
    assert most_halvings(side) == most
    spec = EfficientNet(image_size=side, table=rows_for(halvings), in_chans=1)
    net, seen = blank(spec.build), []
    for part in (net.stem, *net.stages):
        part.register_forward_hook(lambda _, args, output: seen.append(output.shape[-1]))
    net.eval()(torch.empty(1, 1, side, side, device="meta"))
    assert seen == maps


def test_a_flat_table_is_the_same_network():
    spec = EfficientNet(width=0.6, depth=1.4, image_size=64, num_classes=7)
    ours, theirs = (blank(each.build).state_dict() for each in (flat(spec), spec))
    assert flat(spec).width == flat(spec).depth == 1
    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in theirs.items()}


def test_start_is_the_largest_that_costs_no_more():
    for wanted in (20_000, 40_000, 10 * weights(SMALL)):
        space = around(SMALL, wanted, weights)
        assert 0.7 * wanted < weights(space.start) <= wanted
        assert space.start.image_size == 28 and space.start.in_chans == 1
    dear, cheap = (around(SMALL, wanted, macs).start.table[0].resolution for wanted in (2e8, 5e6))
    assert (dear, cheap) == (56, 112)       # more halvings where there is little to spend, not less depth and width
    with pytest.raises(ConvatlasError, match=r"smallest start .* 28×28 pixels costs .*smaller --image-size"):
        around(SMALL, 100, weights)
    with pytest.raises(ConvatlasError, match=r"largest start .*larger --image-size"):
        around(SMALL, 1e12, weights)


def test_decisions_are_mnasnets_and_every_network_of_the_space_builds():
    space = Space(flat(SMALL))
    values = {each.name: each.values for each in space.decisions}
    assert values["3.kernel"] == (3, 5) and values["3.expand"] == (3, 6) and values["3.se"] == (0, 1)
    assert values["4.channels"] == (32, 40, 48) and values["7.layers"] == (3, 4, 5)
    assert values["2.channels"] == (8, 16, 24) and values["2.layers"] == (1, 2) and "2.expand" not in values
    assert space.size > 10 ** 12
    dice = Random(0)
    for _ in range(3):
        decided = space.drawn(dice)
        spec = space.spec(decided)
        assert space.decided(spec) == decided and blank(spec.build).num_classes == 10
        assert [row.se for row in spec.table[1:-1]] == [bool(decided[f"{n}.se"]) for n in range(2, 9)]
    assert space.spec(space.decided(space.start)) == space.start and space.spec({}) == space.start


def test_a_child_differs_in_one_decision():
    space, dice = Space(flat(SMALL)), Random(1)
    parent = space.drawn(dice)
    for _ in range(50):
        child = space.mutated(parent, dice)
        assert sum(child[name] != value for name, value in parent.items()) == 1
        assert all(child[each.name] in each.values for each in space.decisions)


def climbed(space, oracle, trials, seed):
    """The best of so many trials by an oracle instead of training."""
    done = []
    for number in range(trials):
        decided = proposed(space, number, done, [each.decided for each in done], seed)
        done.append(Tried(number, decided, oracle(decided)))
    return done


def test_evolution_climbs_an_oracle_that_chance_does_not():
    space = Space(flat(SMALL))
    dice = Random(7)
    best = space.drawn(dice)

    def oracle(decided):
        return sum(decided[name] == value for name, value in best.items()) / len(best)

    done = climbed(space, oracle, 400, seed=0)
    chance = max(oracle(space.drawn(dice)) for _ in range(400))
    assert max(each.reward for each in done) > 0.85 > chance + 0.1
    assert len({tuple(each.decided.items()) for each in done}) == len(done)


def test_the_same_proposals_come_again_whatever_the_order_of_the_done():
    space = Space(flat(SMALL))
    done = climbed(space, lambda decided: decided["5.channels"] / 100, POPULATION + 5, seed=3)
    begun = [each.decided for each in done]
    first = proposed(space, len(done), done, begun, 3)
    assert first == proposed(space, len(done), done[::-1], begun[::-1], 3)
    assert first != proposed(space, len(done), done, begun, 4)
    assert proposed(space, len(done), done, [*begun, first], 3) not in [first, *begun]
    assert done[0].decided == space.decided(space.start)


def test_only_allowed_networks_are_proposed_and_an_empty_space_is_told():
    space = Space(flat(SMALL))
    done = climbed(space, lambda decided: 1.0, POPULATION, seed=0)
    child = proposed(space, POPULATION, done, [], 0, lambda decided: decided["8.se"] == 0)
    assert child["8.se"] == 0
    assert proposed(space, POPULATION, done, [], 0, lambda decided: False) is None


def test_reward_is_mnasnets():
    """Section 3: at w = −0.07 twice the cost is worth 5 % more accuracy."""
    assert reward(0.5, 80, 80) == 0.5
    assert reward(0.5 * 1.05, 160, 80) == pytest.approx(0.5, rel=0.001)
    assert all(more < less for less, more in pairwise(reward(0.5, cost, 80) for cost in (40, 80, 120)))
