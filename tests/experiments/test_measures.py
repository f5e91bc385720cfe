"""What some experiments measure, on inputs whose answer is known."""

import pytest
import torch

from convatlas.experiments import experiment
from convatlas.experiments.checkerboard import FCN, FOUR, THREE, TWO, measured
from convatlas.experiments.machinery.nuclei import SIDE, iou, to_outline
from convatlas.experiments.machinery.trial import Arm, Trial
from convatlas.experiments.neighbours import closest
from convatlas.experiments.overlap_tile import TILE, joined, tiles


def test_a_query_among_the_searched_is_not_its_own_neighbour():
    points = torch.tensor([[0.0], [1.0], [1.5], [9.0]])
    assert closest(points, points, 1, itself=True).flatten().tolist() == [1, 2, 1, 2]
    assert closest(points[:2], points, 2).tolist() == [[0, 1], [1, 2]]


def test_neighbours_are_left_out_by_their_own_number_in_later_parts_too(monkeypatch):
    monkeypatch.setattr("convatlas.experiments.neighbours.QUERIES", 3)
    points = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    assert (closest(points, points, 1, itself=True).flatten() != torch.arange(10)).all()


def test_tiles_put_together_are_the_image():
    image = torch.randn(1, 3, SIDE, SIDE)
    cut = tiles(image, TILE)
    assert cut.shape == ((SIDE // TILE) ** 2, 3, TILE, TILE) and torch.equal(joined(cut), image[0])


def test_intersection_over_union_is_of_both_classes_and_of_pixels_that_count():
    truth, found = torch.tensor([0, 0, 1, 1, 255]), torch.tensor([0, 1, 1, 1, 0])
    assert iou([(found, truth)]) == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)


def test_pixels_beside_an_outline_are_half_a_pixel_from_it():
    truth = torch.tensor([[0, 0, 0, 1, 1]])
    assert to_outline(truth).tolist() == [[2.5, 1.5, 0.5, 0.5, 1.5]]
    assert to_outline(torch.zeros(2, 2, dtype=torch.int64)).isinf().all()


@pytest.mark.parametrize(("way", "reached"), [(THREE, 4), (FOUR, 1), (TWO, 1), (FCN, 1)])
def test_weights_that_reach_a_pixel_are_counted(way, reached):
    figures = measured(Trial(Arm(way, {}), 0, None))
    assert figures["reached"] == reached
    assert (figures["ripple"] == pytest.approx(0, abs=1e-4)) == (way == FCN)


@pytest.mark.parametrize("name", ["lenet5", "zipcode"])
def test_a_published_error_is_claimed_on_the_paper_s_data_alone(name):
    found = experiment(name)
    assert found.standard is not None
    claims = found.claimed(found.standard)
    assert any("paper's" in claim.text for claim in claims)
    assert found.claimed(found.quick) == found.claims and not any("paper's" in claim.text for claim in found.claims)
    arms = {arm.name: {"test_error": 4.0} for arm in found.standard.arms}
    assert all(isinstance(claim.effect(arms), float) for claim in claims)
