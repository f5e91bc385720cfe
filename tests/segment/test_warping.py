"""Warping error: topology by counting components of the whole image, and cases by hand."""

import numpy as np
import pytest

from convatlas.segment.warping import warped, warping_error


def topology(mask):
    """(objects, backgrounds): objects over edges, what is between them over corners; both of the image with a frame of
    background.
    """
    from skimage.measure import label

    framed = np.pad(mask, 1)
    return label(framed, connectivity=1).max(), label(~framed, connectivity=2).max()


def discs(*places, size=(40, 48)):
    y, x = np.mgrid[: size[0], : size[1]]
    return np.any([(y - cy) ** 2 + (x - cx) ** 2 < r**2 for cy, cx, r in places], axis=0)


@pytest.mark.parametrize("seed", range(6))
def test_topology_is_kept_and_nothing_simple_is_left(seed):
    """Simple points are found here by flipping a pixel and counting all components again."""
    from scipy.ndimage import gaussian_filter

    dice = np.random.default_rng(seed)
    truth, found = (gaussian_filter(dice.normal(size=(18, 20)), 1.2) > 0.05 for _ in range(2))
    result = warped(truth, found)
    assert topology(result) == topology(truth) and 0 < (result != found).sum() < (truth != found).sum()
    for y, x in np.argwhere(result != found):
        flipped = result.copy()
        flipped[y, x] ^= True
        assert topology(flipped) != topology(result), "another pixel could have been warped"


def test_a_border_drawn_elsewhere_is_no_error():
    truth = discs((14, 14, 9), (26, 34, 8))
    assert warping_error(truth,
                         discs((15, 16, 8), (25, 33, 10))) == 0 < (truth != discs((15, 16, 8), (25, 33, 10))).mean()
    assert warping_error(truth, truth) == 0


@pytest.mark.parametrize(("truth", "found"), [
    (discs((14, 14, 9), (14, 34, 9)), discs((14, 14, 9), (14, 34, 9)) | (np.indices((40, 48))[0] == 14)
     & (np.indices((40, 48))[1] < 35)), (discs((20, 20, 9)), discs((20, 20, 9)) & ~discs((20, 20, 3))),
    (discs((20, 20, 9)), discs((20, 20, 9)) | discs((5, 40, 2))),
    (discs((20, 20, 9), (5, 40, 2)), discs((20, 20, 9)))], ids=["merged", "hole", "one too many", "missed"])
def test_errors_of_topology_remain(truth, found):
    """Two cells joined by a bridge cost a pixel of it; a hole, a speck and a lost cell what cannot be warped away."""
    wrong = (warped(truth, found) != found).sum()
    assert 0 < wrong <= (truth != found).sum() and warping_error(truth, found) == wrong / truth.size


def test_a_bridge_costs_one_pixel():
    truth = np.zeros((5, 9), bool)
    truth[1:4, 1:4] = truth[1:4, 5:8] = True
    found = truth.copy()
    found[2, 4] = True
    assert warping_error(truth, found) == 1 / 45
    diagonal = np.eye(6, dtype=bool)        # a line of corners parts the square in two
    assert topology(~diagonal)[0] == 2 and warping_error(~diagonal, np.ones((6, 6), bool)) > 0
